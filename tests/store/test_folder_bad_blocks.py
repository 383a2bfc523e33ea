"""A damaged block that was found is not vouched for: the next put stores it anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Corrupt
from pinfold.store import FolderStore
from store.dags import noise, trie

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinfold.ipld.cid import CID

DAG = trie(1, 20)
BAD = DAG.leaves[7]
GOOD = dict(DAG.blocks)[BAD]


def spoil(path: Path) -> None:
    """Turn one bit of the block over."""
    for car in (path / "cars").iterdir():
        data = bytearray(car.read_bytes())
        at = data.find(GOOD)
        if at >= 0:
            data[at + 9] ^= 1
            car.write_bytes(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with one pin and a damaged leaf below it."""
    with FolderStore.create(tmp_path / "store") as store, store.session():
        store.put(DAG.blocks)
        store.pin(DAG.root, "one")
    spoil(tmp_path / "store")
    return tmp_path / "store"


def by_get(store: FolderStore, cid: CID) -> None:
    """Find the damage by reading the block."""
    with pytest.raises(Corrupt):
        store.get(cid)


def by_check(store: FolderStore, cid: CID) -> None:
    """Find the damage by looking at all that is held."""
    assert [str(cid)] == [what for what, _ in store.check()]


@pytest.mark.parametrize("find", [by_get, by_check])
def test_a_block_found_damaged_is_put_anew(path: Path, find: Callable[[FolderStore, CID], None]) -> None:
    """Once found, has says no; the next put heals every snapshot, and no collection takes the good copy."""
    with FolderStore.open(path) as store:
        assert DAG.cids == store.has(DAG.cids)
        find(store, BAD)
        assert DAG.cids - {BAD} == store.has(DAG.cids)
    with FolderStore.open(path) as store:  # it is remembered
        assert len(GOOD) == store.put(DAG.blocks)
        assert DAG.cids == store.has(DAG.cids)
        assert [] == list(store.check())
        store.put(noise(5, 500))
        for _ in range(2):
            store.collect()
            assert dict(DAG.blocks) == {cid: store.get(cid) for cid in DAG.cids}
            assert DAG.cids == store.has(DAG.cids)


def test_an_index_built_anew_finds_the_good_copy(path: Path) -> None:
    """Without the index's note the damaged copy comes first again; reading and collecting find the other."""
    for first in ("get", "collect"):
        with FolderStore.open(path) as store:
            by_get(store, BAD) if first == "get" else None
            store.put(DAG.blocks)
            store.put(noise(5, 500))
        for file in path.glob("index.db*"):
            file.unlink()
        with FolderStore.open(path) as store:
            if first == "collect":
                store.collect()
            assert dict(DAG.blocks) == {cid: store.get(cid) for cid in DAG.cids}
            assert DAG.cids == store.has(DAG.cids)
            told = [why for _, why in store.check()]  # once, and only if the good copy came first
            assert all("a good copy lies elsewhere" in why for why in told)
            assert [] == list(store.check())


def test_a_car_that_was_put_right_is_trusted_again(path: Path) -> None:
    """A good copy laid over the damaged car ends the distrust once it is read."""
    with FolderStore.open(path) as store:
        by_get(store, BAD)
        (car,) = (path / "cars").iterdir()
        worse = GOOD[:9] + bytes([GOOD[9] ^ 1]) + GOOD[10:]
        car.write_bytes(car.read_bytes().replace(worse, GOOD))
        assert GOOD == store.get(BAD)
        assert DAG.cids == store.has(DAG.cids)
        assert 0 == store.put(DAG.blocks)


def test_a_collection_keeps_the_car_of_the_only_copy(path: Path) -> None:
    """A damaged block without a good copy stays where it is: a rescue may still read it."""
    with FolderStore.open(path) as store:
        by_get(store, BAD)
        store.put(noise(5, 500))
        store.collect()
        store.collect()
        by_get(store, BAD)
        assert DAG.cids - {BAD} == store.has(DAG.cids)
