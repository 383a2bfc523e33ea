"""check(): whatever is damaged at rest is named; what is whole is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Corrupt
from pinfold.store import FolderStore
from store.dags import noise, trie

if TYPE_CHECKING:
    from pathlib import Path

DAG = trie(1, 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with one pin."""
    with FolderStore.create(tmp_path / "store") as store, store.session():
        store.put(DAG.blocks)
        store.pin(DAG.root, "one")
    return tmp_path / "store"


def spoil(path: Path, block: bytes) -> None:
    """Turn one bit of `block` over wherever it lies."""
    for car in (path / "cars").iterdir():
        data = bytearray(car.read_bytes())
        at = data.find(block)
        if at >= 0:
            data[at + len(block) // 2] ^= 1
            car.write_bytes(data)


def test_a_whole_store_has_no_findings(path: Path) -> None:
    """Nothing is told of a whole store, and progress ends at all."""
    steps: list[tuple[int, int]] = []
    with FolderStore.open(path) as store:
        assert [] == list(store.check(lambda done, total: steps.append((done, total))))
    assert steps[-1][0] == steps[-1][1] == len(DAG.blocks)


def test_each_flipped_block_is_named(path: Path) -> None:
    """For every block in turn: one flipped bit, and its CID, car and offset are told."""
    for cid, block in DAG.blocks:
        spoil(path, block)
        with FolderStore.open(path) as store:
            findings = dict(store.check())
            with pytest.raises(Corrupt):
                store.get(cid)
        assert ".car at byte " in findings[str(cid)]
        spoil(path, block[: len(block) // 2] + bytes([block[len(block) // 2] ^ 1]) + block[len(block) // 2 + 1 :])
        with FolderStore.open(path) as store:
            assert [] == list(store.check())


def test_every_flipped_byte_is_noticed(path: Path) -> None:
    """No byte of a car can change unseen: header, lengths, CIDs, blocks, listing."""
    (car,) = (path / "cars").iterdir()
    good = car.read_bytes()
    for place in [*range(120), *range(120, len(good), 41)]:
        bad = bytearray(good)
        bad[place] ^= 0x04
        car.write_bytes(bad)
        with FolderStore.open(path) as store:
            assert [] != list(store.check()), place
    car.write_bytes(good)
    with FolderStore.open(path) as store:
        assert [] == list(store.check())


def test_blocks_behind_a_damaged_head_are_still_read(path: Path) -> None:
    """The index knows where blocks lie, so a damaged head costs no block and is told."""
    (car,) = (path / "cars").iterdir()
    data = bytearray(car.read_bytes())
    cid, block = DAG.blocks[3]
    at = data.find(block) - len(bytes(cid))
    data[at - 1] ^= 0x40
    car.write_bytes(data)
    with FolderStore.open(path) as store:
        assert dict(DAG.blocks) == {cid: store.get(cid) for cid in DAG.cids}
        assert "head of its section" in dict(store.check())[str(cid)]


def test_a_missing_block_of_a_pin_is_named(path: Path) -> None:
    """What a pin needs and no car holds is told with the pin's name."""
    with FolderStore.open(path) as store:
        other = trie(9, 20)
        store.put(other.blocks)
        store.pin(other.root, "two")
        cars = sorted((path / "cars").iterdir(), key=lambda car: car.stat().st_mtime_ns)
    cars[-1].unlink()
    with FolderStore.open(path) as store:
        findings = dict(store.check())
    assert "pin 'two' needs it" in findings[str(other.root)]


def test_a_pin_file_without_a_cid_is_a_finding(path: Path) -> None:
    """A damaged pin file does not stop the check."""
    (path / "pins/one").write_text("nonsense")
    with FolderStore.open(path) as store:
        assert any("holds no CID" in why for _, why in store.check())


def test_replace_heals(path: Path) -> None:
    """A good copy takes the place of the damaged one, for get, check and collect; a bad one is refused."""
    cid, block = DAG.blocks[0]
    spoil(path, block)
    with FolderStore.open(path) as store:
        with pytest.raises(Corrupt):
            store.replace((cid, b"worse"))
        store.replace((cid, block))
        assert block == store.get(cid)
        store.pin(DAG.root, "again")
        store.collect()
        assert dict(DAG.blocks) == {cid: store.get(cid) for cid in DAG.cids}


def test_a_second_copy_is_read_when_the_first_is_damaged(path: Path) -> None:
    """Of two copies, as two writers at once leave them, the good one is found."""
    cid, block = DAG.blocks[0]
    (car,) = (path / "cars").iterdir()
    (path / "cars" / "copy.car").write_bytes(car.read_bytes())
    with FolderStore.open(path) as store:
        data = car.read_bytes()
        at = data.find(block)
        car.write_bytes(data[:at] + bytes(len(block)) + data[at + len(block) :])
        assert block == store.get(cid)


def test_a_copy_in_a_damaged_car_is_not_freed(path: Path) -> None:
    """Collecting around damage keeps every good block, and says so where a node cannot be read."""
    with FolderStore.open(path) as store:
        store.put(noise(5, 100))
        store.put(noise(6, 1, 5000))
        leaf, node = DAG.leaves[0], DAG.root
        spoil(path, dict(DAG.blocks)[leaf])
        store.collect()
        assert all(dict(DAG.blocks)[cid] == store.get(cid) for cid in DAG.cids - {leaf})
        spoil(path, dict(DAG.blocks)[node])
        with pytest.raises(Exception, match="nothing was freed"):
            store.collect()
