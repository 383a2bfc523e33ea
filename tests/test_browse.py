"""Looking into snapshots: listing below a path, comparing two, adding up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from engine import Rig, made, noise, rig, write
from pinfold import browse
from pinfold.browse import Change
from pinfold.ipld import SeenMarks, list_folder
from pinfold.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pinfold.snapshot import Snapshot
    from pinfold.sources.directory.entry import Entry

FILES = {"a": b"1", "d/a": b"2", "d/e/f": b"3", "d!/x": b"4", "da/x": b"5", "z": b"6"}


@pytest.fixture
def here(tmp_path: Path) -> Rig:
    """A repository."""
    return rig(tmp_path / "cache")


def rows(here: Rig, snapshot: Snapshot) -> Iterator[tuple[bytes, Entry]]:
    """The entries of a snapshot."""
    reader = Reader(here.store, here.key.opener(0))
    try:
        yield from browse.rows(reader, snapshot.open(here.key, here.store.get))
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("path", "deep", "expected"),
    [
        (b"", False, [b"a", b"d", b"d!", b"da", b"z"]),
        (b".", False, [b"a", b"d", b"d!", b"da", b"z"]),
        (b"d", False, [b"d/a", b"d/e"]),
        (b"/d/", True, [b"d/a", b"d/e", b"d/e/f"]),
        (b"d/e/f", False, [b"d/e/f"]),
        (b"d/e/f/g", True, []),
        (b"nothing", True, []),
    ],
)
def test_what_lies_below(here: Rig, tmp_path: Path, path: bytes, deep: bool, expected: list[bytes]) -> None:
    """Below a folder lie its entries, or all of them; below a file itself; below nothing nothing."""
    snapshot = made(here.backup(write(tmp_path / "tree", FILES)))
    reader = Reader(here.store, here.key.opener(0))
    manifest = snapshot.open(here.key, here.store.get)
    assert expected == sorted(one for one, _ in browse.below(reader, manifest, path, deep=deep))
    reader.close()


def test_what_changed(here: Rig, tmp_path: Path) -> None:
    """Added, removed, changed, retyped and, when asked, touched names are told once each, in order, and no others."""
    root = write(tmp_path / "tree", FILES | {f"many/{n}": noise(n, 50) for n in range(3000)})
    before = made(here.backup(root))
    (root / "a").write_bytes(b"longer")
    (root / "d/a").chmod(0o600)
    (root / "d/e/f").unlink()
    (root / "d!/x").unlink()
    (root / "d!/x").mkdir()
    (root / "z").write_bytes(b"7")
    write(root, {"d/new": b"n", "zz/y": b"n", "many/1500x": b"n"})
    after = made(here.backup(root))
    told = [(one.change, one.path) for one in browse.diff(rows(here, before), rows(here, after))]
    assert [
        (Change.CHANGED, b"a"),
        (Change.CHANGED, b"z"),
        (Change.ADDED, b"zz"),
        (Change.ADDED, b"d/new"),
        (Change.REMOVED, b"d/e/f"),
        (Change.RETYPED, b"d!/x"),
        (Change.ADDED, b"many/1500x"),
        (Change.ADDED, b"zz/y"),
    ] == told
    with_touched = browse.diff(rows(here, before), rows(here, after), metadata=True)
    assert (Change.TOUCHED, b"d/a") in [(one.change, one.path) for one in with_touched]


def test_backwards_and_with_itself(here: Rig, tmp_path: Path) -> None:
    """A snapshot does not differ from itself, and what is added one way is removed the other."""
    root = write(tmp_path / "tree", FILES)
    before = made(here.backup(root))
    write(root, {"d/b": b"", "y/y": b""})
    (root / "z").unlink()
    after = made(here.backup(root))
    assert [] == list(browse.diff(rows(here, after), rows(here, after), metadata=True))
    forwards = {(one.change, one.path) for one in browse.diff(rows(here, before), rows(here, after))}
    backwards = {(one.change, one.path) for one in browse.diff(rows(here, after), rows(here, before))}
    other = {Change.ADDED: Change.REMOVED, Change.REMOVED: Change.ADDED}
    assert forwards == {(other[change], path) for change, path in backwards}


def test_the_same_time_and_other_content(here: Rig, tmp_path: Path) -> None:
    """A large file whose content changed and whose time was put back is changed all the same."""
    root = write(tmp_path / "tree", {"large": noise(1, 2 << 20), "small": b"1"})
    before = made(here.backup(root))
    for name, data in (("large", noise(2, 2 << 20)), ("small", b"1")):
        time = (root / name).stat().st_mtime_ns
        (root / name).write_bytes(data)
        os.utime(root / name, ns=(time, time))
    after = made(here.backup(root))
    assert [b"large"] == [one.path for one in browse.diff(rows(here, before), rows(here, after))]


def test_sums(here: Rig, tmp_path: Path) -> None:
    """Blocks that snapshots share are counted once, plaintext for each of them."""
    root = write(tmp_path / "tree", FILES)
    snapshots = [made(here.backup(root)), made(here.backup(root))]
    found = (
        (
            ((entry.cid, entry.tsize or 0) for entry in list_folder(one.blocks, here.store.get)),
            one.open(here.key, here.store.get),
        )
        for one in snapshots
    )
    total = browse.stats(found, SeenMarks().add)
    header = snapshots[0].header
    assert (2, header.blocks_count, header.blocks_bytes) == (total.snapshots, total.blocks, total.bytes)
    assert (2 * len(FILES), 2 * len(FILES)) == (total.files, total.plain_bytes)
