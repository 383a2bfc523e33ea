"""Secrets and keys, from where settings say they are: passphrases, tokens, identities, agent keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pinfold.errors import KeyFailure, Malformed, PinfoldError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pinfold.config import SecretSource, Settings
    from pinfold.seal.keyring import Keyring
    from pinfold.seal.keys import AgentKey
    from pinfold.seal.secret import Secret
    from pinfold.seal.slots import Slot, Unlocker

Ask = Callable[[str], "Secret"]
AGENT_SUFFIX: Final = ".agent"


class _Several:
    """Identities and a passphrase, tried in turn: settings may give both."""

    def __init__(self, unlockers: Sequence[Unlocker]) -> None:
        self._unlockers = unlockers

    def unlock(self, slots: Sequence[Slot], repository: str) -> bytes | None:
        """The sealed secrets, or None where no slot opens."""
        found = (one.unlock(slots, repository) for one in self._unlockers)
        return next((data for data in found if data is not None), None)

    def describe(self) -> str:
        """What was tried, for an error message."""
        return "neither " + " nor ".join(one.describe() for one in self._unlockers)


def unlocker(settings: Settings, keyring: Keyring, ask: Ask | None, otherwise: str = "") -> Unlocker:
    """What opens the keyring.  `otherwise`: what would do instead, for the error when nothing is given."""
    from pinfold.seal.slots import Identities, Passphrase, parse_identities  # noqa: PLC0415

    tried: list[Unlocker] = []
    if settings.identity:
        tried.append(
            Identities([one for path in settings.identity for one in parse_identities(_text(path), str(path))])
        )
    given = passphrase(settings)
    if given is not None:
        tried.append(Passphrase(given))
    if tried:
        return tried[0] if len(tried) == 1 else _Several(tried)
    kinds = {slot.kind for slot in keyring.slots}
    if ask is not None and "passphrase" in kinds:
        return Passphrase(ask(f"Passphrase of repository {keyring.repository.id}: "))
    if kinds == {"age"}:
        raise KeyFailure(
            f"this needs an identity of the repository: use --identity FILE or PINFOLD_IDENTITY{otherwise}"
        )
    raise KeyFailure(
        "this needs the repository's passphrase or an identity: use --passphrase-file FILE, PINFOLD_PASSPHRASE,"
        f" PINFOLD_PASSPHRASE_COMMAND, or --identity FILE{otherwise}"
    )


def passphrase(settings: Settings) -> Secret | None:
    """The passphrase that settings give, by value, file or command; None where they give none."""
    return None if settings.passphrase is None else _secret(settings.passphrase, "passphrase")


def authorization(source: SecretSource | None) -> Secret | None:
    """The header's value that a token stands for: TOKEN, bearer:TOKEN, basic:NAME:PASSWORD, or that value itself."""
    from base64 import b64encode  # noqa: PLC0415

    from pinfold.seal.secret import Secret  # noqa: PLC0415

    if source is None:
        return None
    token = _secret(source, "token").reveal().strip()
    scheme, _, value = token.partition(b" ")
    if scheme.lower() in {b"bearer", b"basic"} and value.strip():
        return Secret(scheme.capitalize() + b" " + _word(source, value.strip()))
    kind, colon, rest = token.partition(b":")
    if colon and kind.lower() == b"basic":
        if b":" not in rest:
            raise UsageError(f"{source.origin}: after basic: there must be NAME:PASSWORD")
        return Secret(b"Basic " + b64encode(rest))
    return Secret(b"Bearer " + _word(source, rest if colon and kind.lower() == b"bearer" else token))


def _word(source: SecretSource, token: bytes) -> bytes:
    if not token or not token.isascii() or any(byte <= 32 or byte == 127 for byte in token):
        raise UsageError(f"{source.origin}: is no token: one word of ASCII, or basic:NAME:PASSWORD")
    return token


def _secret(source: SecretSource, what: str) -> Secret:
    from pinfold.seal.secret import Secret  # noqa: PLC0415

    if source.kind == "value":
        return Secret(source.text.encode())
    if source.kind == "file":
        return secret_file(source.path, what)
    from pinfold.sources.process import run  # noqa: PLC0415

    return Secret(run(source.argv, f"the {what} command").rstrip(b"\r\n"))


def passphrase_file(path: Path) -> Secret:
    """The passphrase that a file holds, without the end of its line.  Raises UsageError."""
    return secret_file(path, "passphrase")


def secret_file(path: Path, what: str) -> Secret:
    """The secret that a file holds, without the end of its line.  Raises UsageError."""
    from pinfold.seal.secret import Secret  # noqa: PLC0415

    text = _text(path, f"{what} file ").rstrip("\r\n")
    if not text:
        raise UsageError(f"{what} file {path} is empty")
    return Secret(text.encode())


def read_bytes(path: Path, what: str = "") -> bytes:
    """A small file's content.  Raises UsageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {what}{path}: {error.strerror}") from error


def _text(path: Path, what: str = "") -> str:
    try:
        return read_bytes(path, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text") from error


def find_agent(settings: Settings, keyring: Keyring) -> AgentKey | None:
    """The agent key that is given, or one in the usual folder if no other key is given."""
    from pinfold.seal.keys import AgentKey  # noqa: PLC0415

    path = settings.agent_key
    if path is None:
        if settings.identity or settings.passphrase is not None:
            return None
        path = agent_path(settings, keyring.repository.id)
        if not path.exists():
            return _agent_nearby(settings, keyring)
    try:
        return AgentKey.decode(read_bytes(path), str(path))
    except Malformed as error:
        raise KeyFailure(str(error)) from error


def _agent_nearby(settings: Settings, keyring: Keyring) -> AgentKey | None:
    """A key of this repository in the usual folder under another name; of several, one that may sign."""
    from pinfold.seal.keys import AgentKey  # noqa: PLC0415

    found: list[AgentKey] = []
    for path in sorted(settings.config_dir.glob(f"*{AGENT_SUFFIX}")):
        try:
            key = AgentKey.decode(read_bytes(path), str(path))
        except PinfoldError:
            continue  # another program's file, or not for this user: nobody named it
        if key.repository == keyring.repository.id:
            found.append(key)
    active = {one.key for one in keyring.agents if not one.until}
    return next((one for one in found if one.signer.public in active), found[0] if found else None)


def agent_path(settings: Settings, repository: str) -> Path:
    """Where this machine's agent key of a repository usually lies."""
    return settings.config_dir / f"{repository}{AGENT_SUFFIX}"


def write_agent(settings: Settings, key: AgentKey, path: Path | None = None, *, option: str = "--agent-key") -> Path:
    """Write an agent key file, 0600; never over another one.  `option`: what names another file.  Raises UsageError."""
    path = path or settings.agent_key or agent_path(settings, key.repository)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as out:
            out.write(key.encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError as error:
        raise UsageError(f"{path} is there already; name another file with {option}") from error
    except OSError as error:
        raise UsageError(f"cannot write agent key {path}: {error.strerror}") from error
    return path
