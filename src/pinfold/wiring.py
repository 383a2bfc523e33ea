"""The one place that names concrete classes: settings in, built objects out.

Everything heavy is imported where it is needed, so that `pinfold --help` stays below 200 ms.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinfold.clock import SystemClock
from pinfold.errors import KeyFailure, Malformed, PinfoldError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pinfold.backup import Repository
    from pinfold.config import Settings, SourceSettings
    from pinfold.ipld import CID
    from pinfold.reading import Reader
    from pinfold.seal.keyring import Keyring
    from pinfold.seal.keys import AgentKey, OwnerKey
    from pinfold.seal.refs import Ref
    from pinfold.seal.secret import Secret
    from pinfold.seal.slots import Slot, Stretch, Unlocker
    from pinfold.snapshot import Manifest, Snapshot
    from pinfold.sources.directory.excludes import Rules
    from pinfold.sources.directory.scan import Hears, Walk
    from pinfold.sources.directory.source import Directory
    from pinfold.store.seam import Store

    Ask = Callable[[str], Secret]

AGENT_SUFFIX: Final = ".agent"
_SCHEMES_TO_COME: Final = ("kubo+", "cluster+", "psa+", "gateway+")


@dataclass(frozen=True, slots=True)
class Opened:
    """A store and the id of the repository in it: all that needs no key."""

    store: Store
    repository: str


@dataclass(frozen=True, slots=True)
class Owned:
    """A repository opened by its owner."""

    store: Store
    keyring: Keyring
    key: OwnerKey

    @property
    def repository(self) -> str:
        """The repository's id."""
        return self.keyring.repository.id

    def source_id(self, name: str) -> str:
        """The id of a source's name."""
        return self.key.agent("").source_id(name)

    def manifest(self, made: Snapshot) -> Manifest:
        """What a snapshot holds."""
        return made.open(self.key, self.store.get)

    @contextlib.contextmanager
    def reader(self, made: Snapshot) -> Iterator[Reader]:
        """What opens a snapshot's chunks."""
        from pinfold.reading import Reader  # noqa: PLC0415

        reader = Reader(self.store, self.key.opener(made.header.generation), threads=max(2, os.cpu_count() or 1))
        try:
            yield reader
        finally:
            reader.close()


@dataclass(frozen=True, slots=True)
class Made:
    """A new repository: its keyring's root, and the agent key file that was written, if one was."""

    repository: str
    keyring: CID
    agent_key: Path | None


def place(settings: Settings) -> str:
    """The REPO text.  Raises UsageError when none is given."""
    if not settings.repository:
        raise UsageError("no repository given: use -r REPO, PINFOLD_REPOSITORY, or repository in pinfold.toml")
    return settings.repository


@contextlib.contextmanager
def store(settings: Settings, *, create: bool = False) -> Iterator[Store]:
    """The store that REPO names, mirrored where settings say so; closed at the end.

    One of several that cannot be opened is left out, which `warnings` of the mirror tell; none is made
    unless `create`, lest a disk that is not mounted be taken for a new place.
    """
    with contextlib.ExitStack() as stack:
        if not settings.mirrors:
            single = stack.enter_context(contextlib.closing(_one_store(place(settings), create=create)))
            stack.callback(_warn, getattr(single, "warnings", []))
            yield single
            return
        from pinfold.store import Mirror  # noqa: PLC0415

        stores: list[Store] = []
        absent: dict[str, PinfoldError] = {}
        for where in (place(settings), *settings.mirrors):
            try:
                stores.append(stack.enter_context(contextlib.closing(_one_store(where, create=create))))
            except (StoreError, UsageError) as error:
                if create:
                    raise
                absent[where] = error
        if not stores:
            raise next(iter(absent.values()))
        reasons = {where: str(error) for where, error in absent.items()}
        mirror = stack.enter_context(contextlib.closing(Mirror(stores, min_copies=settings.min_copies, absent=reasons)))
        stack.callback(_warn, mirror.warnings)
        yield mirror


def _warn(warnings: list[str]) -> None:
    """Say what a store had to tell that is no error, on stderr."""
    if warnings:
        import logging  # noqa: PLC0415  # rarely needed

        for line in warnings:
            logging.getLogger("pinfold").warning("pinfold: %s", line)


def _one_store(where: str, *, create: bool) -> Store:
    from pinfold import snapshot  # noqa: PLC0415
    from pinfold.ipld import CID  # noqa: PLC0415
    from pinfold.store import FolderStore, PlainFolder  # noqa: PLC0415

    if where.startswith(_SCHEMES_TO_COME):
        kind = where.partition(":")[0]
        raise UsageError(f"{kind} is a kind of store that this version does not speak yet; use a folder")
    if "://" in where and not where.startswith("file://"):
        raise UsageError(f"{where!r} is no repository: give a folder")
    path = Path(where.removeprefix("file://"))
    if create:
        return FolderStore.create(path)
    if not path.is_dir():
        raise UsageError(f"{path} is no folder: is the disk mounted? A new repository is made with: pinfold init")
    if (path / "snapshot.json").is_file() and (path / "blocks").is_dir():
        header = snapshot.Header.decode(_bytes(path / "snapshot.json"))
        return PlainFolder(path, pin_name=header.pin_name, blocks=CID.parse(header.blocks_root))
    if not (path / "pinfold-store.json").exists():
        raise UsageError(f"{path} holds no repository: is the disk mounted? A new one is made with: pinfold init")
    return FolderStore.open(path)


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Opened]:
    """The store and its repository, without any key."""
    with store(settings) as where:
        yield Opened(where, _repository(settings, where))


def _repository(settings: Settings, where: Store) -> str:
    from pinfold import catalogue  # noqa: PLC0415

    if settings.repository_id is None:
        return catalogue.the_repository(where)
    if settings.repository_id not in catalogue.repositories(where):
        raise UsageError(f"{where.name} holds no repository {settings.repository_id}")
    return settings.repository_id


@contextlib.contextmanager
def owned(settings: Settings, ask: Ask | None = None) -> Iterator[Owned]:
    """The repository opened with an identity or a passphrase.  `ask`: prompts for one on a terminal."""
    from pinfold import catalogue  # noqa: PLC0415

    with opened(settings) as found:
        keyring = catalogue.newest_keyring(found.store, found.repository)
        yield Owned(found.store, keyring, keyring.open(_unlocker(settings, keyring, ask)))


@contextlib.contextmanager
def looked_at(settings: Settings) -> Iterator[Opened | Owned]:
    """The repository, opened by its owner where settings give a key, else without any; nobody is asked."""
    if settings.identity or settings.passphrase is not None:
        with owned(settings) as owner:
            yield owner
    else:
        with opened(settings) as found:
            yield found


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


def _unlocker(settings: Settings, keyring: Keyring, ask: Ask | None, otherwise: str = "") -> Unlocker:
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
    from pinfold.seal.secret import Secret  # noqa: PLC0415

    source = settings.passphrase
    if source is None:
        return None
    if source.kind == "value":
        return Secret(source.text.encode())
    if source.kind == "file":
        return passphrase_file(source.path)
    from pinfold.sources.process import run  # noqa: PLC0415

    return Secret(run(source.argv, "the passphrase command").rstrip(b"\r\n"))


def _bytes(path: Path, what: str = "") -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {what}{path}: {error.strerror}") from error


def passphrase_file(path: Path) -> Secret:
    """The passphrase that a file holds, without the end of its line.  Raises UsageError."""
    from pinfold.seal.secret import Secret  # noqa: PLC0415

    text = _text(path, "passphrase file ").rstrip("\r\n")
    if not text:
        raise UsageError(f"passphrase file {path} is empty")
    return Secret(text.encode())


def _text(path: Path, what: str = "") -> str:
    try:
        return _bytes(path, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text") from error


@contextlib.contextmanager
def for_backup(settings: Settings, ask: Ask | None = None) -> Iterator[Repository]:
    """What a backup run needs: with an agent's key where there is one, else as the owner."""
    from pinfold import catalogue, rekey  # noqa: PLC0415
    from pinfold.backup import Repository  # noqa: PLC0415
    from pinfold.cache import Cache  # noqa: PLC0415

    with opened(settings) as found:
        keyring = catalogue.newest_keyring(found.store, found.repository)
        agent = _agent(settings, keyring)
        owner = None
        if agent is None:
            otherwise = "; or the key of an agent that may save: --agent-key FILE, PINFOLD_AGENT_KEY"
            owner = Owned(found.store, keyring, keyring.open(_unlocker(settings, keyring, ask, otherwise)))
            agent = owner.key.agent(rekey.OWNER)
        elif agent.owner != keyring.repository.owner:
            raise KeyFailure(f"the agent key is of another repository than {found.repository}")
        cache = Cache(settings.cache / found.repository)
        seen = cache.highest("keyring", keyring.sequence)
        try:
            if keyring.sequence < seen:
                raise KeyFailure(
                    f"{found.store.name} shows keyring {keyring.sequence}, this machine has seen {seen}: somebody"
                    f" rolled the repository back; if that was you, delete {settings.cache / found.repository}"
                )
            yield Repository(
                found.store,
                keyring,
                agent,
                cache,
                SystemClock(),
                pages=(lambda _: None) if owner is None else owner_pages(owner),
                node=None if owner is None else owner_node(owner),
            )
        finally:
            cache.close()


def owner_pages(owner: Owned) -> Callable[[Snapshot], tuple[Iterator[bytes], frozenset[bytes]] | None]:
    """How an owner reads the last index from the store, when the local cache is lost."""
    from pinfold.reading import DAMAGE  # noqa: PLC0415

    def pages(made: Snapshot) -> tuple[Iterator[bytes], frozenset[bytes]] | None:
        try:
            manifest = owner.manifest(made)
        except DAMAGE:
            return None  # the files are read anew; verify speaks of the damage

        def read() -> Iterator[bytes]:
            with owner.reader(made) as reader, contextlib.suppress(*DAMAGE):
                yield from reader.raw_pages(manifest.index)

        return read(), frozenset(manifest.sparse)

    return pages


def owner_node(owner: Owned) -> Callable[[Ref, int], bytes]:
    """How an owner reads a node of refs from the store."""

    def node(ref: Ref, generation: int) -> bytes:
        return owner.key.opener(generation).open(ref, owner.store.get(ref.cid))

    return node


def _agent(settings: Settings, keyring: Keyring) -> AgentKey | None:
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
        return AgentKey.decode(_bytes(path), str(path))
    except Malformed as error:
        raise KeyFailure(str(error)) from error


def _agent_nearby(settings: Settings, keyring: Keyring) -> AgentKey | None:
    """A key of this repository in the usual folder under another name; of several, one that may sign."""
    from pinfold.seal.keys import AgentKey  # noqa: PLC0415

    found: list[AgentKey] = []
    for path in sorted(settings.config_dir.glob(f"*{AGENT_SUFFIX}")):
        try:
            key = AgentKey.decode(_bytes(path), str(path))
        except PinfoldError:
            continue  # another program's file, or not for this user: nobody named it
        if key.repository == keyring.repository.id:
            found.append(key)
    active = {one.key for one in keyring.agents if not one.until}
    return next((one for one in found if one.signer.public in active), found[0] if found else None)


def agent_path(settings: Settings, repository: str) -> Path:
    """Where this machine's agent key of a repository usually lies."""
    return settings.config_dir / f"{repository}{AGENT_SUFFIX}"


def init(
    settings: Settings,
    *,
    recipients: Sequence[str],
    secret: Secret | None,
    stretch: Stretch,
    padding: bool = True,
    agent: str = "",
) -> Made:
    """Make a repository that the recipients, or a passphrase, can open.

    With recipients a key for this machine's agent is written, 0600, and everything else forgotten.
    """
    from pinfold import rekey  # noqa: PLC0415
    from pinfold.seal import slots  # noqa: PLC0415
    from pinfold.seal.keyring import Agent, first_keyring  # noqa: PLC0415
    from pinfold.seal.keys import OwnerKey  # noqa: PLC0415

    if not recipients and secret is None:
        raise UsageError("nobody could open this repository: give --recipient KEY or a passphrase")
    clock = SystemClock()
    key = OwnerKey.new(clock.random)
    made = [
        slots.age_slot(
            one, f"recipient {number}", key.secrets(), key.repository, lambda data: key.hide(data, clock.random)
        )
        for number, one in enumerate(recipients, 1)
    ]
    if secret is not None:
        made.append(slots.passphrase_slot(secret, "passphrase", key.secrets(), key.repository, clock.random, stretch))
    agents = [Agent(rekey.OWNER, key.agent(rekey.OWNER).signer.public)]
    keyring = first_keyring(key, made, agents, padding=padding)
    written: Path | None = None
    if recipients:
        keyring, agent_key = rekey.new_agent(keyring, key, agent or f"agent-{clock.random(4).hex()}", clock)
        written = write_agent(settings, agent_key)
    try:
        with store(settings, create=True) as where:
            root = rekey.publish(where, keyring)
    except PinfoldError:
        if written is not None:
            written.unlink(missing_ok=True)
        raise
    return Made(keyring.repository.id, root, written)


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


def directory(
    source: SourceSettings, key: AgentKey, files_from: Sequence[bytes] | None = None, avoid: Sequence[str] = ()
) -> Directory:
    """A directory source as settings describe it; `files_from`: only these paths below it.

    `avoid`: REPOs that are not saved into themselves where they lie inside the source.
    Raises ConfigError for bad patterns.
    """
    from pinfold.sources.directory.source import Directory, Settings  # noqa: PLC0415

    settings = Settings(
        one_file_system=source.one_file_system,
        ignore_inode=source.ignore_inode,
        ignore_ctime=source.ignore_ctime,
        xattrs=source.xattrs,
        described={"exclude": list(source.exclude)},
        avoid=frozenset(_identities(avoid)),
    )
    return Directory(source.name, os.fsencode(source.path), _rules(source, files_from), settings, key)


def _identities(places: Sequence[str]) -> Iterator[tuple[int, int]]:
    for where in places:
        with contextlib.suppress(OSError):
            status = Path(where.removeprefix("file://")).stat()
            yield status.st_dev, status.st_ino


def walk(source: SourceSettings, hears: Hears, files_from: Sequence[bytes] | None = None) -> Walk:
    """The walk that a backup of `source` would take, for counting beforehand.  Needs no repository."""
    from pinfold.sources.directory.scan import Walk  # noqa: PLC0415

    root = os.fsencode(source.path)
    return Walk(root, _rules(source, files_from), hears, one_file_system=source.one_file_system)


def _rules(source: SourceSettings, files_from: Sequence[bytes] | None) -> Rules:
    from pinfold.sources.directory.excludes import Chosen, Rules  # noqa: PLC0415

    return Rules(
        source.exclude,
        source.exclude_file,
        caches=source.exclude_caches,
        markers=source.exclude_if_present,
        larger_than=source.exclude_larger_than,
        chosen=None if files_from is None else Chosen(files_from),
    )


@contextlib.contextmanager
def elsewhere(settings: Settings, text: str) -> Iterator[Settings | None]:
    """Settings for a snapshot that is no pin but a folder as `ipfs get` makes it, or a CAR file; None if neither.

    A CAR file is unpacked into a passing store beside the cache, which is gone afterwards.
    """
    path = Path(text)
    alone = dataclasses.replace(settings, repository_id=None, mirrors=(), min_copies=1)
    if (path / "snapshot.json").is_file():
        yield dataclasses.replace(alone, repository=str(path.absolute()))
    elif path.suffix == ".car" and path.is_file():
        import tempfile  # noqa: PLC0415

        from pinfold import transfer  # noqa: PLC0415
        from pinfold.store import FolderStore  # noqa: PLC0415

        settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="car-", dir=settings.cache) as folder:
            where = Path(folder) / "store"
            with contextlib.closing(FolderStore.create(where)) as passing, path.open("rb") as file:
                transfer.load(passing, file)
            yield dataclasses.replace(alone, repository=str(where))
    else:
        yield None
