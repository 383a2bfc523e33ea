"""Mirrors of several kinds of stores: as many copies as are wanted, spares, peers, and services that fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine import TickingClock
from pinfold.errors import Corrupt, Missing, Refused, Unavailable
from pinfold.ipld.cid import CID
from pinfold.store import (
    CopyStatus,
    Counting,
    Fault,
    Faulty,
    FolderStore,
    MemoryStore,
    Mirror,
    Pin,
    PinState,
    PinStatus,
    ReadOnly,
)
from pinfold.store.layers import Layer
from pinfold.store.merging import merged
from store.dags import Dag, noise, trie

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from pinfold.store import Block, Store

DAG, OTHER = trie(1), trie(2)


class Service(Layer):
    """A pinning service: it takes no block, and fetches what it is to pin from one store."""

    def __init__(self, name: str, origin: Store) -> None:
        super().__init__(MemoryStore(name))
        self.origin = origin

    @property
    def origins(self) -> tuple[str, ...]:
        """Where it fetches from."""
        return (self.origin.name,)

    def put(self, blocks: Iterable[Block]) -> int:
        """It takes none."""
        del blocks
        raise Refused("a pinning service takes no blocks")

    def get(self, cid: CID) -> bytes:
        """It has no gateway."""
        raise Refused(f"no gateway to read {cid} from")

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Fetch all of it; FAILED where that cannot be."""
        from pinfold.store.filling import SourceError, fill  # noqa: PLC0415

        try:
            fill(root, self.origin.get, self._store)
        except SourceError as error:
            return PinStatus(root, (CopyStatus(self.name, PinState.FAILED, detail=str(error)),))
        return self._store.pin(root, name, replaces=replaces)


class Peers(Layer):
    """A store of several peers, of which only some prove a pin."""

    def __init__(self, proved: int, of: int, wanted: int) -> None:
        super().__init__(MemoryStore("peers"))
        self.proved, self.of, self.wanted = proved, of, wanted

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Pinned on as many as are up."""
        self._store.pin(root, name, replaces=replaces)
        return self.status(root)

    def status(self, root: CID) -> PinStatus:
        """Peer by peer."""
        states = [PinState.PINNED if number < self.proved else PinState.PINNING for number in range(self.of)]
        return PinStatus(
            root, tuple(CopyStatus(f"peer {at}", state) for at, state in enumerate(states)), wanted=self.wanted
        )


class Blind(Layer):
    """A store with no powers."""

    @property
    def below(self) -> Store:
        """Hide the powers of what lies below."""
        return ReadOnly(self._store)


def saved(mirror: Mirror, dag: Dag = DAG) -> PinStatus:
    """Put and pinned in one session."""
    with mirror.session():
        mirror.put(dag.blocks)
        return mirror.pin(dag.root, "snapshot")


@pytest.mark.parametrize(
    ("proved", "of", "wanted", "expected"),
    [(3, 3, 2, (4, 4, False)), (2, 3, 2, (3, 3, False)), (1, 3, 2, (2, 3, True)), (1, 2, 2, (2, 3, True))],
)
def test_peers_count_one_by_one(proved: int, of: int, wanted: int, expected: tuple[int, int, bool]) -> None:
    """A store of several peers is as safe as it must be when enough of them prove the pin, whatever others have."""
    status = saved(Mirror([MemoryStore("one"), Peers(proved, of, wanted)]))
    assert expected == (status.pinned, status.due, status.short)


def test_a_copy_too_many_does_not_stand_in_for_another_store() -> None:
    """Three peers where two are wanted do not make up for a folder that failed."""
    away = Faulty(MemoryStore("one"), Fault("pin", error=Unavailable("not now")))
    status = saved(Mirror([away, Peers(3, 3, 2)], min_copies=1))
    assert (3, 4, True) == (status.pinned, status.due, status.short)


def test_the_first_so_many_take_part() -> None:
    """With at most two copies, the third store holds nothing, is not wanted, and is not even asked."""
    one, two, three = (Counting(MemoryStore(name)) for name in ("one", "two", "three"))
    mirror = Mirror([one, two, three], min_copies=1, max_copies=2)
    status = saved(mirror)
    assert ([("one", "pinned"), ("two", "pinned")], False) == (
        [(copy.where, copy.state) for copy in status.copies],
        status.short,
    )
    assert (0, 0, 0) == tuple(three.counts[call] for call in ("put", "pin", "has"))
    assert (False, 3) == (mirror.status(DAG.root).short, len(mirror.status(DAG.root).copies))


@pytest.mark.parametrize("method", ["put", "pin", "has", "session"])
def test_a_spare_takes_the_place_of_one_that_is_down(method: str) -> None:
    """Whenever a store fails, the next spare gets its own whole copy, and the snapshot is as safe as it shall be."""
    two, three = MemoryStore("two"), MemoryStore("three")

    class Shut(Faulty):
        def session(self) -> AbstractContextManager[None]:
            """It may fail at the door."""
            self._fault("session")
            return super().session()

    down = Shut(MemoryStore("one"), Fault(method, error=Unavailable("not now")))
    mirror = Mirror([down, two, three], min_copies=2, max_copies=2)
    with mirror.session():
        mirror.has(DAG.cids)
        mirror.put(DAG.blocks)
        status = mirror.pin(DAG.root, "snapshot")
    assert ([Pin(DAG.root, "snapshot")],) * 2 == (list(two.pins()), list(three.pins()))
    assert (2, False) == (status.pinned, status.short)


def test_what_comes_back_is_made_whole() -> None:
    """A store that was away gets the blocks that a new snapshot shares with the one it missed."""
    one, two = MemoryStore("one"), MemoryStore("two")
    mirror = Mirror([Faulty(one, Fault("put", frozenset({1}), Unavailable("not now"))), two], min_copies=1, rest=0)
    assert saved(mirror).short
    with mirror.session():
        mirror.put(OTHER.blocks)
        assert not mirror.pin(DAG.root, "snapshot").short
    assert DAG.cids == one.has(DAG.cids)
    assert any("one lacked" in line and "copied to it" in line for line in mirror.warnings)


def test_a_store_that_did_not_answer_rests(tmp_path: Path) -> None:
    """It is left alone for a minute, sessions or not, and then tried again."""
    away = Faulty(MemoryStore("one"), *(Fault(method, error=Unavailable("not now")) for method in ("pins", "put")))
    clock = TickingClock()
    mirror = Mirror([away, FolderStore.create(tmp_path / "two")], min_copies=1, clock=clock)
    list(mirror.pins())
    for _ in range(3):
        assert saved(mirror).short
        assert mirror.status(DAG.root).short
    assert (1, 0, 0) == tuple(away.calls[method] for method in ("pins", "put", "status"))
    away.faults = ()
    clock._seconds += 60
    assert not saved(mirror).short
    mirror.close()


def test_two_halves_make_two_wholes() -> None:
    """Where each store lacks what the other has, both are made whole."""
    one, two = MemoryStore("one"), MemoryStore("two")
    one.put(DAG.blocks[::2])
    two.put(DAG.blocks[1::2])
    assert 2 == Mirror([one, two]).pin(DAG.root, "snapshot").pinned


def test_services_that_fetch() -> None:
    """A pinning service is handed no block, is told to pin when another store has proved, and counts as a copy."""
    one = MemoryStore("one")
    service = Service("service", one)
    mirror = Mirror([service, one])
    assert (2, False) == ((status := saved(mirror)).pinned, status.short)
    assert dict(DAG.blocks) == {cid: mirror.get(cid) for cid in DAG.cids}
    assert DAG.cids == mirror.has(DAG.cids)
    assert [one] == mirror.copies()
    with pytest.raises(Missing):
        mirror.get(OTHER.root)
    with pytest.raises(Refused, match="only fetch"):
        Mirror([service])


def test_a_service_that_cannot_fetch_is_short() -> None:
    """Its failure is told, and the copies that hold are kept."""
    one = MemoryStore("one")
    status = saved(Mirror([one, Service("service", MemoryStore("elsewhere"))], min_copies=1))
    assert (1, 2, True) == (status.pinned, status.due, status.short)
    with pytest.raises(Unavailable, match="fewer than 1"):
        saved(Mirror([Faulty(one, Fault("pin", error=Unavailable("x"))), Service("service", one)], min_copies=1), OTHER)


def test_a_service_is_never_the_only_one_to_take_part() -> None:
    """With at most one copy, that is in a store that takes blocks."""
    one = MemoryStore("one")
    assert ["one"] == [copy.where for copy in saved(Mirror([Service("service", one), one], max_copies=1)).copies]


def test_a_store_that_only_puts_is_healed_by_putting() -> None:
    """A store without the power to replace is given the block; if it keeps the damaged one, that is said."""

    class Plain(Blind):
        def get(self, cid: CID) -> bytes:
            """Damaged for ever where it was."""
            if stubborn and cid == DAG.root:
                raise Corrupt(cid, self.name)
            return super().get(cid)

    good = MemoryStore("good")
    good.put(DAG.blocks)
    for stubborn in (False, True):
        bad = Plain(MemoryStore("bad"))
        mirror = Mirror([bad, good])
        assert dict(DAG.blocks)[DAG.root] == mirror.get(DAG.root)
        assert ("could not be healed" in mirror.warnings[0]) is stubborn


def test_reading_does_not_fill_an_empty_store_for_ever() -> None:
    """Blocks a store merely lacks are put while reading only up to a bound, and warnings stay few."""
    many = noise(7, 1500, size=10)
    empty, good = MemoryStore("empty"), MemoryStore("good")
    good.put(many)
    mirror = Mirror([empty, good])
    for cid, block in many:
        assert block == mirror.get(cid)
    assert 1000 == len(empty.has(cid for cid, _ in many))
    assert 21 == len(mirror.warnings)
    assert "replicate" in mirror.warnings[-1]


def test_every_copy_is_checked_at_rest() -> None:
    """Damage at rest is told with the store it is in; where none can look, that is an answer."""
    one, two = MemoryStore("one"), MemoryStore("two")
    Mirror([one, two]).put(DAG.blocks)
    two._blocks[DAG.root.digest] = b"damaged"
    ((what, why),) = Mirror([one, two]).check()
    assert (DAG.root.digest, True) == (CID.parse(what).digest, "two" in why)
    with pytest.raises(Refused, match="at rest"):
        list(Mirror([Blind(one)]).check())


@pytest.mark.parametrize(("least", "most"), [(2, 1), (0, 2), (4, None), (1, 0)])
def test_impossible_numbers_are_refused(least: int, most: int | None) -> None:
    """Nobody keeps at least two copies and at most one."""
    with pytest.raises(Refused):
        Mirror([MemoryStore(), MemoryStore(), MemoryStore()], min_copies=least, max_copies=most)


def test_merging_one_status_changes_nothing() -> None:
    """A mirror of one store tells what that store tells."""
    status = PinStatus(DAG.root, (CopyStatus("one", PinState.PINNED), CopyStatus("two", PinState.PINNING)), wanted=1)
    assert status == merged(DAG.root, [status], 1)
