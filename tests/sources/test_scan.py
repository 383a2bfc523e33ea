"""The live walk: its order, what it leaves out, and that it leaves nothing open."""

from __future__ import annotations

import gc
import os
import resource
import stat
from typing import TYPE_CHECKING

import pytest

from engine import write
from pinfold.errors import UsageError
from pinfold.sources.directory.entry import order
from pinfold.sources.directory.excludes import Rules
from pinfold.sources.directory.scan import LONGEST_FOLDER, PART_ROWS, Seen, Walk
from sources.sink import KeepingSink

if TYPE_CHECKING:
    from pathlib import Path


def walked(root: Path, rules: Rules | None = None) -> tuple[list[bytes], KeepingSink]:
    """The paths of a walk in order."""
    sink = KeepingSink()
    seen = Walk(os.fsencode(root), rules or Rules(), sink).parts()
    return [one.part.path(entry) for one in seen for entry in one.part.entries], sink


def open_files() -> int:
    """How many descriptors this process has."""
    gc.collect()  # what other tests forgot to close goes now, not in the middle
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_the_order(tmp_path: Path) -> None:
    """The root first, then a folder's names in order of their bytes, then what lies below each, depth first."""
    root = write(tmp_path / "t", {"b": b"", "a/z": b"", "a/b/c": b"", "a!/x": b"", "a.": b"", "\udcff/x": b""})
    paths, _ = walked(root)
    assert b" a a! a. b \xff a/b a/z a/b/c a!/x \xff/x".split(b" ") == paths


def test_large_folders_come_in_parts(tmp_path: Path) -> None:
    """A folder's part has at most a thousand names, and its parts follow each other before what lies below."""
    root = write(tmp_path / "t", {f"{n:04}": b"" for n in range(2500)} | {"a/x": b""})
    parts = [one.part for one in Walk(os.fsencode(root), Rules(), KeepingSink()).parts()]
    assert [None, b"", b"", b"", b"a"] == [part.folder for part in parts]
    assert max(len(part.entries) for part in parts) == PART_ROWS
    keys = [order(part.folder or b"") for part in parts]
    assert sorted(keys) == keys


def test_nothing_stays_open(tmp_path: Path) -> None:
    """A walk that ends, or is broken off anywhere, closes what it opened."""
    root = write(tmp_path / "t", {f"{'d/' * depth}x": b"" for depth in range(20)})
    before = open_files()
    walked(root)
    assert before == open_files()
    for count in range(12):
        walk = Walk(os.fsencode(root), Rules(), KeepingSink()).parts()
        for _ in range(count):
            next(walk)
        walk.close()  # type: ignore[attr-defined]
        assert before == open_files()


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link to a folder is a link, but the root itself may be one."""
    root = write(tmp_path / "t", {"a/x": b""})
    (root / "link").symlink_to("a")
    (tmp_path / "t2").symlink_to(root)
    assert [b"", b"a", b"link", b"a/x"] == walked(root)[0] == walked(tmp_path / "t2")[0]


def test_a_folder_that_becomes_a_link(tmp_path: Path) -> None:
    """A folder swapped for a link to another place under the walk is not entered."""
    root = write(tmp_path / "t", {"a/x": b"", "b/y": b""})
    write(tmp_path / "other", {"secret": b""})
    sink = KeepingSink()
    found: list[bytes] = []
    for one in Walk(os.fsencode(root), Rules(), sink).parts():
        found += [one.part.path(entry) for entry in one.part.entries]
        if one.part.folder == b"a":
            (root / "b").rename(tmp_path / "away")
            (root / "b").symlink_to(tmp_path / "other")
    assert [b"", b"a", b"b", b"a/x"] == found
    assert [b"b"] == [path for path, _ in sink.problems]


def test_what_is_left_out(tmp_path: Path) -> None:
    """A folder that is excluded is not looked into; a marked one shows its mark alone, and says so."""
    root = write(
        tmp_path / "t", {"no/x": b"", "yes/x": b"", "marked/.nobackup": b"", "marked/x": b"", "marked/d/x": b""}
    )
    paths, sink = walked(root, Rules(["no"], markers=[".nobackup"]))
    assert [b"", b"marked", b"yes", b"marked/.nobackup", b"yes/x"] == paths
    assert [b"marked"] == [path for path, _ in sink.notes]


def test_more_folders_than_descriptors(tmp_path: Path) -> None:
    """Where folders lie deeper than descriptors are allowed, the rest is told as a problem and the walk goes on."""
    root = write(tmp_path / "t", {f"{'d/' * 90}x": b"", "z/x": b""})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 50, limits[1]))
    try:
        paths, sink = walked(root)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert b"z/x" in paths
    assert 1 == len(sink.problems)
    assert sink.problems[0][1].endswith("Too many open files")


def test_paths_too_long_for_an_index(tmp_path: Path) -> None:
    """A folder whose path no index could hold is told as a problem, and what lies beside it is saved."""
    root = write(tmp_path / "t", {"z": b""})
    fd = os.open(root, os.O_RDONLY)
    for _ in range(259):
        os.mkdir("d" * 255, dir_fd=fd)
        inner = os.open("d" * 255, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    paths, sink = walked(root)
    assert b"z" in paths
    assert max(map(len, paths)) <= LONGEST_FOLDER + 256
    assert 1 == len(sink.problems)


@pytest.mark.parametrize("kind", ["gone", "below a file", "dangling link"])
def test_roots_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    """A root that cannot be read at all is a mistake of the caller."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nowhere")
    root = {"gone": "gone", "below a file": "file/x", "dangling link": "dangling"}[kind]
    with pytest.raises(UsageError, match="cannot read"):
        walked(tmp_path / root)


def test_lone_things(tmp_path: Path) -> None:
    """A lone file, pipe, or file behind a link is a tree of one, under the name it has."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    names = ("file", "link", "pipe")
    seen: list[Seen] = [next(Walk(os.fsencode(tmp_path / name), Rules(), KeepingSink()).parts()) for name in names]
    assert [(None, b"file"), (None, b"file"), (None, b"pipe")] == [
        (one.part.folder, one.part.entries[0].name) for one in seen
    ]
    assert stat.S_ISFIFO(seen[2].part.entries[0].mode)
