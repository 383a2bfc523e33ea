"""Changing who may open a repository: what opens afterwards, and what a crash in the middle leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyrage
import pytest

from engine import CHEAP, PASSPHRASE, Rig, listing, made, rig, write
from pinfold import catalogue, rekey, snapshot
from pinfold.errors import KeyFailure, Unavailable, UsageError
from pinfold.seal.secret import Secret
from pinfold.seal.slots import Identities, Passphrase
from pinfold.store import Fault, Faulty, FolderStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinfold.seal.keyring import Keyring
    from pinfold.seal.slots import Unlocker
    from pinfold.store import Store

OTHER = Secret(b"another one")


def change(here: Rig, keyring: Keyring) -> rekey.Settled:
    """Publish and settle, as the commands do."""
    here.keyring = keyring
    rekey.publish(here.store, keyring)
    return rekey.settle(here.store, keyring)


def opens(store: Store, unlocker: Unlocker) -> list[bool]:
    """For every pinned root of a repository, keyrings and snapshots alike, whether it opens."""
    answers = []
    for pin in store.pins(catalogue.PREFIX):
        try:
            snapshot.load_keyring(pin.root, store.get).open(unlocker)
        except KeyFailure:
            answers.append(False)
        else:
            answers.append(True)
    return answers


def with_snapshots(path: Path, store: Store | None = None) -> Rig:
    """A repository with two snapshots of two sources."""
    here = rig(path / "cache", store)
    root = write(path / "tree", {"a": b"x", "b/c": b"y" * 5000})
    made(here.backup(root))
    made(here.backup(root, "other"))
    return here


def test_a_recipient_comes_and_goes(tmp_path: Path) -> None:
    """A recipient that was added opens the repository, and when removed opens no pinned root, while the others do."""
    here = with_snapshots(tmp_path)
    pair = pyrage.x25519.Identity.generate()
    someone = Identities([pair])
    before = {one.root for one in here.listed()}
    added = rekey.add_recipient(here.keyring, here.key, str(pair.to_public()), "someone")
    assert 0 == change(here, added).rerooted
    assert before == {one.root for one in here.listed()}
    made(here.backup(tmp_path / "tree", "third"))
    assert [False, False, True, True] == sorted(opens(here.store, someone))
    with pytest.raises(UsageError, match="has a slot already"):
        rekey.add_recipient(here.keyring, here.key, str(pair.to_public()), "again")
    gone = rekey.remove(here.keyring, here.key, "someone", here.clock)
    assert 1 == change(here, gone).rerooted
    assert not any(opens(here.store, someone))
    assert [True] * 4 == opens(here.store, Passphrase(PASSPHRASE))


def test_another_passphrase(tmp_path: Path) -> None:
    """After a change the old passphrase opens no pinned root, the new one all, and ids and contents stay."""
    here = with_snapshots(tmp_path)
    ids = {one.id for one in catalogue.snapshots(here.store, here.key.repository)}
    with pytest.raises(KeyFailure, match="opens no slot"):
        rekey.change_passphrase(here.keyring, here.key, OTHER, PASSPHRASE, CHEAP)
    assert 2 == change(here, rekey.change_passphrase(here.keyring, here.key, PASSPHRASE, OTHER, CHEAP)).rerooted
    assert not any(opens(here.store, Passphrase(PASSPHRASE)))
    assert [True] * 3 == opens(here.store, Passphrase(OTHER))
    assert ids == {one.id for one in catalogue.snapshots(here.store, here.key.repository)}
    assert 0 == here.verify().damage_count
    here.restore(catalogue.find(here.store, None, "latest"), tmp_path / "back")
    assert listing(tmp_path / "tree") == listing(tmp_path / "back")


def test_a_backup_goes_on_after_a_change(tmp_path: Path) -> None:
    """After the snapshots got new roots, the next run still reads no file, stores no chunk, and follows the last."""
    here = with_snapshots(tmp_path)
    change(here, rekey.change_passphrase(here.keyring, here.key, PASSPHRASE, OTHER, CHEAP))
    result = here.backup(tmp_path / "tree")
    assert (0, 0) == (result.counts.read_bytes, result.new_blocks)
    assert 1 == made(result).header.sequence


def test_a_new_generation(tmp_path: Path) -> None:
    """A rotated repository reads its old snapshots, seals new ones with new keys, and refuses agents of the old."""
    here = with_snapshots(tmp_path)
    agent = here.other_agent(tmp_path / "agent")
    keyring, left = rekey.rotate(agent.keyring, here.key, PASSPHRASE, here.clock)
    assert [] == left
    change(here, keyring)
    here.key = keyring.open(Passphrase(PASSPHRASE))
    here.agent = here.key.agent(rekey.OWNER)
    agent.keyring = keyring
    with pytest.raises(KeyFailure, match="make it a new key with: pinfold key new-agent second"):
        agent.backup(tmp_path / "tree")
    old = next(catalogue.snapshots(here.store, here.key.repository))
    result = here.backup(tmp_path / "tree")
    assert (0, 1) == (old.header.generation, made(result).header.generation)
    assert result.new_blocks > 0
    for number, one in enumerate((old, made(result))):
        here.restore(one, tmp_path / f"back{number}")
        assert listing(tmp_path / "tree") == listing(tmp_path / f"back{number}")
    assert 0 == here.verify().damage_count


def test_rotation_leaves_behind_what_it_cannot_seal(tmp_path: Path) -> None:
    """A passphrase slot whose passphrase is not given is left behind and told; age slots are sealed anew."""
    here = with_snapshots(tmp_path)
    pair = pyrage.x25519.Identity.generate()
    keyring = rekey.add_recipient(here.keyring, here.key, str(pair.to_public()), "someone")
    rotated, left = rekey.rotate(keyring, here.key, OTHER, here.clock)
    assert ["passphrase"] == [slot.label for slot in left]
    assert 1 == rotated.open(Identities([pair])).generation


def test_what_cannot_be_removed(tmp_path: Path) -> None:
    """Neither the last slot, nor the owner's agent, nor what is not there or means several, can be removed."""
    here = rig(tmp_path / "cache")
    with pytest.raises(UsageError, match="last slot"):
        rekey.remove(here.keyring, here.key, "passphrase", here.clock)
    with pytest.raises(UsageError, match="owner's own agent"):
        rekey.remove(here.keyring, here.key, rekey.OWNER, here.clock)
    with pytest.raises(UsageError, match="no slot and no agent 'nobody'"):
        rekey.remove(here.keyring, here.key, "nobody", here.clock)
    twice = rekey.add_passphrase(here.keyring, here.key, OTHER, "passphrase", CHEAP)
    with pytest.raises(UsageError, match="means several"):
        rekey.remove(twice, here.key, "passphrase", here.clock)
    for name in (rekey.OWNER, "", "x" * 101):
        with pytest.raises(UsageError, match="cannot be an agent's name"):
            rekey.new_agent(here.keyring, here.key, name, here.clock)


def test_a_removed_agent(tmp_path: Path) -> None:
    """What an agent signed before it was removed stays valid; what it signs afterwards does not."""
    here = rig(tmp_path / "cache")
    agent = here.other_agent(tmp_path / "agent")
    root = write(tmp_path / "tree", {"a": b"x"})
    before = made(agent.backup(root))
    change(here, rekey.remove(agent.keyring, here.key, "second", here.clock))
    assert before.id == snapshot.load(before.root, here.store.get).id
    agent.keyring = here.keyring
    with pytest.raises(KeyFailure, match="not allowed to sign"):
        agent.backup(root)


def test_a_lost_agent_key_is_made_anew(tmp_path: Path) -> None:
    """A new key under an agent's name retires the old one."""
    here = rig(tmp_path / "cache")
    first = here.other_agent(tmp_path / "one", "laptop")
    second = first.other_agent(tmp_path / "two", "laptop")
    names = [(one.name, bool(one.until)) for one in second.keyring.agents]
    assert [("owner", False), ("laptop", True), ("laptop", False)] == names


@pytest.mark.parametrize("folder", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["memory", "folder"])
@pytest.mark.parametrize("method", ["put", "get", "pin", "unpin", "pins"])
def test_a_change_cut_short_is_finished_by_the_next(tmp_path: Path, method: str, folder: bool) -> None:
    """Broken off at any call to the store, a change is finished by settling again, and nothing is lost between."""
    call = 0
    while True:
        call += 1
        place = tmp_path / str(call)
        place.mkdir()
        store = Faulty(FolderStore.create(place / "store") if folder else MemoryStore())
        here = with_snapshots(place, store)
        keyring = rekey.change_passphrase(here.keyring, here.key, PASSPHRASE, OTHER, CHEAP)
        store.calls.clear()
        store.faults = (Fault(method, frozenset({call}), KeyboardInterrupt()),)
        try:
            change(here, keyring)
        except KeyboardInterrupt:
            store.faults = ()
        else:
            break
        assert any(opens(store, Passphrase(OTHER)) + opens(store, Passphrase(PASSPHRASE)))
        assert 2 == len({one.id for one in catalogue.snapshots(store, here.key.repository)})
        change(here, keyring)
        assert not any(opens(store, Passphrase(PASSPHRASE)))
        assert [True] * 3 == opens(store, Passphrase(OTHER))
        assert 0 == here.verify().damage_count
        store.close()
    assert call > 1


def test_a_damaged_snapshot_keeps_the_old_keyrings(tmp_path: Path) -> None:
    """A snapshot that cannot be re-rooted is told, and the old keyrings stay pinned: they may be needed."""
    here = with_snapshots(tmp_path)
    broken = here.listed()[0].root
    faulty = Faulty(here.store)
    del here.store._blocks[broken.digest]  # type: ignore[attr-defined]
    here.store = faulty
    settled = change(here, rekey.change_passphrase(here.keyring, here.key, PASSPHRASE, OTHER, CHEAP))
    assert (1, [str(broken)]) == (settled.rerooted, [root for root, _ in settled.failed])
    assert 2 == len(list(here.store.pins(f"pinfold/{here.key.repository}/keyring/")))


def test_somebody_elses_newer_keyring_stays(tmp_path: Path) -> None:
    """An older keyring is not published beside a newer one, and settling it never unpins the newer one."""
    here = with_snapshots(tmp_path)
    first = rekey.add_passphrase(here.keyring, here.key, OTHER, "one", CHEAP)
    second = rekey.add_passphrase(first, here.key, OTHER, "two", CHEAP)
    rekey.publish(here.store, second)
    with pytest.raises(Unavailable, match="at the same moment"):
        rekey.publish(here.store, first)
    rekey.settle(here.store, first)
    assert second == catalogue.newest_keyring(here.store, here.key.repository)


def test_a_store_that_is_away(tmp_path: Path) -> None:
    """A store that does not answer while listing fails the settling with its own error."""
    here = with_snapshots(tmp_path)
    store = Faulty(here.store, Fault("pins", error=Unavailable("asleep")))
    with pytest.raises(Unavailable):
        rekey.settle(store, here.keyring)


def test_a_progress_of_snapshots(tmp_path: Path) -> None:
    """Settling tells after each snapshot how many have a new root."""
    here = with_snapshots(tmp_path)
    told: list[int] = []
    keep: Callable[[int], None] = told.append
    keyring = rekey.change_passphrase(here.keyring, here.key, PASSPHRASE, OTHER, CHEAP)
    rekey.publish(here.store, keyring)
    rekey.settle(here.store, keyring, keep)
    assert [1, 2] == told
