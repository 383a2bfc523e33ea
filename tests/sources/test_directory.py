"""What a directory source saves of a tree, also while the tree changes under it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine import Meddling, listing, made, noise, rig, write
from pinfold.backup import Wishes
from pinfold.sources.directory import read
from pinfold.sources.directory.entry import Entry
from pinfold.sources.directory.excludes import Chosen, Rules
from pinfold.sources.directory.source import Settings
from trees import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine import Rig
    from pinfold.backup import Result

MEBI = 1 << 20


def again_and_back(here: Rig, root: Path, target: Path) -> Result:
    """Back up once more without meddling, and see that the tree as it is now comes back."""
    result = here.backup(root)
    here.restore(made(result), target)
    assert listing(root) == listing(target)
    return result


def both(*acts: Callable[[], object]) -> Callable[[], None]:
    """All of the acts, one after the other."""

    def act() -> None:
        for one in acts:
            one()

    return act


def test_sockets_are_left_out_and_told(tmp_path: Path) -> None:
    """A socket is not saved, which is a note and no problem."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "t", {"a": b"x"})
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(root / "door"))
        result = here.backup(root)
    assert {b"", b"a"} == here.rows(made(result)).keys()
    assert ["door"] == [path for path, _ in result.notes]


def test_owners_are_saved_by_name(tmp_path: Path) -> None:
    """The index tells the names of owners that have one, and numbers alone of those that have none."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "t", {"mine": b"x", "strange": b"y"})
    if ROOT:
        os.chown(root / "strange", 4_000_000_000, 4_000_000_001)
    here.restore(made(here.backup(root)), tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")


def test_a_deep_tree(tmp_path: Path) -> None:
    """Six hundred folders inside one another, and paths longer than the system takes at once, come back."""
    here, root = rig(tmp_path / "cache"), tmp_path / "t"
    root.mkdir()
    for length, depth in ((1, 600), (200, 40)):
        fd = os.open(root, os.O_RDONLY)
        for level in range(depth):
            name = f"{level % 10}" * length
            os.mkdir(name, dir_fd=fd)
            inner = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = inner
        with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd), "wb") as file:  # noqa: PTH123
            file.write(noise(length, 1000))
        os.close(fd)
    result = here.backup(root)
    here.restore(made(result), tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")
    assert 0 == here.backup(root).counts.read_bytes


@pytest.mark.slow
def test_a_large_folder(tmp_path: Path) -> None:
    """Twenty thousand tiny files in one folder come back, and one more file costs a page and a bundle."""
    here, root = rig(tmp_path / "cache"), tmp_path / "t"
    write(root, {f"file {n:05}": b"%d" % n for n in range(20_000)})
    here.restore(made(here.backup(root)), tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")
    write(root, {"file 10000 too": b"new"})
    result = here.backup(root)
    assert (1, 3) == (result.counts.files_new, result.counts.read_bytes)


def test_names_that_need_care(tmp_path: Path) -> None:
    """Names that are no UTF-8, hold line ends, or are as long as names can be, come back as the bytes they were."""
    here, root = rig(tmp_path / "cache"), tmp_path / "t"
    root.mkdir()
    for name in (b"\xff\xfe", b"a\nb", b"x" * 255, b"-rf", b" ", b"\\", b"\x01", "é".encode(), "e\u0301".encode()):
        path = os.path.join(os.fsencode(root), name)  # noqa: PTH118
        os.mkdir(path)  # noqa: PTH102
        Path(os.fsdecode(path), os.fsdecode(name)).write_bytes(name)
    again_and_back(here, root, tmp_path / "back")


@pytest.mark.parametrize("size", [300, MEBI], ids=["small", "large"])
@pytest.mark.parametrize(
    "change", ["gone", "link", "fifo", "folder", "grown", "grown large", "shrunk", "emptied", "replaced", "same size"]
)
def test_a_file_changes_before_it_is_read(tmp_path: Path, size: int, change: str) -> None:
    """Whatever happens to a file between look and reading, the rest is saved, and the next run has it right."""
    here = rig(tmp_path / "cache")
    root = write(tmp_path / "t", {"a": b"a", "file": noise(1, size), "z": b"z"})
    file = root / "file"
    acts: dict[str, Callable[[], object]] = {
        "gone": file.unlink,
        "link": both(file.unlink, lambda: file.symlink_to("/etc/passwd")),
        "fifo": both(file.unlink, lambda: os.mkfifo(file)),
        "folder": both(file.unlink, file.mkdir),
        "grown": lambda: file.write_bytes(noise(2, size + 5)),
        "grown large": lambda: file.write_bytes(noise(2, 3 * MEBI)),
        "shrunk": lambda: file.write_bytes(noise(2, size - 5)),
        "emptied": lambda: file.write_bytes(b""),
        "replaced": both(lambda: file.rename(root / "y"), lambda: file.write_bytes(noise(4, 9))),
        "same size": both(lambda: file.write_bytes(noise(5, size)), lambda: os.utime(file, ns=(1, 1))),
    }
    result = here.backup(root, rules=Meddling({b"file": acts[change]}))
    told = {path for path, _ in result.problems}
    assert ({"file"} if change in {"gone", "link", "fifo", "folder"} else set()) == told
    assert result.snapshot is not None
    here.restore(result.snapshot, tmp_path / "first")
    back = listing(tmp_path / "first")
    assert {b"a", b"z"} <= back.keys()
    if not told:
        assert listing(root)[b"file"] == back[b"file"]
    again_and_back(here, root, tmp_path / "second")


@pytest.mark.parametrize("change", ["grown", "shrunk", "rewritten", "again and again"])
@pytest.mark.parametrize("size", [3000, 9 * MEBI], ids=["small", "large"])
def test_a_file_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, change: str
) -> None:
    """A file that does not hold still is told, what was read is restored, and the next run reads it again."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "t", {"a": b"a", "file": noise(1, size), "z": b"z"})
    file, reads, real = root / "file", [], os.read

    def reading(fd: int, count: int) -> bytes:
        data = real(fd, count)
        if Path(f"/proc/self/fd/{fd}").readlink() == file:
            reads.append(count)
            if change == "again and again" or len(reads) == 1:
                length = {"grown": size + 9, "shrunk": size - 9}.get(change, size)
                file.write_bytes(noise(len(reads) + 5, length))
                os.utime(file, ns=(len(reads), len(reads)))
        return data

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", reading)
        result = here.backup(root)
    held_at_last = size < MEBI and change != "again and again"
    assert ([] if held_at_last else ["file"]) == [path for path, _ in result.problems]
    assert result.snapshot is not None
    restored = here.restore(result.snapshot, tmp_path / "first")
    assert ([], []) == (restored.problems, restored.damaged)
    assert {b"", b"a", b"file", b"z"} == listing(tmp_path / "first").keys()
    next_run = again_and_back(here, root, tmp_path / "second")
    assert (0 if held_at_last else 1) == next_run.counts.files_changed


def test_a_sparse_file_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file that changes while it is read keeps every run of data at its place."""
    here, root = rig(tmp_path / "cache"), tmp_path / "t"
    root.mkdir()
    file, real = root / "file", os.pread
    with file.open("wb") as out:
        out.seek(2 * MEBI)
        out.write(noise(1, MEBI))
        out.truncate(8 * MEBI)

    def reading(fd: int, count: int, offset: int) -> bytes:
        os.utime(file, ns=(5, 5))
        return real(fd, count, offset)

    monkeypatch.setattr(os, "pread", reading)
    result = here.backup(root)
    assert ["file"] == [path for path, _ in result.problems]
    assert result.snapshot is not None
    here.restore(result.snapshot, tmp_path / "back")
    assert file.read_bytes() == (tmp_path / "back/file").read_bytes()


def test_a_hard_link_changes_between_its_names(tmp_path: Path) -> None:
    """When a file of two names grows after its first name was read, both names tell what was read, and agree."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "t", {"a": noise(1, 900_000)})
    (root / "b").hardlink_to(root / "a")
    acts: dict[bytes, Callable[[], object]] = {b"b": lambda: (root / "a").write_bytes(noise(2, 950_000))}
    result = here.backup(root, rules=Meddling(acts))
    assert result.snapshot is not None
    restored = here.restore(result.snapshot, tmp_path / "back")
    assert [] == restored.problems
    assert listing(root) == listing(tmp_path / "back")


@pytest.mark.parametrize("what", ["folder", "file in it"])
def test_a_folder_vanishes_under_the_walk(tmp_path: Path, what: str) -> None:
    """A folder that is gone when the walk comes to it, or is emptied, costs only itself."""
    here = rig(tmp_path / "cache")
    root = write(tmp_path / "t", {"a/x": b"x", "b/y": b"y", "c/z": b"z"})
    acts: dict[str, tuple[bytes, Callable[[], object]]] = {
        "folder": (b"c", lambda: (root / "b").rename(tmp_path / "away")),
        "file in it": (b"b/y", (root / "b/y").unlink),
    }
    result = here.backup(root, rules=Meddling(dict([acts[what]])))
    assert {{"folder": "b", "file in it": "b/y"}[what]} == {path for path, _ in result.problems}
    assert result.snapshot is not None
    assert {b"a/x", b"c/z"} <= here.rows(result.snapshot).keys()


def test_one_file_system(tmp_path: Path) -> None:
    """With one_file_system another file system's folder is saved, and nothing in it."""
    here, root = rig(tmp_path / "cache"), Path("/dev")
    settings = Settings(one_file_system=True)
    rules = Rules(["/*", "!/shm", "!/pts"])
    other = [name for name in ("shm", "pts") if (root / name).exists() and _device(root / name) != _device(root)]
    assert other
    result = here.backup(root, rules=rules, settings=settings)
    assert set(other) <= {path.decode() for path in here.rows(made(result))}
    assert not [path for path in here.rows(made(result)) if b"/" in path]


def _device(path: Path) -> int:
    return path.stat().st_dev


def test_only_chosen_paths(tmp_path: Path) -> None:
    """With a list of files only these are saved, and the folders above them."""
    here, root = (
        rig(tmp_path / "cache"),
        write(tmp_path / "t", {"a/b/x": b"1", "a/b/y": b"2", "a/z": b"3", "c/x": b"4"}),
    )
    rules = Rules(chosen=Chosen([b"a/b/x", b"c"]))
    assert {b"", b"a", b"a/b", b"a/b/x", b"c", b"c/x"} == here.rows(made(here.backup(root, rules=rules))).keys()


def test_types_that_change_between_runs(tmp_path: Path) -> None:
    """A name that is a file, then a folder, then a link, then a pipe comes back as what it was each time."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "t", {"a": b"x", "name": b"file"})
    steps: list[Callable[[], object]] = [
        both((root / "name").unlink, lambda: write(root, {"name/inner": b"x"})),
        both((root / "name/inner").unlink, (root / "name").rmdir, lambda: (root / "name").symlink_to("a")),
        both((root / "name").unlink, lambda: os.mkfifo(root / "name")),
    ]
    made(here.backup(root))
    for number, step in enumerate(steps):
        step()
        again_and_back(here, root, tmp_path / f"back{number}")


def test_metadata_alone_is_noticed(tmp_path: Path) -> None:
    """A changed mode, owner, or attribute is saved by the next run."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "t", {"a": b"x", "b": b"y", "c": b"z", "d/e": b"w"})
    made(here.backup(root))
    (root / "a").chmod(0o4711)
    (root / "b").chmod(0o600)
    if ROOT:
        os.chown(root / "b", 12345, 54321)
    os.setxattr(root / "c", "user.new", b"1")
    os.setxattr(root / "d", "user.new", b"2")
    result = again_and_back(here, root, tmp_path / "back")
    assert 3 == result.counts.files_changed


def test_progress_is_told(tmp_path: Path) -> None:
    """Progress names what is worked on, and its counts only grow."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "t", {"a/x": b"x", "large": noise(1, 3 * MEBI)})
    told: list[tuple[bytes, int]] = []
    wishes = Wishes(progress=lambda path, counts: told.append((path, counts.read_bytes)))
    made(here.backup(root, wishes=wishes))
    assert {b"", b"a", b"large"} == {path for path, _ in told}
    assert sorted(count for _, count in told) == [count for _, count in told]


_STRANGER = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from engine import rig
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
here = rig(Path("cache"))
result = here.backup(Path(sys.argv[1]))
print(sorted(os.fsencode(p).decode() + ": " + what for p, what in result.problems))
print(sorted(path.decode() for path in here.rows(result.snapshot)))
"""


def test_what_may_not_be_read(tmp_path: Path) -> None:
    """Files and folders that may not be read are told one by one; all else is saved, other names of theirs too."""
    root = write(tmp_path / "t", {"open": b"x", "shut": b"y", "locked/x": b"z", "listed/x": b"w", "shown/x": b"v"})
    (root / "shut").chmod(0)
    (root / "locked").chmod(0)
    (root / "listed").chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    home = tmp_path / "home"
    home.mkdir()
    if ROOT:
        os.chown(home, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o055)
    code = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _STRANGER, root, code, code.parent / "src"], cwd=home, capture_output=True, check=False
    )
    assert b"" == done.stderr
    problems, rows = done.stdout.decode().splitlines()
    assert "['listed/x: vanished or unreadable: Permission denied', " in problems
    assert "'locked: folder cannot be read: Permission denied', " in problems
    assert "'shut: cannot be opened: Permission denied']" in problems
    assert "['', 'listed', 'locked', 'open', 'shown', 'shown/x']" == rows


@pytest.mark.parametrize(("mtime", "ctime", "doubtful"), [(0, 0, True), (0, 1, False), (-3, -3, False), (-1, -3, True)])
def test_times_in_whole_seconds(mtime: int, ctime: int, *, doubtful: bool) -> None:
    """Times in whole seconds are doubted when they are less than some two seconds old, finer ones never."""
    second = 1_000_000_000
    now = datetime(2026, 1, 1, tzinfo=UTC)
    base = int(now.timestamp()) * second
    ctime_ns = base + ctime * second if ctime <= 0 else base + 1
    entry = Entry(b"f", 0o100644, 0, 0, 3, base + mtime * second, ctime_ns, 7)
    assert doubtful == read.is_in_doubt(entry, now)
