"""Snapshots out into CAR files and back in."""

from __future__ import annotations

import errno
import io
from typing import TYPE_CHECKING

import pytest

from engine import CHEAP, PASSPHRASE, Rig, listing, made, noise, rig, write
from pinfold import rekey, transfer
from pinfold.errors import Corrupt, Full, Incomplete, Malformed, Missing, PinfoldError, UsageError
from pinfold.ipld import CID, car
from pinfold.seal.secret import Secret
from pinfold.seal.slots import Passphrase
from pinfold.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.snapshot import Snapshot


def exported(path: Path) -> tuple[Rig, Snapshot, bytes]:
    """A repository, its snapshot, and that as a CAR."""
    here = rig(path / "cache")
    root = write(path / "tree", {"a": b"x", "b/large": noise(1, 3 << 20)})
    snapshot = made(here.backup(root))
    transfer.export(here.store, snapshot.root, path / "out.car")
    return here, snapshot, (path / "out.car").read_bytes()


def test_out_and_in(tmp_path: Path) -> None:
    """A snapshot exported, and imported into an empty store, restores there to the same, its keyring with it."""
    here, snapshot, data = exported(tmp_path)
    assert 0o600 == (tmp_path / "out.car").stat().st_mode & 0o777
    there = MemoryStore()
    new, (found,) = transfer.load(there, io.BytesIO(data))
    assert snapshot.root == found.root
    assert 3 << 20 < new <= there.usage().used
    assert {pin.name for pin in here.store.pins()} == {pin.name for pin in there.pins()}
    here.restore(found, tmp_path / "back", store=there)
    assert listing(tmp_path / "tree") == listing(tmp_path / "back")
    assert 0 == here.verify(store=there).damage_count


def test_in_twice(tmp_path: Path) -> None:
    """What is there already is not stored again, and imported again it is pinned once."""
    here, _, data = exported(tmp_path)
    pins = list(here.store.pins())
    assert 0 == transfer.load(here.store, io.BytesIO(data))[0]
    assert pins == list(here.store.pins())


def test_a_car_of_each_block_once(tmp_path: Path) -> None:
    """The CAR's only root is the snapshot's, it comes first, and every block is there once."""
    here, snapshot, data = exported(tmp_path)
    roots, blocks = car.read_car(io.BytesIO(data))
    cids = [block.cid for block in blocks]
    assert ([snapshot.root], snapshot.root) == (roots, cids[0])
    assert len(cids) == len(set(cids)) == transfer.export(here.store, snapshot.root, tmp_path / "again.car")[0]


def test_a_file_that_is_there(tmp_path: Path) -> None:
    """An export never writes over a file, and one that fails leaves none."""
    here, snapshot, _ = exported(tmp_path)
    with pytest.raises(UsageError, match="is there already"):
        transfer.export(here.store, snapshot.root, tmp_path / "out.car")
    with pytest.raises(PinfoldError, match="cannot write"):
        transfer.export(here.store, snapshot.root, tmp_path / "no folder" / "out.car")
    with pytest.raises(Missing):
        transfer.export(MemoryStore(), snapshot.root, tmp_path / "lost.car")
    assert {"cache", "tree", "out.car"} == {path.name for path in tmp_path.iterdir()}


def test_a_full_disk(tmp_path: Path) -> None:
    """A disk that fills up while exporting is told as Full, and nothing is left."""
    here, snapshot, _ = exported(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Full, match="no room left"):
        transfer.export(here.store, snapshot.root, tmp_path / "x.car", full)
    assert not [path for path in tmp_path.iterdir() if "x.car" in path.name]


def test_a_torn_car(tmp_path: Path) -> None:
    """A CAR cut short anywhere is refused and pins nothing, the blocks before the cut may stay."""
    _, _, data = exported(tmp_path)
    for end in [0, 1, 30, 58, 59, 60, *range(100, len(data), 170_001), len(data) - 1]:
        there = MemoryStore()
        with pytest.raises((Malformed, Incomplete, Missing)):
            transfer.load(there, io.BytesIO(data[:end]))
        assert [] == list(there.pins())


def test_a_forged_car(tmp_path: Path) -> None:
    """A CAR with any bit turned over is refused and pins nothing, unless it still holds the same snapshot."""
    here, snapshot, data = exported(tmp_path)
    for at in [2, 20, 40, 59, 62, 100, *range(200, len(data), 190_003)]:
        there = MemoryStore()
        try:
            found = transfer.load(there, io.BytesIO(data[:at] + bytes((data[at] ^ 4,)) + data[at + 1 :]))[1]
        except (Malformed, Corrupt, UsageError, Missing, Incomplete):
            assert [] == list(there.pins())
        else:  # the codec of a block's CID says nothing of its bytes
            assert [snapshot] == found
            assert 0 == here.verify(store=there).damage_count


def test_cars_that_hold_no_snapshot(tmp_path: Path) -> None:
    """A CAR without roots, or with one root among others that is no snapshot, pins nothing at all."""
    _, snapshot, data = exported(tmp_path)
    cid = CID.of(0x70, b"")
    rest = data[len(car.header([snapshot.root])) :] + car.section(cid, b"")
    for roots, words in (([], "names no root"), ([snapshot.root, cid], "nothing was pinned")):
        there = MemoryStore()
        with pytest.raises(UsageError, match=words):
            transfer.load(there, io.BytesIO(car.header(roots) + rest))
        assert [] == list(there.pins())


def test_a_file_that_breaks_while_it_is_read(tmp_path: Path) -> None:
    """An error of the disk while importing is told as such, and nothing is pinned."""
    _, _, data = exported(tmp_path)

    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1000:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    there = MemoryStore()
    with pytest.raises(PinfoldError, match="cannot read the CAR file: Input/output error"):
        transfer.load(there, Breaking(data))
    assert [] == list(there.pins())


def test_an_old_keyring_does_not_come_back(tmp_path: Path) -> None:
    """A CAR from before a passphrase was changed does not bring the keyring that the old one opens."""
    here, _, data = exported(tmp_path)
    other = Secret(b"another one")
    here.keyring = rekey.change_passphrase(here.keyring, here.key, PASSPHRASE, other, CHEAP)
    rekey.publish(here.store, here.keyring)
    rekey.settle(here.store, here.keyring)
    transfer.load(here.store, io.BytesIO(data))
    assert [f"pinfold/{here.key.repository}/keyring/1"] == [
        pin.name for pin in here.store.pins(f"pinfold/{here.key.repository}/keyring/")
    ]
    assert 1 == rekey.settle(here.store, here.keyring).rerooted
    assert here.keyring.open(Passphrase(other)).repository == here.key.repository


def test_a_repository_that_is_not_admitted(tmp_path: Path) -> None:
    """A snapshot of a repository that is not admitted is not pinned, and the refusal names the way."""
    _, snapshot, data = exported(tmp_path)
    there = MemoryStore()
    with pytest.raises(UsageError, match=rf"--repository-id {snapshot.header.repository}"):
        transfer.load(there, io.BytesIO(data), admits=lambda _: False)
    assert [] == list(there.pins())


def test_blocks_alone(tmp_path: Path) -> None:
    """A CAR whose root is no snapshot gives its blocks, and pins nothing."""
    _, snapshot, data = exported(tmp_path)
    cid = CID.of(0x70, b"\x0a\x02\x08\x01")
    rest = car.section(cid, b"\x0a\x02\x08\x01") + data[len(car.header([snapshot.root])) :]
    there = MemoryStore()
    with pytest.raises(UsageError, match="--blocks-only"):
        transfer.load(there, io.BytesIO(car.header([cid]) + rest))
    there = MemoryStore()
    assert 3 << 20 < transfer.load_blocks(there, io.BytesIO(car.header([cid]) + rest))
    assert ([], True) == (list(there.pins()), there.has([snapshot.root]) == {snapshot.root})


def test_a_stream_is_the_file(tmp_path: Path) -> None:
    """What is written into a stream is byte for byte what goes into a file."""
    here, snapshot, data = exported(tmp_path)
    stream = io.BytesIO()
    count, size = transfer.pour(here.store, snapshot.root, stream)
    assert (data, len(data)) == (stream.getvalue(), size)
    assert count == transfer.export(here.store, snapshot.root, tmp_path / "again.car")[0]
