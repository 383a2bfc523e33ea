"""Changing who may open a repository and who may sign for it.  No data block is ever touched.

A change makes a new keyring and pins it.  Taking something away goes on to *re-root* every snapshot
(a few small blocks each) under the new keyring and to unpin the old roots and keyrings, so that no
pinned root still opens with what was taken away.
Crash rule: new keyring, then snapshots one by one, then the old keyrings; `settle` goes on from
wherever an earlier change was cut short, and every change ends with it.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pinfold import catalogue, snapshot
from pinfold.clock import rfc3339
from pinfold.errors import KeyFailure, Malformed, StoreError, Unavailable, UsageError
from pinfold.seal import slots
from pinfold.seal.keyring import Agent, Keyring, next_keyring
from pinfold.seal.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinfold.clock import Clock
    from pinfold.ipld import CID
    from pinfold.seal.keys import AgentKey, OwnerKey
    from pinfold.seal.slots import Slot, Stretch
    from pinfold.store.seam import Block, Store

OWNER: str = "owner"
"""The name of the owner's own agent, in every keyring from the first on."""


@dataclass(slots=True)
class Settled:
    """What `settle` did: snapshots re-rooted, and those that could not be, with why."""

    rerooted: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


def publish(store: Store, keyring: Keyring) -> CID:
    """Store and pin a keyring that stands alone; returns its root.

    Raises Unavailable, the keyring dropped again, when somebody else published one at the same moment.
    """
    blocks: list[Block] = []
    root = snapshot.write_keyring(keyring, lambda cid, data: blocks.append((cid, data)))
    with store.session():
        store.put(blocks)
        store.pin(root, catalogue.keyring_pin(keyring))
        prefix = f"{catalogue.PREFIX}{keyring.repository.id}/keyring/"
        rivals = [pin for pin in store.pins(prefix) if catalogue.keyring_sequence(pin) >= keyring.sequence]
        if any(pin.root != root for pin in rivals):
            # Each of two rivals sees the other, so at most one stays, and none is lost in silence.
            store.unpin([root])
            raise Unavailable(
                "the keyring was changed by somebody else at the same moment: nothing was changed, run again"
            )
    return root


def settle(store: Store, keyring: Keyring, progress: Callable[[int], None] = lambda _: None) -> Settled:
    """Re-root every snapshot that opens with a slot `keyring` no longer has; drop older keyrings.

    Damaged snapshots are passed over and told; older keyrings then stay, for they may be needed.
    """
    now = {slot.sealed for slot in keyring.slots}
    done = Settled()
    for one in catalogue.listed(store, keyring.repository.id):
        try:
            _reroot(store, one, keyring, now, done)
        except (StoreError, Malformed, KeyFailure) as error:
            done.failed.append((str(one.root), str(error)))
        progress(done.rerooted)
    if not done.failed:
        prefix = f"{catalogue.PREFIX}{keyring.repository.id}/keyring/"
        # Only older ones: somebody else may have published a newer one meanwhile.
        old = [pin.root for pin in store.pins(prefix) if 0 <= catalogue.keyring_sequence(pin) < keyring.sequence]
        store.unpin(old)
    return done


def _reroot(store: Store, one: catalogue.Listed, keyring: Keyring, now: set[bytes], done: Settled) -> None:
    made = snapshot.load(one.root, store.get)
    if {slot.sealed for slot in made.keyring.slots} <= now:
        return
    blocks: list[Block] = []
    with store.session():
        new = snapshot.reroot(made, keyring, store.get, lambda cid, data: blocks.append((cid, data)))
        store.put(blocks)
        store.pin(new.root, made.header.pin_name, replaces=one.root)
    done.rerooted += 1


def add_recipient(keyring: Keyring, key: OwnerKey, recipient: str, label: str) -> Keyring:
    """A keyring that this recipient opens too.  Raises UsageError if it already does."""
    slot = slots.age_slot(recipient, label, key.secrets(), keyring.repository.id, _hider(key))
    if any(one.fingerprint == slot.fingerprint for one in keyring.slots):
        raise UsageError(f"recipient {slot.fingerprint} has a slot already")
    return next_keyring(keyring, key, slot_list=[*keyring.slots, slot])


def add_passphrase(keyring: Keyring, key: OwnerKey, passphrase: Secret, label: str, stretch: Stretch) -> Keyring:
    """A keyring that this passphrase opens too."""
    slot = slots.passphrase_slot(passphrase, label, key.secrets(), keyring.repository.id, os.urandom, stretch)
    return next_keyring(keyring, key, slot_list=[*keyring.slots, slot])


def change_passphrase(keyring: Keyring, key: OwnerKey, old: Secret, new: Secret, stretch: Stretch) -> Keyring:
    """A keyring where `new` opens what `old` opened.  Raises KeyFailure when `old` opens nothing."""
    kept = [slot for slot in keyring.slots if not _opens(old, slot, keyring)]
    if len(kept) == len(keyring.slots):
        raise KeyFailure("the passphrase to be changed opens no slot")
    replaced = next(slot for slot in keyring.slots if slot not in kept)
    slot = slots.passphrase_slot(new, replaced.label, key.secrets(), keyring.repository.id, os.urandom, stretch)
    return next_keyring(keyring, key, slot_list=[*kept, slot])


def remove(keyring: Keyring, key: OwnerKey, what: str, clock: Clock) -> Keyring:
    """A keyring without a slot (by fingerprint, its beginning, or label), or with an agent retired (by name)."""
    found = [slot for slot in keyring.slots if slot.fingerprint.startswith(what) or slot.label == what]
    agents = [agent for agent in keyring.agents if agent.name == what and not agent.until]
    if len(found) + len(agents) > 1:
        raise UsageError(f"{what!r} means several slots or agents; give more of the fingerprint")
    if found and len(keyring.slots) == 1:
        raise UsageError("the last slot cannot be removed: nobody could open the repository any more; add one first")
    if found:
        return next_keyring(keyring, key, slot_list=[slot for slot in keyring.slots if slot != found[0]])
    if agents:
        if what == OWNER:
            raise UsageError("the owner's own agent cannot be removed")
        return next_keyring(keyring, key, agents=_retired(keyring.agents, agents[0], clock))
    raise UsageError(f"there is no slot and no agent {what!r}; see: pinfold key show")


def new_agent(keyring: Keyring, key: OwnerKey, name: str, clock: Clock) -> tuple[Keyring, AgentKey]:
    """A keyring that lists a new agent, and its key; an older agent of that name is retired."""
    if name == OWNER or not name or len(name) > 100:
        raise UsageError(f"{name!r} cannot be an agent's name")
    made = key.agent(name, Secret(clock.random(32)))
    old = next((one for one in keyring.agents if one.name == name and not one.until), None)
    agents = keyring.agents if old is None else _retired(keyring.agents, old, clock)
    return next_keyring(keyring, key, agents=[*agents, Agent(name, made.signer.public)]), made


def rotate(keyring: Keyring, key: OwnerKey, passphrase: Secret | None, clock: Clock) -> tuple[Keyring, list[Slot]]:
    """A keyring of a new generation, and the passphrase slots it had to leave behind.

    age slots are sealed anew to their recipients; a passphrase slot only where its passphrase is given.
    """
    newer = key.next_generation(clock.random)
    kept: list[Slot] = []
    left: list[Slot] = []
    for slot in keyring.slots:
        if slot.kind == "age":
            recipient = key.unhide(slot.recipient).decode()
            kept.append(slots.age_slot(recipient, slot.label, newer.secrets(), keyring.repository.id, _hider(newer)))
        elif passphrase is not None and slot.stretch and _opens(passphrase, slot, keyring):
            kept.append(
                slots.passphrase_slot(
                    passphrase, slot.label, newer.secrets(), keyring.repository.id, clock.random, slot.stretch
                )
            )
        else:
            left.append(slot)
    return next_keyring(keyring, newer, slot_list=kept), left


def _opens(passphrase: Secret, slot: Slot, keyring: Keyring) -> bool:
    return slots.Passphrase(passphrase).unlock([slot], keyring.repository.id) is not None


def _retired(agents: Sequence[Agent], which: Agent, clock: Clock) -> list[Agent]:
    until = rfc3339(clock.now())
    return [dataclasses.replace(one, until=until) if one == which else one for one in agents]


def _hider(key: OwnerKey) -> Callable[[bytes], bytes]:
    return lambda data: key.hide(data, os.urandom)
