"""The target without privileges, without room, without the right to write."""

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinfold.errors import Full, PinfoldError
from pinfold.sources.directory import target_write
from pinfold.sources.directory.target import Decision, Overwrite
from sources.target_tree import MTIME, Noted, as_nobody, close_all, entry, file, folder, names, open_folder


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test has left open."""
    yield
    close_all()


def modes(root: Path) -> dict[str, tuple[int, int]]:
    """Mode and time of everything below `root`."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.lstat().st_mode), path.lstat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
    }


def test_read_only_folders_without_privileges() -> None:
    """Without privileges, folders nobody may write come back with what is in them, and again from a second run."""

    def restore(root: Path) -> list[tuple[bytes, str]]:
        target = Noted(root)
        for path, mode in ((b"a", 0o500), (b"a/b", 0o000), (b"a/b/c", 0o555)):
            assert target.folder(path, folder(mode))
            for name in (b"/x", b"/y"):
                if target.wanted(path + name, file(1)) is Decision.WRITE:
                    pairs = ((b"user.a", b"1"),)
                    assert target.put(path + name, b"1", 0o000, xattrs=pairs)
        target.finish()
        return target.problems

    def twice() -> tuple[list[object], dict[str, tuple[int, int]]]:
        root = there / "root"
        first = restore(root)
        (root / "a").chmod(0o700)
        (root / "a" / "x").unlink()
        (root / "a").chmod(0o500)
        second = restore(root)
        top = stat.S_IMODE((root / "a").stat().st_mode)
        b = stat.S_IMODE((root / "a/b").stat().st_mode)
        (root / "a/b").chmod(0o700)
        found = modes(root)
        for path in ("a", "a/b/c"):
            (root / path).chmod(0o700)
        return [first, second, top, b], found

    with open_folder() as there:
        told, found = as_nobody(twice)
        assert [[], [], 0o500, 0o000] == told
        assert (0o555, MTIME) == found["a/b/c"]
        assert {(0, MTIME)} == {what for path, what in found.items() if path.endswith(("x", "y"))}


def test_owners_without_privileges_are_counted() -> None:
    """Owners that cannot be set are counted, not said; setuid bits that would lend other rights go, and are said."""

    def restore() -> tuple[object, ...]:
        target = Noted(there / "root")
        target.put(b"mine", b"x", 0o4755, uid=os.geteuid(), gid=os.getegid())
        target.put(b"other", b"x", 0o644, uid=1, gid=1)
        target.put(b"setuid", b"x", 0o4755, uid=0, gid=0)
        target.symlink(b"link", entry(stat.S_IFLNK | 0o777, target=b"x", uid=0, gid=0))
        device = target.special(b"null", entry(stat.S_IFCHR | 0o666, rdev=os.makedev(1, 3)))
        target.finish()
        root = there / "root"
        return (
            target.unset_owners,
            [path for path, _ in target.problems],
            device,
            {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.iterdir() if not path.is_symlink()},
        )

    with open_folder() as there:
        expected = (3, [b"setuid", b"null"], False, {"mine": 0o4755, "other": 0o644, "setuid": 0o755})
        assert expected == as_nobody(restore)


def test_a_folder_that_was_read_only_is_so_again() -> None:
    """A read-only folder nobody told of, into which something is restored, ends as it began."""

    def restore() -> tuple[object, ...]:
        root = there / "root"
        (root / "a").mkdir(parents=True)
        (root / "a").chmod(0o111)
        target = Noted(root)
        done = target.put(b"a/b/x", b"1")
        target.finish()
        mode = stat.S_IMODE((root / "a").stat().st_mode)
        (root / "a").chmod(0o700)
        return done, mode, target.problems, (root / "a/b/x").read_bytes()

    with open_folder() as there:
        assert (True, 0o111, [], b"1") == as_nobody(restore)


def test_owners_go_by_name(tmp_path: Path) -> None:
    """With privileges a file belongs to whoever bears the name here; without, to the one who restores."""
    target = Noted(tmp_path, numeric_owners=False)
    target.learn_owners({4711: "root"}, {})
    assert target.put(b"a", b"x", 0o4755, uid=4711, gid=os.getegid())
    owner = (tmp_path / "a").stat().st_uid
    assert ((0, 0o4755) if os.geteuid() == 0 else (os.geteuid(), 0o755)) == (
        owner,
        stat.S_IMODE((tmp_path / "a").stat().st_mode),
    )


@pytest.mark.parametrize("below", ["", "new"])
def test_a_target_that_may_not_be_written_is_refused(below: str) -> None:
    """A target nobody may write is refused at once, with its name and what to do."""

    def restore() -> str:
        try:
            Noted(closed / below)
        except PinfoldError as error:
            return str(error)
        return "accepted"

    with open_folder() as there:
        closed = there / "closed"
        closed.mkdir(0o555)
        told = as_nobody(restore)
        assert told.startswith(f"cannot restore into {closed / below}: ")
        assert "choose a folder" in told


def test_a_target_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file in the place of the target is no target."""
    (tmp_path / "a").touch()
    for place in ("a", "a/b"):
        with pytest.raises(PinfoldError, match=f"cannot restore into {tmp_path / place}: "):
            Noted(tmp_path / place)


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk with room for one megabyte: a real one where the tests may mount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "pinfold-test", str(disk)]
    mounted = os.geteuid() == 0 and not subprocess.run(command, check=False, capture_output=True).returncode
    if not mounted:
        write = os.write

        def full(fd: int, data: bytes) -> int:
            if os.fstat(fd).st_size + len(data) > 1 << 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, data)

        monkeypatch.setattr(target_write.os, "write", full)
    try:
        yield disk
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("rule", [Overwrite.NEVER, Overwrite.ALWAYS])
def test_a_full_disk_ends_the_restore(small_disk: Path, rule: Overwrite) -> None:
    """No room left ends the restore with the target's name; the half file is gone, whole and old ones stay."""
    (small_disk / "old").write_bytes(b"old")
    target = Noted(small_disk, rule)
    assert target.put(b"whole", bytes(1000))
    name = b"old" if rule is Overwrite.ALWAYS else b"new"
    with pytest.raises(Full, match=f"no room left for {small_disk} .*: free some and run the same restore again"):
        target.write_file(name, file(4 << 20), iter([bytes(1 << 19)] * 8))
    target.close()
    assert ({"old", "whole"}, b"old") == (names(small_disk), (small_disk / "old").read_bytes())
