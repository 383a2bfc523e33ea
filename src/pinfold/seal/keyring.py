"""The keyring: who may open a repository and who may sign for it, under the owner's signature.

Two public documents travel together: repository.json (settings that never change) and keyring.json
(sequence, generation, public key, slots, agents).  The signature covers both.  The repository's id
is a hash of the owner's key, so a keyring cannot be swapped for a stranger's under the same id.
The highest valid sequence wins.  Source: docs/format.md, "Keyring".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pinfold.errors import KeyFailure, Malformed
from pinfold.seal import canonical, slots
from pinfold.seal.chunker import MAX, MIN, TARGET
from pinfold.seal.keys import OwnerKey, repository_id, verify_signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.seal.slots import Slot, Unlocker

FORMAT: Final = "pinfold/1"
MAX_AGENTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Repository:
    """What never changes: id, the owner's public signing key, whether blocks are padded."""

    id: str
    owner: bytes
    padding: bool = True

    def encode(self) -> bytes:
        """repository.json."""
        return canonical.encode(
            {
                "format": FORMAT,
                "repository": self.id,
                "owner": self.owner.hex(),
                "chunker": {"name": "fastcdc-keyed", "min": MIN, "target": TARGET, "max": MAX},
                "padding": "padme" if self.padding else "none",
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Repository:
        """The repository described.  Raises Malformed, or KeyFailure when id and owner do not fit."""
        field = "repository.json"
        document = canonical.decode(data, field)
        if document.get("format") != FORMAT:
            raise Malformed(field, f"format {document.get('format')!r} is not {FORMAT!r}: a newer pinfold may read it")
        name = canonical.take(document, "repository", str, field)
        owner = canonical.unhex(canonical.take(document, "owner", str, field), 32, field)
        padding = canonical.take(document, "padding", str, field)
        if padding not in {"padme", "none"}:
            raise Malformed(field, f"padding {padding[:20]!r} is unknown")
        if repository_id(owner) != name:
            raise KeyFailure(f"repository {name[:16]} and its owner's key do not belong together: forged")
        repository = cls(name, owner, padding == "padme")
        if repository.encode() != data:
            raise Malformed(field, "it says more, or other things, than this pinfold knows")
        return repository


@dataclass(frozen=True, slots=True)
class Agent:
    """Who may sign snapshots: a name for people, an Ed25519 public key, and until when (or empty)."""

    name: str
    key: bytes
    until: str = ""


@dataclass(frozen=True, slots=True)
class Keyring:
    """A keyring that is signed and fits its repository."""

    repository: Repository
    sequence: int
    generation: int
    public_key: str
    slots: tuple[Slot, ...]
    agents: tuple[Agent, ...]
    signature: bytes = b""

    def _document(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "repository": self.repository.id,
            "sequence": self.sequence,
            "generation": self.generation,
            "public_key": self.public_key,
            "slots": [slot.document() for slot in self.slots],
            "agents": [{"name": one.name, "key": one.key.hex(), "until": one.until} for one in self.agents],
        }

    def _message(self) -> bytes:
        return b"pinfold/1 keyring\n" + self.repository.encode() + b"\n" + canonical.encode(self._document())

    def signed(self, owner: OwnerKey) -> Keyring:
        """The same keyring under the owner's signature."""
        return dataclasses.replace(self, signature=owner.signer.sign(self._message()))

    def encode(self) -> bytes:
        """keyring.json."""
        return canonical.encode(self._document() | {"signature": self.signature.hex()})

    @classmethod
    def decode(cls, repository_json: bytes, keyring_json: bytes) -> Keyring:
        """The keyring, its signature checked.  Raises Malformed or KeyFailure."""
        repository = Repository.decode(repository_json)
        field = "keyring.json"
        document = canonical.decode(keyring_json, field)
        if document.get("format") != FORMAT or document.get("repository") != repository.id:
            raise KeyFailure(f"keyring.json is not the keyring of repository {repository.id}")
        sequence, generation = (canonical.take(document, key, int, field) for key in ("sequence", "generation"))
        if sequence < 0 or generation < 0:
            raise Malformed(field, "numbers are negative")
        listed = canonical.take(document, "slots", list, field)
        agents = canonical.take(document, "agents", list, field)
        if len(listed) > slots.MAX_SLOTS or len(agents) > MAX_AGENTS:
            raise Malformed(field, "more slots or agents than allowed")
        keyring = cls(
            repository,
            sequence,
            generation,
            canonical.take(document, "public_key", str, field),
            tuple(slots.Slot.parse(one) for one in listed),
            tuple(_agent(one) for one in agents),
            canonical.unhex(canonical.take(document, "signature", str, field), 64, field),
        )
        # What the signature does not cover must not be there.
        if keyring.encode() != keyring_json:
            raise Malformed(field, "it says more than this pinfold knows")
        verify_signature(repository.owner, keyring.signature, keyring._message(), f"keyring {sequence}")
        return keyring

    def open(self, unlocker: Unlocker) -> OwnerKey:
        """The owner's key behind a slot.  Raises KeyFailure."""
        key = OwnerKey.from_secrets(slots.unlock(unlocker, self.slots, self.repository.id), self.repository.id)
        if key.generation != self.generation or key.public_key != self.public_key:
            raise KeyFailure(f"keyring {self.sequence} and the secrets in its slots are of different generations")
        return key

    def agent(self, key: bytes) -> Agent | None:
        """The agent that signs with this public key, if it is listed."""
        return next((one for one in self.agents if one.key == key), None)


def first_keyring(owner: OwnerKey, slot_list: Sequence[Slot], agents: Sequence[Agent], *, padding: bool) -> Keyring:
    """Keyring 0 of a new repository, signed."""
    repository = Repository(owner.repository, owner.signer.public, padding)
    return Keyring(repository, 0, owner.generation, owner.public_key, tuple(slot_list), tuple(agents)).signed(owner)


def next_keyring(
    keyring: Keyring, owner: OwnerKey, *, slot_list: Sequence[Slot] | None = None, agents: Sequence[Agent] | None = None
) -> Keyring:
    """The keyring that follows, with other slots or agents or the owner's newest generation, signed."""
    if slot_list is not None and not slot_list:
        raise KeyFailure("the last slot cannot be removed: nobody could open the repository any more")
    return Keyring(
        keyring.repository,
        keyring.sequence + 1,
        owner.generation,
        owner.public_key,
        keyring.slots if slot_list is None else tuple(slot_list),
        keyring.agents if agents is None else tuple(agents),
    ).signed(owner)


def _agent(document: object) -> Agent:
    field = "keyring agent"
    if not isinstance(document, dict):
        raise Malformed(field, "it is not an object")
    key = canonical.unhex(canonical.take(document, "key", str, field), 32, field)
    return Agent(canonical.take(document, "name", str, field), key, canonical.take(document, "until", str, field))
