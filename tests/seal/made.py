"""Owners, agents and keyrings as tests need them: the same in every run but for age's own randomness."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from pinfold.seal import slots
from pinfold.seal.box import Opener
from pinfold.seal.keyring import Agent, Keyring, first_keyring
from pinfold.seal.keys import OwnerKey
from pinfold.seal.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinfold.seal.keys import AgentKey
    from pinfold.seal.slots import Slot

CHEAP = slots.Stretch(iterations=1, memory=32, lanes=1)
PASSPHRASE = Secret(b"correct horse")


def chance(seed: int) -> Callable[[int], bytes]:
    """Return a generator of bytes that gives the same in every run."""
    return Random(seed).randbytes


def owner(seed: int = 1) -> OwnerKey:
    """Return the owner of a new repository."""
    return OwnerKey.new(chance(seed))


def slot_of(key: OwnerKey, passphrase: Secret = PASSPHRASE, stretch: slots.Stretch = CHEAP) -> Slot:
    """Return a cheap passphrase slot."""
    return slots.passphrase_slot(passphrase, "mine", key.secrets(), key.repository, chance(2), stretch)


def age_slot_of(key: OwnerKey, recipient: str, label: str = "laptop") -> Slot:
    """Return a slot for an age recipient."""
    return slots.age_slot(recipient, label, key.secrets(), key.repository, lambda data: key.hide(data, chance(3)))


def keyring_of(key: OwnerKey, agents: Sequence[AgentKey] = (), slot_list: Sequence[Slot] = ()) -> Keyring:
    """Return the first keyring of a repository that these agents may sign for."""
    listed = [Agent(one.name, one.signer.public) for one in agents]
    return first_keyring(key, slot_list or [slot_of(key)], listed, padding=True)


def opener(seed: int = 1, generation: int = 0, *, padding: bool = True, level: int = 3) -> Opener:
    """Return what seals and opens under made-up sub-keys."""
    random = chance(seed)
    return Opener(Secret(random(32)), Secret(random(32)), generation, padding=padding, level=level)
