"""Slots: the repository's secrets, sealed once for each person or passphrase that may open them.

An `age` slot is an age file to one recipient (X25519, SSH or plugin).  A `passphrase` slot is
AES-256-GCM under a key stretched by Argon2id, or PBKDF2-SHA256 for those who must.
Bounds on the stretching keep a hostile keyring from eating time or memory.
Source: https://age-encryption.org/v1; RFC 9106; RFC 8018.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import pyrage
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pinfold.errors import KeyFailure, Malformed, UsageError
from pinfold.seal import canonical
from pinfold.seal.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Random = Callable[[int], bytes]

MAX_SLOTS: Final = 256
_MAX_MEMORY_KIB: Final = 1 << 20
_MAX_PASSES: Final = 64
_MAX_LANES: Final = 64
_MAX_PBKDF2: Final = 100_000_000
_MIN_PBKDF2: Final = 10_000
_SEALED_LEAST: Final = 12 + 16
_FIELD: Final = "keyring slot"
# pyrage has no types of its own: X25519, SSH and plugin classes without a common root.
AgeIdentity = Any
AgeRecipient = Any


@dataclass(frozen=True, slots=True)
class Stretch:
    """How a passphrase becomes a key.  `name`: argon2id or pbkdf2-sha256; `memory` in KiB."""

    name: str = "argon2id"
    iterations: int = 3
    memory: int = 64 << 10
    lanes: int = 4

    def check(self) -> None:
        """Raise Malformed when out of bounds."""
        if self.name == "argon2id":
            good = (
                1 <= self.iterations <= _MAX_PASSES
                and 1 <= self.lanes <= _MAX_LANES
                and 8 * self.lanes <= self.memory <= _MAX_MEMORY_KIB
            )
        else:
            good = self.name == "pbkdf2-sha256" and _MIN_PBKDF2 <= self.iterations <= _MAX_PBKDF2
        if not good:
            raise Malformed(_FIELD, f"key stretching {self.name!r} is unknown or its costs are out of bounds")

    def key(self, passphrase: Secret, salt: bytes) -> bytes:
        """32 bytes.  Takes about 0.1 s with the defaults."""
        self.check()
        if self.name == "argon2id":
            from cryptography.hazmat.primitives.kdf.argon2 import Argon2id  # noqa: PLC0415  # 6 ms, rarely needed

            return Argon2id(
                salt=salt, length=32, iterations=self.iterations, lanes=self.lanes, memory_cost=self.memory
            ).derive(passphrase.reveal())
        import hashlib  # noqa: PLC0415

        return hashlib.pbkdf2_hmac("sha256", passphrase.reveal(), salt, self.iterations, 32)


@dataclass(frozen=True, slots=True)
class Slot:
    """One way in.  `fingerprint`: 16 hex; `label`: what `key show` prints; `stretch` for passphrases.

    `recipient`: of an age slot, hidden from all but the owner, who needs it to seal the slot anew.
    """

    kind: str
    fingerprint: str
    label: str
    sealed: bytes
    recipient: bytes = b""
    stretch: Stretch | None = None
    salt: bytes = b""

    def document(self) -> dict[str, object]:
        """The slot as it stands in keyring.json."""
        out: dict[str, object] = {
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "label": self.label,
            "sealed": base64.b64encode(self.sealed).decode("ascii"),
        }
        if self.recipient:
            out["recipient"] = base64.b64encode(self.recipient).decode("ascii")
        if self.stretch:
            kdf: dict[str, object] = {"name": self.stretch.name, "iterations": self.stretch.iterations}
            if self.stretch.name == "argon2id":
                kdf |= {"memory_kib": self.stretch.memory, "lanes": self.stretch.lanes}
            kdf["salt"] = base64.b64encode(self.salt).decode("ascii")
            out["kdf"] = kdf
        return out

    @classmethod
    def parse(cls, document: object) -> Slot:
        """The slot that `document` describes.  Raises Malformed."""
        if not isinstance(document, dict):
            raise Malformed(_FIELD, "it is not an object")
        kind, label = (canonical.take(document, key, str, _FIELD) for key in ("kind", "label"))
        fingerprint = canonical.take(document, "fingerprint", str, _FIELD)
        canonical.unhex(fingerprint, 8, _FIELD)
        sealed = canonical.unbase64(canonical.take(document, "sealed", str, _FIELD), _FIELD)
        if kind == "age":
            recipient = canonical.take(document, "recipient", str, _FIELD)
            return cls(kind, fingerprint, label, sealed, canonical.unbase64(recipient, _FIELD))
        if kind != "passphrase":
            raise Malformed(_FIELD, f"kind {kind!r} is unknown")
        kdf = canonical.take(document, "kdf", dict, _FIELD)
        name = canonical.take(kdf, "name", str, _FIELD)
        stretch = Stretch(name, canonical.take(kdf, "iterations", int, _FIELD))
        if name == "argon2id":
            stretch = Stretch(
                name,
                stretch.iterations,
                canonical.take(kdf, "memory_kib", int, _FIELD),
                canonical.take(kdf, "lanes", int, _FIELD),
            )
        stretch.check()
        salt = canonical.unbase64(canonical.take(kdf, "salt", str, _FIELD), _FIELD)
        if not 8 <= len(salt) <= 64:
            raise Malformed(_FIELD, f"salt of {len(salt)} bytes is out of bounds")
        if len(sealed) < _SEALED_LEAST:
            raise Malformed(_FIELD, f"{len(sealed)} sealed bytes are no secret")
        return cls(kind, fingerprint, label, sealed, b"", stretch, salt)


class Unlocker(Protocol):
    """Whatever may open a slot: identities, or a passphrase."""

    def unlock(self, slots: Sequence[Slot], repository: str) -> bytes | None:
        """The sealed secrets, or None where no slot opens."""

    def describe(self) -> str:
        """What was tried, for an error message."""


class Identities:
    """age identities, tried on every age slot."""

    def __init__(self, identities: Sequence[AgeIdentity]) -> None:
        self._identities = list(identities)

    def unlock(self, slots: Sequence[Slot], repository: str) -> bytes | None:  # noqa: ARG002
        """The sealed secrets, or None where no slot opens."""
        for slot in slots:
            if slot.kind == "age":
                try:
                    return bytes(pyrage.decrypt(slot.sealed, self._identities))
                except pyrage.DecryptError:
                    continue
        return None

    def describe(self) -> str:
        """What was tried, for an error message."""
        count = len(self._identities)
        return "the identity" if count == 1 else f"any of the {count} identities"


class Passphrase:
    """A passphrase, tried on every passphrase slot."""

    def __init__(self, passphrase: Secret) -> None:
        self._passphrase = passphrase

    def unlock(self, slots: Sequence[Slot], repository: str) -> bytes | None:
        """The sealed secrets, or None where no slot opens."""
        for slot in slots:
            if slot.kind == "passphrase" and slot.stretch:
                key = slot.stretch.key(self._passphrase, slot.salt)
                try:
                    return AESGCM(key).decrypt(slot.sealed[:12], slot.sealed[12:], _bound_to(repository))
                except InvalidTag:
                    continue
        return None

    def describe(self) -> str:
        """What was tried, for an error message."""
        return "the passphrase"


def age_slot(recipient: str, label: str, secrets: Secret, repository: str, hide: Callable[[bytes], bytes]) -> Slot:
    """Seal `secrets` to an age recipient written as text.  Raises UsageError for no recipient."""
    recipient = recipient.strip()
    sealed = pyrage.encrypt(secrets.reveal(), [parse_recipient(recipient)])
    return Slot("age", fingerprint_of(recipient, repository), label, sealed, hide(recipient.encode()))


def passphrase_slot(
    passphrase: Secret, label: str, secrets: Secret, repository: str, random: Random, stretch: Stretch
) -> Slot:
    """Seal `secrets` under a passphrase.  Raises UsageError for an empty one."""
    if not len(passphrase):
        raise UsageError("the passphrase is empty")
    salt, nonce = random(16), random(12)
    key = stretch.key(passphrase, salt)
    sealed = nonce + AESGCM(key).encrypt(nonce, secrets.reveal(), _bound_to(repository))
    return Slot("passphrase", random(8).hex(), label, sealed, b"", stretch, salt)


def fingerprint_of(recipient: str, repository: str) -> str:
    """16 hex that name a recipient without showing it: comments behind SSH keys do not count.

    Another in each repository, so that nobody can tell that two of them share a recipient.
    """
    words = " ".join((repository, *recipient.split()[:2]))
    return blake3(words.encode(), derive_key_context="pinfold 1 recipient").digest(length=8).hex()


def parse_recipient(text: str) -> AgeRecipient:
    """The age recipient written as `text`.  Raises UsageError."""
    text = text.strip()
    # Never said again, in no part: it may end in a log.
    if text.upper().startswith(("AGE-SECRET-KEY-", "AGE-PLUGIN-")) or "PRIVATE KEY" in text:
        raise UsageError("that is a secret identity; give its public half (age1…, or ssh-… of a .pub file)")
    try:
        if text.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(text)
        if text.rfind("1") == 3 and text.startswith("age1"):
            return pyrage.x25519.Recipient.from_str(text)
        if text.startswith("age1"):
            plugin = pyrage.plugin.Recipient.from_str(text)
            return pyrage.plugin.RecipientPluginV1(plugin.plugin(), [plugin], [])
    except Exception as error:  # pyrage raises several kinds, none with a common root
        raise UsageError(f"{text[:24]}… is no age recipient: {error}") from error
    raise UsageError(f"{text[:24]!r} is no recipient: it starts neither with age1 nor with ssh-")


def parse_identities(text: str, where: str) -> list[AgeIdentity]:
    """The identities in an age identity file or an unencrypted SSH private key.  Raises UsageError.

    `where` names the file in errors; nothing of its content is ever printed.
    """
    try:
        if "PRIVATE KEY-----" in text:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        lines = [line.strip() for line in text.splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        found: list[AgeIdentity] = []
        for key in keys:
            if key.startswith("AGE-PLUGIN-"):
                identity = pyrage.plugin.Identity.from_str(key)
                found.append(pyrage.plugin.IdentityPluginV1(identity.plugin(), [identity]))
            else:
                found.append(pyrage.x25519.Identity.from_str(key))
    except Exception as error:  # as above; its text may hold the key, so it is not passed on
        raise UsageError(f"{where} is no age identity file and no unencrypted SSH key") from error
    if not found:
        raise UsageError(f"{where} holds no identity")
    return found


def unlock(unlocker: Unlocker, slots: Sequence[Slot], repository: str) -> Secret:
    """The secrets behind the slots.  Raises KeyFailure."""
    data = unlocker.unlock(slots, repository)
    if data is None:
        kinds = ", ".join(f"{slot.kind} {slot.label or slot.fingerprint}" for slot in slots) or "none"
        raise KeyFailure(f"{unlocker.describe()} opens no slot of repository {repository} (slots: {kinds})")
    return Secret(data)


def _bound_to(repository: str) -> bytes:
    return b"pinfold/1 slot " + repository.encode()
