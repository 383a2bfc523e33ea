"""The index is only a cache: without it, or with a bad one, nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Corrupt, Missing, Unavailable
from pinfold.store import FolderStore
from store.dags import folder, noise, trie

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.ipld.cid import CID
    from store.dags import Dag

DAG = trie(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with one pin."""
    with FolderStore.create(tmp_path / "store") as store, store.session():
        store.put(DAG.blocks)
        store.pin(DAG.root, "one")
    return tmp_path / "store"


def whole(store: FolderStore, dag: Dag = DAG) -> bool:
    """Whether every block of the DAG is there and got."""
    return dag.cids == store.has(dag.cids) and dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}


def got(store: FolderStore, cid: CID) -> bool:
    """Whether a block can be read."""
    try:
        store.get(cid)
    except (Missing, Corrupt):
        return False
    return True


def test_a_deleted_index_is_built_again(path: Path) -> None:
    """A scan of the cars gives all blocks back."""
    for file in path.glob("index.db*"):
        file.unlink()
    with FolderStore.open(path) as store:
        assert whole(store)
        store.pin(DAG.root, "two")
        assert store.put(DAG.blocks) == 0


@pytest.mark.parametrize("spoil", [b"", b"garbage" * 1000, b"SQLite format 3\0" + bytes(5000)])
def test_a_garbled_index_is_built_again(path: Path, spoil: bytes) -> None:
    """Whatever lies under the index's name costs a rebuild at most."""
    (path / "index.db").write_bytes(spoil)
    with FolderStore.open(path) as store:
        assert whole(store)


def test_an_index_damaged_in_use_is_built_again(path: Path) -> None:
    """Damage met by a query raises Unavailable at most; trying again finds a new index."""
    with FolderStore.open(path) as store:
        store.put(noise(5, 5000, 10))
    database = (path / "index.db").read_bytes()
    for place in range(4096, len(database), 8192):
        (path / "index.db").write_bytes(database[:place] + b"\xff" * 4096 + database[place + 4096 :])
        with FolderStore.open(path) as store:
            for _ in range(3):
                try:
                    assert whole(store)
                except Unavailable:
                    continue
                break
            else:
                pytest.fail("the index was not built again")


def test_an_index_deleted_in_use_is_made_up_for(path: Path) -> None:
    """A process that goes on with the old index and one with a new one see each other's blocks."""
    more, last = folder(noise(7, 5)), folder(noise(8, 5))
    with FolderStore.open(path) as first:
        assert whole(first)
        for file in path.glob("index.db*"):
            file.unlink()
        with FolderStore.open(path) as second:
            with second.session():
                second.put(more.blocks)
            with first.session():
                first.put(last.blocks)
            first.pin(more.root, "more")
            second.pin(last.root, "last")
            assert whole(first, more)
            assert whole(second, last)


def test_a_car_that_is_gone_is_missed(path: Path) -> None:
    """Rows of a removed car go at the next opening, and a pin says what is missing."""
    for car in (path / "cars").iterdir():
        car.unlink()
    with FolderStore.open(path) as store:
        assert set() == store.has(DAG.cids)
        with pytest.raises(Missing):
            store.get(DAG.root)
        assert {str(cid) for cid in DAG.cids} >= {what for what, _ in store.check()} != set()
        store.put(DAG.blocks)
        assert whole(store)


def test_one_flipped_byte_loses_at_most_its_block(path: Path) -> None:
    """With any byte of a car damaged and the index gone, all other blocks are found."""
    (car,) = (path / "cars").iterdir()
    good = car.read_bytes()
    for place in range(0, len(good), 97):
        bad = bytearray(good)
        bad[place] ^= 0x10
        car.write_bytes(bad)
        for file in path.glob("index.db*"):
            file.unlink()
        with FolderStore.open(path) as store:
            assert sum(not got(store, cid) for cid in DAG.cids) <= 1
            assert [] != list(store.check())


def test_a_folder_that_cannot_be_written_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store on read-only media serves blocks and pins, with an index of its own elsewhere."""
    (path / "index.db").unlink()
    monkeypatch.setattr("os.access", lambda *_: False)
    with FolderStore.open(path) as store:
        assert whole(store)
        assert [DAG.root] == [pin.root for pin in store.pins()]
    assert not (path / "index.db").exists()
