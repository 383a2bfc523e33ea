"""The target against snapshots and disks that lie: nothing outside it is written, read or changed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinfold.sources.directory.target import Overwrite
from sources.target_tree import Noted, close_all, entry, file, folder, link, names


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test has left open."""
    yield
    close_all()


BAD = [b"../x", b"/x", b"a/../../x", b"a//x", b"./x", b"a/.", b"x\0y", b"", b"a/", b"..", b"/"]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the target with a precious file."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "precious").write_bytes(b"gold")
    return made


def picture(folder: Path) -> list[object]:
    """Everything below a folder that a restore could have changed."""
    return [
        (str(path), os.lstat(path).st_mode, os.lstat(path).st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted([folder, *folder.rglob("*")])
    ]


def everything(target: Noted, path: bytes) -> list[bool]:
    """Try to make one of each kind at `path`."""
    return [
        target.put(path, b"evil"),
        target.symlink(path, link(b"evil")),
        target.special(path, entry(stat.S_IFIFO | 0o777)),
        target.hardlink(path, file(4), b"good"),
        bool(path) and target.folder(path, folder(0o777)),
    ]


@pytest.mark.parametrize("rule", list(Overwrite))
@pytest.mark.parametrize("path", BAD)
def test_paths_that_lead_out_are_refused(tmp_path: Path, outside: Path, path: bytes, rule: Overwrite) -> None:
    """A path with '..', an empty step, a leading slash or a zero byte makes nothing anywhere."""
    before = picture(outside)
    target = Noted(tmp_path / "root", rule)
    target.put(b"good", b"good")
    assert [False] * 5 == everything(target, path)
    assert [] == target.delete_extraneous(path or b"..", set())
    target.finish()
    assert {"root", "outside"} == names(tmp_path)
    assert {"good"} >= names(tmp_path / "root") - {"a"}
    assert before == picture(outside)


@pytest.mark.parametrize("rule", list(Overwrite))
def test_a_symlink_of_the_snapshot_is_not_a_way(tmp_path: Path, outside: Path, rule: Overwrite) -> None:
    """A snapshot that makes a symlink and then puts files below it gets problems, not files."""
    before = picture(outside)
    target = Noted(tmp_path / "root", rule)
    target.put(b"good", b"good")
    assert target.symlink(b"a", link(os.fsencode(outside)))
    tried = everything(target, b"a/precious") + everything(target, b"a/new") + everything(target, b"a/b/c")
    assert [False] * 15 == tried
    assert [] == target.delete_extraneous(b"a", set())
    target.finish()
    assert before == picture(outside)
    assert (tmp_path / "root" / "a").is_symlink()
    assert "'a' is no folder, and what is in its place is not followed" in {what for _, what in target.problems}


def test_a_symlink_on_the_disk_is_replaced_only_if_told(tmp_path: Path, outside: Path) -> None:
    """A symlink where the snapshot has a folder is kept and said, or, under `always`, gives way to a real folder."""
    before = picture(outside)
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(outside)
    never = Noted(root)
    assert not never.folder(b"a", folder(0o777))
    assert not never.put(b"a/precious", b"evil")
    never.finish()
    assert [b"a", b"a/precious"] == [path for path, _ in never.problems[:2]]
    always = Noted(root, Overwrite.ALWAYS)
    assert always.folder(b"a", folder(0o750))
    assert always.put(b"a/precious", b"fine")
    always.finish()
    assert ([], False) == (always.problems, (root / "a").is_symlink())
    assert before == picture(outside)


def test_a_folder_swapped_for_a_symlink_is_not_followed(tmp_path: Path, outside: Path) -> None:
    """A folder that somebody swaps for a symlink before the end gets no mode, and neither does what it leads to."""
    before = picture(outside)
    target = Noted(tmp_path / "root")
    for n in range(200):  # so many that the first is no longer open
        target.folder(b"d%03d" % n, folder(0o777))
    (tmp_path / "root" / "d000").rmdir()
    (tmp_path / "root" / "d000").symlink_to(outside)
    assert not target.put(b"d000/x", b"evil")
    target.finish()
    assert [b"d000/x", b"d000"] == [path for path, _ in target.problems]
    assert before == picture(outside)


def test_files_that_are_symlinks_are_not_written_through(tmp_path: Path, outside: Path) -> None:
    """A file restored onto a symlink replaces the symlink."""
    before = picture(outside)
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(outside / "precious")
    target = Noted(root, Overwrite.ALWAYS)
    assert target.put(b"a", b"mine", 0o777)
    target.finish()
    assert (False, b"mine") == ((root / "a").is_symlink(), (root / "a").read_bytes())
    assert before == picture(outside)


def test_one_name_twice_is_one_file(tmp_path: Path) -> None:
    """An index that names a path twice, as folder, file and symlink, ends with one of them and a problem each."""
    target = Noted(tmp_path)
    assert target.folder(b"a", folder())
    assert target.put(b"a/x", b"1")
    assert [False, False, False] == [
        target.put(b"a", b"2"),
        target.symlink(b"a", link(b"elsewhere")),
        target.put(b"a/x", b"3"),
    ]
    assert not target.folder(b"a/x", folder())
    target.finish()
    assert [b"a", b"a", b"a/x", b"a/x"] == [path for path, _ in target.problems]
    assert b"1" == (tmp_path / "a" / "x").read_bytes()


def test_a_full_folder_does_not_give_way_to_a_file(tmp_path: Path) -> None:
    """Under `always` an empty folder gives way to a file, one with something in it stays and is said."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    target = Noted(tmp_path, Overwrite.ALWAYS)
    assert [True, False] == [target.put(b"empty", b"1"), target.put(b"full", b"1")]
    assert [(b"full", "not restored: a folder is in its place: Directory not empty")] == target.problems


@pytest.mark.parametrize(
    "changes",
    [
        {"mtime": 1 << 100},
        {"uid": 1 << 40},
        {"gid": -9},
        {"uid": -9},
        {"mtime": -(1 << 100)},
        {"xattrs": ((b"\0", b""),)},
        {"xattrs": ((b"user." + b"x" * 9999, b""),)},
    ],
)
def test_impossible_metadata_is_a_problem_and_no_more(tmp_path: Path, changes: dict[str, object]) -> None:
    """Numbers and names no system takes are said or counted, and the content is there."""
    target = Noted(tmp_path)
    assert target.put(b"a", b"x", 0o600, **changes)
    assert target.symlink(b"l", link(b"x", **changes))
    assert target.unset_owners or target.problems
    assert b"x" == (tmp_path / "a").read_bytes()


def test_impossible_entries_are_problems(tmp_path: Path) -> None:
    """A name too long, a device number too large, an unknown kind and an empty symlink are said, not made."""
    target = Noted(tmp_path)
    assert [False] * 4 == [
        target.put(b"x" * 300, b"x"),
        target.special(b"dev", entry(stat.S_IFBLK | 0o600, rdev=1 << 70)),
        target.special(b"kind", entry(0o160600)),
        target.symlink(b"empty", link(b"")),
    ]
    assert [b"x" * 300, b"dev", b"kind", b"empty"] == [path for path, _ in target.problems]
    assert set() == names(tmp_path)
