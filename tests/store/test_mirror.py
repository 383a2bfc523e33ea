"""Several stores as one, and what becomes of it when some of them fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Corrupt, Full, Incomplete, Missing, Refused, Unavailable
from pinfold.store import Fault, Faulty, FolderStore, MemoryStore, Mirror, Pin, PinState
from pinfold.store.copies import Copies
from store.dags import Dag, folder, noise, trie

if TYPE_CHECKING:
    from pathlib import Path

DAG = trie(1)


def test_both_copies_prove_their_pin() -> None:
    """Status names each copy."""
    one, two = MemoryStore("one"), MemoryStore("two")
    mirror = Mirror([one, two])
    mirror.put(DAG.blocks)
    assert [("one", PinState.PINNED), ("two", PinState.PINNED)] == [
        (copy.where, copy.state) for copy in mirror.pin(DAG.root, "snapshot").copies
    ]
    assert DAG.cids == one.has(DAG.cids) == two.has(DAG.cids)


@pytest.mark.parametrize("error", [Full("full"), Unavailable("away"), Refused("no right")])
def test_a_store_that_fails_is_set_aside(error: Exception) -> None:
    """Where one copy is enough, work goes on without it, and says so."""
    one, two = MemoryStore("one"), MemoryStore("two")
    mirror = Mirror([Faulty(one, Fault("put", frozenset({1}), error, after=3)), two], min_copies=1, rest=0)
    with mirror.session():
        mirror.put(DAG.blocks)
        status = mirror.pin(DAG.root, "snapshot")
    assert [PinState.FAILED, PinState.PINNED] == [copy.state for copy in status.copies]
    assert str(error) in status.copies[0].detail
    assert 1 == len([warning for warning in mirror.warnings if str(error) in warning])
    with mirror.session():  # the next session tries it again, and makes it whole
        there = mirror.has(DAG.cids)
        mirror.put(block for block in DAG.blocks if block[0] not in there)
        assert 2 == mirror.pin(DAG.root, "snapshot").pinned


def test_too_few_copies_are_an_error() -> None:
    """Where two copies are asked for, one is not a success."""
    away = Faulty(MemoryStore("one"), Fault("put", error=Unavailable("away")))
    full = Faulty(MemoryStore("one"), Fault("put", error=Full("no room")))
    with pytest.raises(Unavailable, match="away"):
        Mirror([away, MemoryStore("two")]).put(DAG.blocks)
    with pytest.raises(Full, match="no room"):
        Mirror([full, MemoryStore("two")]).put(DAG.blocks)
    one, two = MemoryStore("one"), MemoryStore("two")
    one.put(DAG.blocks)
    with pytest.raises(Unavailable, match="not now"):
        Mirror([one, Faulty(two, Fault("pin", error=Unavailable("not now")))]).pin(DAG.root, "snapshot")
    assert ([Pin(DAG.root, "snapshot")], []) == (list(one.pins()), list(two.pins()))


def test_a_lie_of_one_store_does_not_pass_for_the_other() -> None:
    """Each store proves for itself: one that has nothing is told as failed."""
    one, two = MemoryStore("one"), MemoryStore("two")
    one.put(DAG.blocks)
    status = Mirror([one, Faulty(two, Fault("has", lie=True))], min_copies=1).pin(DAG.root, "snapshot")
    assert [PinState.PINNED, PinState.FAILED] == [copy.state for copy in status.copies]
    assert (1, 2, True) == (status.pinned, status.due, status.short)
    with pytest.raises(Incomplete):
        Mirror([MemoryStore(), MemoryStore()]).pin(DAG.root, "snapshot")


def spoiled(tmp_path: Path, dag: Dag) -> FolderStore:
    """A folder store with one damaged block."""
    store = FolderStore.create(tmp_path / "store")
    store.put(dag.blocks)
    store.pin(dag.root, "snapshot")
    (car,) = (tmp_path / "store/cars").iterdir()
    block = dict(dag.blocks)[dag.leaves[0]]
    car.write_bytes(car.read_bytes().replace(block, block[:-1] + bytes([block[-1] ^ 1])))
    return store


@pytest.mark.parametrize("bad_first", [True, False])
def test_reading_heals(tmp_path: Path, *, bad_first: bool) -> None:
    """A damaged copy is passed over and replaced by the good one."""
    bad, good = spoiled(tmp_path, DAG), MemoryStore("good")
    good.put(DAG.blocks)
    good.pin(DAG.root, "snapshot")
    leaf = DAG.leaves[0]
    with pytest.raises(Corrupt):
        bad.get(leaf)
    mirror = Mirror([bad, good] if bad_first else [good, bad])
    assert dict(DAG.blocks) == {cid: mirror.get(cid) for cid in DAG.cids}
    if bad_first:
        assert dict(DAG.blocks)[leaf] == bad.get(leaf)
        assert any("healed" in warning for warning in mirror.warnings)
    mirror.close()


def test_a_missing_copy_is_healed_too() -> None:
    """What one store lost comes back from the other."""
    one, two = MemoryStore("one"), MemoryStore("two")
    two.put(DAG.blocks)
    assert dict(DAG.blocks) == {cid: Mirror([one, two]).get(cid) for cid in DAG.cids}
    assert DAG.cids == one.has(DAG.cids)


def test_nowhere_is_missing_and_away_is_not() -> None:
    """Missing is only what every store was asked for."""
    cid = DAG.root
    with pytest.raises(Missing):
        Mirror([MemoryStore(), MemoryStore()]).get(cid)
    with pytest.raises(Unavailable):
        Mirror([MemoryStore(), Faulty(MemoryStore(), Fault("get", error=Unavailable("away")))]).get(cid)
    with pytest.raises(Corrupt):
        Mirror([MemoryStore(), Faulty(MemoryStore(), Fault("get", error=Corrupt(cid)))]).get(cid)


def test_pins_of_all_stores_are_listed_once() -> None:
    """The list is that of all stores together; unpinning reaches each, or is an error."""
    one, two = MemoryStore("one"), MemoryStore("two")
    other = folder(noise(3, 3))
    for store in (one, two):
        store.put(DAG.blocks)
        store.pin(DAG.root, "both")
    two.put(other.blocks)
    two.pin(other.root, "alone")
    mirror = Mirror([one, two])
    assert [Pin(other.root, "alone"), Pin(DAG.root, "both")] == list(mirror.pins())
    mirror.unpin([DAG.root, other.root])
    assert [] == [*one.pins(), *two.pins()]
    faulty = Mirror([one, Faulty(two, Fault("unpin", error=Unavailable("away")))], min_copies=1)
    with pytest.raises(Unavailable, match="not unpinned everywhere"):
        faulty.unpin([DAG.root])


def test_an_error_of_the_blocks_ends_every_put() -> None:
    """No store waits for blocks that will not come, and the error is the caller's own."""

    def stream() -> object:
        yield from noise(1, 3000)
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        Mirror([MemoryStore(), Faulty(MemoryStore(), Fault("put", error=Full("x")))]).put(stream())  # type: ignore[arg-type]


@pytest.mark.parametrize("copies", [0, 3])
def test_impossible_numbers_of_copies_are_refused(copies: int) -> None:
    """Two stores cannot keep three copies, and none is no copy."""
    with pytest.raises(Refused):
        Mirror([MemoryStore(), MemoryStore()], min_copies=copies)


def test_a_store_that_could_not_be_opened_counts_as_a_failed_copy() -> None:
    """It is told at once; reading works without it, and a backup is short of one copy."""
    one = MemoryStore("one")
    mirror = Mirror([one], min_copies=1, absent={"two": "no folder"})
    assert ["two is left out for the rest of this session: no folder"] == mirror.warnings
    mirror.put(DAG.blocks)
    status = mirror.pin(DAG.root, "snapshot")
    assert [PinState.PINNED, PinState.FAILED] == [copy.state for copy in status.copies]
    assert status == mirror.status(DAG.root)
    with pytest.raises(Unavailable, match="no folder"):
        mirror.unpin([DAG.root])
    one.pin(DAG.root, "snapshot")
    strict = Mirror([one], absent={"two": "no folder"})
    assert DAG.cids == strict.has(DAG.cids)
    assert DAG.root == next(strict.pins()).root
    with pytest.raises(Unavailable, match="two: no folder"):
        strict.put(noise(9, 1))


def test_each_copy_is_looked_at_and_healed(tmp_path: Path) -> None:
    """Read through its copies, a block is healed wherever it is bad or lacking, and that is told."""
    bad, good = spoiled(tmp_path, DAG), MemoryStore("good")
    good.put(block for block in DAG.blocks if block[0] != DAG.root)
    copies = Copies(Mirror([good, bad]))
    assert DAG.cids == copies.has(sorted(DAG.cids))
    assert ["good lacks 1 block that another copy holds"] == copies.notes()
    assert dict(DAG.blocks) == {cid: copies.get(cid) for cid in DAG.cids}
    assert dict(DAG.blocks) == {cid: bad.get(cid) for cid in DAG.cids} == {cid: good.get(cid) for cid in DAG.cids}
    assert sorted(f"healed 1 block in {store.name} from another copy" for store in (bad, good)) == sorted(
        copies.notes()
    )
    bad.close()
