"""Snapshots as several CAR files, each by itself."""

from __future__ import annotations

import errno
import io
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import Rig, listing, made, noise, rig, write
from pinfold import parts, transfer
from pinfold.errors import Full, Incomplete, PinfoldError, UsageError
from pinfold.ipld import CID, build_folder, car, list_folder
from pinfold.ipld.cid import DAG_PB, RAW
from pinfold.store import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.snapshot import Snapshot

SIZE = parts.SMALLEST


def split(path: Path) -> tuple[Rig, Snapshot, list[parts.Part]]:
    """A repository, its snapshot, and that in parts."""
    here = rig(path / "cache")
    root = write(path / "tree", {"a": b"x", "b/large": noise(1, 9 << 20)})
    snapshot = made(here.backup(root))
    return here, snapshot, parts.split(here.store, snapshot.root, path / "out.car", SIZE)


def read(path: Path) -> tuple[list[CID], dict[CID, bytes]]:
    """Roots and blocks of a CAR, which holds none twice."""
    with path.open("rb") as file:
        roots, blocks = car.read_car(file)
        found = [(cid, data) for cid, _, data in blocks]
    assert len(found) == len(dict(found))
    return roots, dict(found)


def test_parts_are_small_and_make_up_the_whole(tmp_path: Path) -> None:
    """No part is larger than asked for, they are numbered, and every block of the snapshot is in one of them."""
    here, snapshot, done = split(tmp_path)
    assert [f"out.{number:03}.car" for number in range(1, len(done) + 1)] == [one.path.name for one in done]
    assert 3 == len(done)
    assert all(one.bytes == one.path.stat().st_size <= SIZE for one in done)
    assert {0o600} == {one.path.stat().st_mode & 0o777 for one in done}
    transfer.export(here.store, snapshot.root, tmp_path / "whole.car")
    wanted = read(tmp_path / "whole.car")[1]
    found = [read(one.path)[1] for one in done]
    assert sum(one.blocks for one in done) == len(wanted)
    for cid, data in wanted.items():
        assert [data] == [blocks[cid] for blocks in found if cid in blocks]


def test_a_part_stands_alone(tmp_path: Path) -> None:
    """A part's one root is a folder that names each of its blocks as a raw one, and tells whose part it is."""
    _, snapshot, done = split(tmp_path)
    for one in done:
        roots, blocks = read(one.path)
        assert [one.root] == roots
        digests = {cid.digest for cid in blocks}
        entries = {entry.name: entry.cid for entry in list_folder(one.root, blocks.__getitem__)}
        assert {RAW} == {cid.codec for cid in entries.values()}
        assert {cid.digest for cid in entries.values()} <= digests
        assert one.blocks + 2 == len(entries)
        assert f"ipfs pin add {snapshot.root}".encode() in blocks[entries[b"README.txt"]]
        assert snapshot.root == parts.whole(one.root, blocks.__getitem__)


@pytest.mark.parametrize("seed", range(3))
def test_in_any_order(tmp_path: Path, seed: int) -> None:
    """Parts taken in at once, in any order, pin the snapshot alone, which restores to the same."""
    here, snapshot, done = split(tmp_path)
    random.Random(seed).shuffle(done)
    there = MemoryStore()
    with done[0].path.open("rb") as first, done[1].path.open("rb") as second, done[2].path.open("rb") as third:
        _, (found,) = transfer.load_all(there, [first, second, third])
    assert snapshot.root == found.root
    assert {pin.name for pin in here.store.pins()} == {pin.name for pin in there.pins()}
    here.restore(found, tmp_path / "back", store=there)
    assert listing(tmp_path / "tree") == listing(tmp_path / "back")


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_part_that_is_missing(tmp_path: Path, lost: int) -> None:
    """Without one of the parts nothing is pinned, and the message says what to do; the last one to come pins all."""
    _, snapshot, done = split(tmp_path)
    there = MemoryStore()
    rest = [io.BytesIO(one.path.read_bytes()) for number, one in enumerate(done) if number != lost]
    with pytest.raises(UsageError, match="other parts are missing; nothing was pinned"):
        transfer.load_all(there, rest)
    assert [] == list(there.pins())
    with done[lost].path.open("rb") as file:
        assert [snapshot.root] == [one.root for one in transfer.load(there, file)[1]]


def test_a_whole_that_is_not(tmp_path: Path) -> None:
    """A file that names the snapshot itself as its root and lacks blocks is refused as ever."""
    here, snapshot, _ = split(tmp_path)
    transfer.export(here.store, snapshot.root, tmp_path / "whole.car")
    roots, blocks = read(tmp_path / "whole.car")
    del blocks[max(blocks, key=lambda cid: len(blocks[cid]))]
    cut = car.header(roots) + b"".join(car.section(*one) for one in blocks.items())
    with pytest.raises(Incomplete):
        transfer.load(MemoryStore(), io.BytesIO(cut))


def test_files_that_are_there(tmp_path: Path) -> None:
    """Nothing is written over, too small a size is refused, and what fails leaves nothing behind."""
    here, snapshot, done = split(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    done[0].path.unlink()
    with pytest.raises(UsageError, match=r"out\.002\.car is there already"):
        parts.split(here.store, snapshot.root, tmp_path / "out.car", SIZE)
    with pytest.raises(UsageError, match="too small"):
        parts.split(here.store, snapshot.root, tmp_path / "other.car", SIZE - 1)
    with pytest.raises(PinfoldError, match="cannot write"):
        parts.split(here.store, snapshot.root, tmp_path / "no folder" / "out.car", SIZE)
    assert before - {"out.001.car"} == {path.name for path in tmp_path.iterdir()}


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up is told as Full, and no part is left."""
    here, snapshot, done = split(tmp_path)
    for one in done:
        one.path.unlink()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Full):
        parts.split(here.store, snapshot.root, tmp_path / "out.car", SIZE)
    assert {"cache", "tree"} == {path.name for path in tmp_path.iterdir()}


def test_many_small_blocks(tmp_path: Path) -> None:
    """Where the listing is most of a part, the part stays as small as asked for, too."""
    store = MemoryStore()
    blocks = [(CID.of(RAW, data), data) for data in (b"%d" % number for number in range(30_000))]
    store.put(blocks)
    nodes: list[tuple[CID, bytes]] = []
    root, _ = build_folder(
        [(str(cid).encode(), cid, 5) for cid, _ in blocks], lambda cid, data: nodes.append((cid, data))
    )
    store.put(nodes)
    done = parts.split(store, root, tmp_path / "out.car", SIZE)
    assert len(done) > 2
    assert max(one.path.stat().st_size for one in done) <= SIZE
    assert len(blocks) + len({cid for cid, _ in nodes}) == sum(one.blocks for one in done)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_hostile_documents(text: bytes) -> None:
    """Whatever stands where a part tells of its snapshot, the answer is a CID or none."""
    document = CID.of(RAW, text)
    blocks = {document: text}

    def emit(cid: CID, data: bytes) -> None:
        blocks[cid] = data

    folder, _ = build_folder([(b"part.json", document, 0)], emit)
    blocks[CID.of(DAG_PB, text)] = text
    assert parts.whole(folder, blocks.__getitem__) is None
    assert parts.whole(CID.of(DAG_PB, text), blocks.__getitem__) is None
