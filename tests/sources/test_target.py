"""The target: every kind of file comes back as it was, an interrupted restore goes on, nothing good is lost."""

import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.sources.directory.spool import Spool
from pinfold.sources.directory.target import Decision, Overwrite
from sources.target_tree import MTIME, Noted, close_all, entry, file, folder, link, names


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test has left open."""
    yield
    close_all()


NAME = b"n\nn\xff"


def times(path: Path) -> int:
    """The modification time of what is there, not followed."""
    return path.lstat().st_mtime_ns


def test_a_tree_comes_back(tmp_path: Path) -> None:
    """Folders, files, symlinks, pipes and hard links come back with content, mode and time, whatever their names."""
    root = tmp_path / "new" / "root"
    target = Noted(root)
    path = b"a/" + NAME
    assert target.folder(b"", folder(0o700))
    assert target.folder(b"a", folder(0o500))
    assert Decision.WRITE is target.wanted(path, file(6))
    assert target.write_file(path, file(6, 0o4751), [b"abc", b"", b"def"])
    assert target.symlink(b"a/link", link(b"\xfe/../nowhere"))
    assert target.special(b"a/pipe", entry(stat.S_IFIFO | 0o640))
    assert target.hardlink(b"b", file(6, 0o4751), path)
    assert not target.special(b"a/socket", entry(stat.S_IFSOCK | 0o640))
    target.finish()
    there = root / "a" / os.fsdecode(NAME)
    assert ([], 0) == (target.problems, target.unset_owners)
    assert (b"abcdef", 0o4751, 2) == (there.read_bytes(), stat.S_IMODE(there.stat().st_mode), there.stat().st_nlink)
    assert there.samefile(root / "b")
    assert b"\xfe/../nowhere" == os.fsencode((root / "a" / "link").readlink())
    assert (True, 0o640) == ((root / "a" / "pipe").is_fifo(), stat.S_IMODE((root / "a" / "pipe").stat().st_mode))
    assert (0o500, 0o700) == (stat.S_IMODE((root / "a").stat().st_mode), stat.S_IMODE(root.stat().st_mode))
    assert {MTIME} == {times(found) for found in (root, *root.rglob("*"))}
    assert {"a", "b"} == names(root)


def test_holes_stay_holes(tmp_path: Path) -> None:
    """A sparse file takes the room of its runs, whichever way its content is cut."""
    runs = ((1 << 20, 4096), (5 << 20, 8192))
    target = Noted(tmp_path)
    content = os.urandom(12288)
    assert target.write_file(b"a", file(9 << 20, extents=runs), [content[:5000], b"", content[5000:]])
    assert target.write_file(b"hole", file(1 << 30, extents=()), [])
    target.finish()
    expected = bytearray(9 << 20)
    expected[1 << 20 : (1 << 20) + 4096] = content[:4096]
    expected[5 << 20 : (5 << 20) + 8192] = content[4096:]
    assert bytes(expected) == (tmp_path / "a").read_bytes()
    assert (tmp_path / "a").stat().st_blocks * 512 < 1 << 20
    assert (1 << 30, 0) == ((tmp_path / "hole").stat().st_size, (tmp_path / "hole").stat().st_blocks)


@pytest.mark.parametrize(
    ("told", "data"),
    [
        (file(3), [b"ab"]),
        (file(3), [b"ab", b"cd"]),
        (file(0), [b"a"]),
        (file(9, extents=((2, 3),)), [b"ab"]),
        (file(9, extents=((2, 3),)), [b"abcd"]),
        (file(4, extents=((2, 3),)), [b"abc"]),
        (file(9, extents=((-2, 3),)), [b"abc"]),
    ],
)
def test_a_wrong_length_leaves_nothing(tmp_path: Path, told: object, data: list[bytes]) -> None:
    """Content longer or shorter than told, or outside the file, is a problem, and no file stays."""
    target = Noted(tmp_path)
    assert not target.write_file(b"a", told, data)  # type: ignore[arg-type]
    assert [b"a"] == [path for path, _ in target.problems]
    assert set() == names(tmp_path)


def test_what_the_content_raises_passes_and_leaves_nothing(tmp_path: Path) -> None:
    """An error while content is fetched passes through, and the half of a file is gone, the old one whole."""

    def broken() -> Iterator[bytes]:
        yield b"ab"
        raise KeyError("gone")

    (tmp_path / "old").write_bytes(b"old")
    target = Noted(tmp_path, Overwrite.ALWAYS)
    for name in (b"new", b"old"):
        with pytest.raises(KeyError):
            target.write_file(name, file(4), broken())
    assert {"old"} == names(tmp_path)
    assert b"old" == (tmp_path / "old").read_bytes()


def test_a_killed_restore_goes_on(tmp_path: Path) -> None:
    """After kill -9 in the middle of a file, the next run takes whole files as they are and writes that one anew."""
    child = os.fork()
    if not child:
        target = Noted(tmp_path)
        target.folder(b"d", folder(0o555))
        target.put(b"d/whole", b"abc", 0o400)

        def dying() -> Iterator[bytes]:
            yield b"abc"
            os.kill(os.getpid(), signal.SIGKILL)

        target.write_file(b"d/half", file(3, 0o444), dying())
    assert -signal.SIGKILL == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert (b"abc", stat.S_ISVTX) == (
        (tmp_path / "d/half").read_bytes(),
        stat.S_IMODE((tmp_path / "d/half").stat().st_mode),
    )
    # The mark alone counts, though size and time were right.
    os.utime(tmp_path / "d/half", ns=(MTIME, MTIME))
    again = Noted(tmp_path)
    again.folder(b"d", folder(0o555))
    assert Decision.SAME is again.wanted(b"d/whole", file(3, 0o400))
    assert Decision.WRITE is again.wanted(b"d/half", file(3, 0o444))
    assert again.put(b"d/half", b"xyz", 0o444)
    again.finish()
    assert [] == again.problems
    assert (b"xyz", 0o100444) == ((tmp_path / "d/half").read_bytes(), (tmp_path / "d/half").stat().st_mode)
    assert 0o555 == stat.S_IMODE((tmp_path / "d").stat().st_mode)
    assert {"whole", "half"} == names(tmp_path / "d")


@pytest.mark.parametrize(
    ("rule", "age", "replaced"),
    [
        (Overwrite.NEVER, -1, False),
        (Overwrite.IF_NEWER, -1, True),
        (Overwrite.IF_NEWER, 1, False),
        (Overwrite.ALWAYS, 1, True),
    ],
)
def test_the_rule_decides_what_is_kept(tmp_path: Path, rule: Overwrite, age: int, *, replaced: bool) -> None:
    """A different file, symlink or pipe is kept and said, or replaced whole, as the rule and its time say."""
    for name in ("file", "link", "pipe"):
        (tmp_path / name).write_bytes(b"old")
        os.utime(tmp_path / name, ns=(MTIME + age, MTIME + age))
    os.link(tmp_path / "file", tmp_path / "other")
    target = Noted(tmp_path, rule)
    decision = target.wanted(b"file", file(4))
    assert (Decision.WRITE if replaced else Decision.KEEP) is decision
    done = [
        decision is Decision.WRITE and target.put(b"file", b"new!"),
        target.symlink(b"link", link(b"x")),
        target.special(b"pipe", entry(stat.S_IFIFO | 0o600)),
    ]
    target.finish()
    assert [replaced] * 3 == done
    assert ([] if replaced else [b"file", b"link", b"pipe"]) == [path for path, _ in target.problems]
    assert (b"new!" if replaced else b"old") == (tmp_path / "file").read_bytes()
    assert b"old" == (tmp_path / "other").read_bytes()
    assert [replaced, replaced] == [(tmp_path / "link").is_symlink(), (tmp_path / "pipe").is_fifo()]
    assert {"file", "link", "other", "pipe"} == names(tmp_path)


@pytest.mark.parametrize("rule", list(Overwrite))
def test_restoring_twice_changes_nothing(tmp_path: Path, rule: Overwrite) -> None:
    """A second restore of the same tree finds all of it there, under every rule."""
    for _ in range(2):
        target = Noted(tmp_path, rule)
        target.folder(b"d", folder())
        if target.wanted(b"d/a", file(1)) is Decision.WRITE:
            target.put(b"d/a", b"x")
        assert target.hardlink(b"d/b", file(1), b"d/a")
        assert target.symlink(b"d/l", link(b"a"))
        assert target.special(b"d/p", entry(stat.S_IFIFO | 0o644))
        target.finish()
        assert [] == target.problems
    assert (2, MTIME) == ((tmp_path / "d/a").stat().st_nlink, times(tmp_path / "d"))


def test_always_mends_the_mode_of_a_file_that_is_the_same(tmp_path: Path) -> None:
    """Under `always` a file with the right content and a wrong mode gets the right one, without being written."""
    target = Noted(tmp_path, Overwrite.ALWAYS)
    target.put(b"a", b"x", 0o600)
    inode = (tmp_path / "a").stat().st_ino
    assert Decision.SAME is target.wanted(b"a", file(1, 0o640))
    assert (inode, 0o100640) == ((tmp_path / "a").stat().st_ino, (tmp_path / "a").stat().st_mode)


def test_leftovers_of_a_killed_replacement_are_replaced(tmp_path: Path) -> None:
    """What a killed run left under a passing name does not stop the next one, and does not stay."""
    (tmp_path / "a").write_bytes(b"old")
    target = Noted(tmp_path, Overwrite.ALWAYS)
    target.put(b"a", b"one")
    (tmp_path / "a").write_bytes(b"old")
    made: list[str] = []

    def watched() -> Iterator[bytes]:
        made.extend(name for name in names(tmp_path) if name != "a")
        yield b"abc"

    assert target.write_file(b"a", file(3), watched())
    (tmp_path / made[0]).write_bytes(b"leftover")
    (tmp_path / "a").write_bytes(b"older")
    assert target.put(b"a", b"xyz")
    assert ({"a"}, b"xyz") == (names(tmp_path), (tmp_path / "a").read_bytes())


def test_a_hard_link_to_something_else_is_not_made(tmp_path: Path) -> None:
    """A first name that holds something else, is half written or is gone makes no link, and the caller restores."""
    (tmp_path / "kept").write_bytes(b"abc")
    (tmp_path / "half").write_bytes(b"abc")
    os.utime(tmp_path / "half", ns=(MTIME, MTIME))
    (tmp_path / "half").chmod(stat.S_ISVTX)
    target = Noted(tmp_path)
    assert [False] * 4 == [target.hardlink(b"b", file(3), first) for first in (b"kept", b"half", b"gone", b"../x")]
    assert ([], False) == (target.problems, (tmp_path / "b").exists())


def test_folders_nobody_told_of_are_made(tmp_path: Path) -> None:
    """A file whose folders were not told of gets them, as any program here would make them."""
    target = Noted(tmp_path)
    assert target.put(b"a/b/c", b"x")
    assert target.folder(b"d", None)
    target.finish()
    plain = tmp_path / "plain"
    plain.mkdir()
    assert {plain.stat().st_mode} == {(tmp_path / name).stat().st_mode for name in ("a", "a/b", "d")}


def test_attributes_and_acls_come_back(tmp_path: Path) -> None:
    """Attributes come back on files and folders; an ACL the target would hand down does not stay."""
    acl = bytes.fromhex("0200000001000600ffffffff02000400d204000004000400ffffffff10000400ffffffff20000000ffffffff")
    os.setxattr(tmp_path, "system.posix_acl_default", acl)
    pairs = ((b"system.posix_acl_access", acl), (b"user.\xff", b"\0"))
    target = Noted(tmp_path)
    assert target.folder(b"d", folder(0o550, xattrs=pairs))
    assert target.folder(b"plain", folder())
    assert target.put(b"d/a", b"x", 0o640, xattrs=pairs)
    assert target.put(b"b", b"x", 0o640)
    assert target.special(b"p", entry(stat.S_IFIFO | 0o640))
    target.finish()
    assert [] == target.problems
    found = {name: sorted(map(os.fsencode, os.listxattr(tmp_path / name))) for name in ("d", "d/a", "b", "plain", "p")}
    names = [name for name, _ in pairs]
    assert {"d": names, "d/a": names, "b": [], "plain": [], "p": []} == found
    assert acl == os.getxattr(tmp_path / "d/a", "system.posix_acl_access")
    assert (0o100640, 0o100640) == ((tmp_path / "d/a").stat().st_mode, (tmp_path / "b").stat().st_mode)


def test_an_attribute_no_file_system_has_is_said_once(tmp_path: Path) -> None:
    """What the target's file system does not know is said of the first file, and the files are there."""
    target = Noted(tmp_path)
    assert all(target.put(name, b"x", xattrs=((b"nowhere.a", b"1"),)) for name in (b"a", b"b"))
    assert [b"a"] == [path for path, _ in target.problems]


def test_deleting_what_the_snapshot_lacks(tmp_path: Path) -> None:
    """Only what is not kept goes, with all below it, and a symlink goes without what it leads to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    root = tmp_path / "root"
    (root / "d" / "deep" / "er").mkdir(parents=True)
    (root / "d" / "deep" / "er" / "x").touch()
    (root / "d" / "out").symlink_to(outside)
    (root / "d" / "deep" / "out").symlink_to(outside)
    target = Noted(root)
    target.put(b"d/deep/y", b"1")
    target.put(b"d/kept", b"1")
    assert [b"d/deep", b"d/out"] == target.delete_extraneous(b"d", {b"kept"})
    assert [] == target.delete_extraneous(b"none", set())
    assert target.put(b"d/deep/y", b"2")
    assert ({"deep", "kept"}, {"precious"}) == (names(root / "d"), names(outside))
    assert [] == target.problems


def test_deleting_has_a_bottom(tmp_path: Path) -> None:
    """Folders hundreds deep are said and left, and do not end the run."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir(b"d", dir_fd=fd)
        below = os.open(b"d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    target = Noted(tmp_path)
    assert [] == target.delete_extraneous(b"", set())
    assert ["not deleted: it lies 256 folders deep; remove it by hand"] == [what for _, what in target.problems]


def test_more_folders_than_are_kept_open(tmp_path: Path) -> None:
    """Several threads write into several hundred folders, and all of it is there; no descriptor stays open."""
    before = names(Path("/proc/self/fd"))
    target = Noted(tmp_path)
    paths = [b"%d/%d" % (n % 7, n) for n in range(400)]
    for top in range(7):
        target.folder(b"%d" % top, folder())
    for path in paths:
        target.folder(path, folder(0o750))

    def work(step: int) -> None:
        for name in (b"a", b"b", b"c"):
            for path in paths[step:] + paths[:step]:
                target.put(path + b"/" + name + b"%d" % step, path)

    threads = [threading.Thread(target=work, args=(step,)) for step in (0, 100, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    target.finish()
    assert [] == target.problems
    assert before >= names(Path("/proc/self/fd"))
    assert dict.fromkeys(paths, 9) == {path: len(names(tmp_path / os.fsdecode(path))) for path in paths}
    assert {(0o40750, MTIME)} == {
        (found.st_mode, found.st_mtime_ns) for found in ((tmp_path / os.fsdecode(path)).stat() for path in paths)
    }


@given(st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 3 << 20).map(bytes)), max_size=9))
def test_a_spool_is_read_backwards(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    """Records of any size come back, the last one first, and the file has no name."""
    folder = tmp_path_factory.getbasetemp()
    before = names(folder)
    spool = Spool(folder)
    for record in records:
        spool.append(record)
    assert records[::-1] == list(spool.backwards())
    assert before == names(folder)
    spool.close()
