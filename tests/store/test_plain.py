"""A snapshot as plain files is a store one can restore from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Corrupt, Missing, Refused
from pinfold.ipld.files import add_file
from pinfold.ipld.folders import build_folder
from pinfold.store import MemoryStore, Pin, PlainFolder
from store.dags import Dag, noise

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.ipld.cid import CID

FILES = {
    "README.txt": b"read me",
    "keyring.json": b"{}",
    "manifest.age": bytes(range(256)) * 5000,
    "repository.json": b"",
    "snapshot.json": b"{ }",
    "snapshot.sig": bytes(64),
}


def snapshot(count: int) -> Dag:
    """The folder of a snapshot, as it lies on IPFS."""
    found: dict[CID, bytes] = {}
    entries = []
    for name, data in FILES.items():
        file = add_file([data], found.__setitem__)
        entries.append((name.encode(), file.cid, file.tsize))
    blocks = noise(1, count)
    found.update(blocks)
    listed = [(str(cid).encode(), cid, len(block)) for cid, block in blocks]
    entries.append((b"blocks", *build_folder(listed, found.__setitem__)))
    return Dag(build_folder(entries, found.__setitem__)[0], tuple(found.items()))


def lay_out(path: Path, count: int) -> Path:
    """The same as plain files."""
    (path / "blocks").mkdir(parents=True)
    for name, data in FILES.items():
        (path / name).write_bytes(data)
    for cid, block in noise(1, count):
        (path / "blocks" / str(cid)).write_bytes(block)
    return path


@pytest.mark.parametrize("count", [0, 5, 3000])
def test_the_root_is_that_on_ipfs(tmp_path: Path, count: int) -> None:
    """From the files alone the same root is computed, and every block below it is got; strays are passed over."""
    dag = snapshot(count)
    path = lay_out(tmp_path / "got", count)
    (path / ".DS_Store").write_bytes(b"x")
    (path / "blocks" / "Thumbs.db").write_bytes(b"x")
    store = PlainFolder(path)
    assert dag.root == store.root
    assert [Pin(dag.root, "plain")] == list(store.pins())
    assert dag.cids == store.has(dag.cids)
    assert dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}
    copy = MemoryStore()
    copy.put((cid, store.get(cid)) for cid in dag.cids)
    assert 1 == copy.pin(store.root, "copy").pinned


def test_blocks_are_checked_when_read(tmp_path: Path) -> None:
    """A changed file is Corrupt, a removed one Missing."""
    path = lay_out(tmp_path / "got", 5)
    store = PlainFolder(path)
    (first, _), (second, _) = noise(1, 2)
    (path / "blocks" / str(first)).write_bytes(b"changed")
    (path / "blocks" / str(second)).unlink()
    with pytest.raises(Corrupt):
        store.get(first)
    with pytest.raises(Missing):
        store.get(second)


def test_a_folder_that_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    """It says what such a folder must hold."""
    with pytest.raises(Refused, match="blocks/"):
        PlainFolder(tmp_path)
    with pytest.raises(Refused):
        PlainFolder(tmp_path / "not there")


def test_nothing_can_be_written(tmp_path: Path) -> None:
    """Plain folders are for reading."""
    store = PlainFolder(lay_out(tmp_path / "got", 1))
    with pytest.raises(Refused):
        store.put([])
    with pytest.raises(Refused):
        store.pin(store.root, "x")
