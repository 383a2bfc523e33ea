"""What a restore brings back, and what it leaves alone."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from engine import Meddling, blocks_of, listing, made, noise, rig, write
from pinfold.errors import Full, UsageError
from pinfold.reading import Reader
from pinfold.restore import Choice, Restore
from pinfold.sources.directory import target_write
from pinfold.sources.directory.excludes import Rules
from pinfold.sources.directory.source import Settings
from pinfold.sources.directory.target import Overwrite
from trees import TREES, Node, plant

if TYPE_CHECKING:
    from collections.abc import Callable

MEBI = 1 << 20


@settings(max_examples=25)
@given(TREES, TREES)
def test_every_tree_comes_back(first: Node, second: Node) -> None:
    """Any two trees, one after the other in the place of one source, come back byte for byte with all metadata."""
    with tempfile.TemporaryDirectory() as folder:
        here, place = rig(Path(folder, "cache")), Path(folder, "tree")
        kept = []
        for number, tree in enumerate((first, second)):
            plant(place, tree)
            kept.append((made(here.backup(place)), listing(place)))
            place.rename(Path(folder, f"tree{number}"))
        for number, (snapshot, expected) in enumerate(kept):
            result = here.restore(snapshot, Path(folder, f"back{number}"))
            assert ([], []) == (result.problems, result.damaged)
            assert expected == listing(Path(folder, f"back{number}"))
        here.cache.close()


def test_holes_stay_holes(tmp_path: Path) -> None:
    """A sparse file takes no more room restored than it took, the empty hole none at all."""
    here, root = rig(tmp_path / "cache"), tmp_path / "tree"
    root.mkdir()
    for name, at in (("front", 0), ("middle", 50 * MEBI), ("none", None)):
        with (root / name).open("wb") as file:
            if at is not None:
                file.seek(at)
                file.write(noise(1, 10_000))
            file.truncate(100 * MEBI)
    result = here.backup(root)
    assert result.counts.read_bytes < MEBI
    here.restore(made(result), tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")
    for path in root.iterdir():
        assert (tmp_path / "back" / path.name).stat().st_blocks <= path.stat().st_blocks


def test_hard_links_by_any_name(tmp_path: Path) -> None:
    """A file of several names comes back as one file, also when its first name was left out of the backup."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"a/first": noise(1, 700_000), "small": b"tiny"})
    for name in ("a/second", "b", "c"):
        (root / name).hardlink_to(root / "a/first")
    (root / "small too").hardlink_to(root / "small")
    here.restore(made(here.backup(root)), tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")
    here.restore(made(here.backup(root, rules=Rules(["first"]))), tmp_path / "less")
    assert 3 == (tmp_path / "less/b").stat().st_nlink


def test_the_second_name_alone(tmp_path: Path) -> None:
    """A hard link whose first name is not wanted is restored by itself, with its content."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"a": b"tiny", "c": noise(1, 700_000)})
    (root / "b").hardlink_to(root / "a")
    (root / "d").hardlink_to(root / "c")
    wanted = Choice(wanted=lambda path, _: path in {b"b", b"d"})
    here.restore(made(here.backup(root)), tmp_path / "back", choice=wanted)
    assert {b"", b"b", b"d"} == listing(tmp_path / "back").keys()
    assert (b"tiny", noise(1, 700_000)) == ((tmp_path / "back/b").read_bytes(), (tmp_path / "back/d").read_bytes())


def test_only_what_is_wanted(tmp_path: Path) -> None:
    """With a choice only wanted names come back, with the folders that lead there and their metadata."""
    here = rig(tmp_path / "cache")
    root = write(tmp_path / "tree", {"a/b/c/x": b"1", "a/b/y": b"2", "a/z": b"3", "d/x": b"4"})
    (root / "a/b").chmod(0o711)
    snapshot = made(here.backup(root))
    here.restore(snapshot, tmp_path / "back", choice=Choice(wanted=lambda path, _: path.startswith(b"a/b/")))
    found = listing(tmp_path / "back")
    assert {b"", b"a", b"a/b", b"a/b/c", b"a/b/c/x", b"a/b/y"} == found.keys()
    assert {path: row for path, row in listing(root).items() if path in found} == found


OLD, NEW = 10**18, 2 * 10**18


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (Overwrite.NEVER, {"older", "newer", "same"}),
        (Overwrite.IF_NEWER, {"newer", "same"}),
        (Overwrite.ALWAYS, {"same"}),
    ],
)
def test_what_is_there_already(tmp_path: Path, rule: Overwrite, kept: set[str]) -> None:
    """Something else under the same name stays, yields when older, or yields, as was asked; equal files stay always."""
    here = rig(tmp_path / "cache")
    root = write(tmp_path / "tree", {"older": b"saved", "newer": b"saved", "same": b"saved", "new": b"saved"})
    for path in root.iterdir():
        os.utime(path, ns=(OLD + 5, OLD + 5))
    back = write(tmp_path / "back", {"older": b"mine!", "newer": b"mine!", "same": b"mine!", "other": b"mine!"})
    for name, mtime in (("older", OLD), ("newer", NEW), ("same", OLD + 5)):
        os.utime(back / name, ns=(mtime, mtime))
    result = here.restore(made(here.backup(root)), back, overwrite=rule)
    assert kept | {"other"} == {path.name for path in back.iterdir() if path.read_bytes() == b"mine!"}
    assert {name.encode() for name in kept - {"same"}} == {path for path, _ in result.problems}


def test_a_restore_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore that failed in the middle is finished by running it again, and writes no file twice."""
    here = rig(tmp_path / "cache")
    root = write(tmp_path / "tree", {f"{n % 7}/{n}": noise(n, 20_000) for n in range(200)} | {"z": noise(1, 3 * MEBI)})
    snapshot = made(here.backup(root))
    real, calls = target_write._write, []

    def full(fd: int, data: bytes | memoryview) -> None:
        calls.append(fd)
        if len(calls) == 150:
            os.write(fd, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(fd, data)

    monkeypatch.setattr(target_write, "_write", full)
    with pytest.raises(Full, match="run the same restore again"):
        here.restore(snapshot, tmp_path / "back")
    result = here.restore(snapshot, tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")
    assert result.kept > 100
    assert 201 == result.files + result.kept


def test_what_the_snapshot_lacks_is_removed(tmp_path: Path) -> None:
    """With delete, what the snapshot does not hold goes from the target: in folders it fills, empties, or lacks."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {f"full/{n}": b"x" for n in range(3000)})
    write(root, {"a/file": b"x", "z": b"x"})
    for name in ("empty", "a/empty", "full/empty/empty"):
        (root / name).mkdir(parents=True)
    snapshot = made(here.backup(root))
    back = tmp_path / "back"
    here.restore(snapshot, back)
    extra = ["x", "a/x", "full/1x", "full/empty/x", "full/empty/empty/x/x/x", "empty/x", "a/empty/x", "gone/x/x"]
    write(back, dict.fromkeys(extra, b"mine"))
    (back / "outside").symlink_to(tmp_path / "tree")
    result = here.restore(snapshot, back, choice=Choice(delete=True))
    assert listing(root) == listing(back)
    assert 9 == result.removed


def test_replacing_and_removing_at_once(tmp_path: Path) -> None:
    """With delete and overwrite, files that are replaced are not taken for leftovers while they are written."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {f"{n}": noise(n, 500) for n in range(3000)})
    back = write(tmp_path / "back", {f"{n}": b"mine" for n in range(3000)})
    choice = Choice(delete=True)
    result = here.restore(made(here.backup(root)), back, choice=choice, overwrite=Overwrite.ALWAYS)
    assert ([], 0) == (result.problems, result.removed)
    assert listing(root) == listing(back)


def test_what_could_not_be_saved_is_not_removed(tmp_path: Path) -> None:
    """With delete, files and folders that the backup could not read are left alone in the target."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"locked/x": b"x", "good/x": b"x", "gone": b"x"})
    deep = b"\xffdeep"
    os.mkdir(os.path.join(os.fsencode(root), deep))  # noqa: PTH102, PTH118
    acts: dict[bytes, Callable[[], object]] = {
        b"gone": (root / "gone").unlink,
        b"locked": lambda: (root / "locked").rename(tmp_path / "hidden"),
        deep: lambda: os.rmdir(os.path.join(os.fsencode(root), deep)),  # noqa: PTH106, PTH118
    }
    result = here.backup(root, rules=Meddling(acts))
    assert {"gone", "locked", "\\udcffdeep"} == {path for path, _ in result.problems}
    assert result.snapshot is not None
    back = write(tmp_path / "back", {"locked/mine": b"1", "gone": b"2", "good/mine": b"3", "\udcffdeep/mine": b"4"})
    here.restore(result.snapshot, back, choice=Choice(delete=True))
    assert {b"locked/mine", b"gone", b"good/x", deep + b"/mine"} <= listing(back).keys()
    assert not (back / "good/mine").exists()


def test_other_file_systems_are_not_emptied(tmp_path: Path) -> None:
    """With delete, an empty folder of a backup of one file system only is left as it is: it may be a mount."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"a/x": b"x"})
    (root / "mount").mkdir()
    snapshot = made(here.backup(root, settings=Settings(one_file_system=True)))
    back = write(tmp_path / "back", {"mount/x": b"mine", "a/y": b"mine"})
    here.restore(snapshot, back, choice=Choice(delete=True))
    assert {b"", b"a", b"a/x", b"mount", b"mount/x"} == listing(back).keys()


def test_a_choice_and_delete_do_not_go_together(tmp_path: Path) -> None:
    """Asking to delete what was not chosen is refused before anything is touched."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"a": b"x"})
    back = write(tmp_path / "back", {"b": b"mine"})
    with pytest.raises(UsageError, match="--delete"):
        here.restore(made(here.backup(root)), back, choice=Choice(wanted=lambda *_: True, delete=True))
    assert {b"", b"b"} == listing(back).keys()


def test_a_lone_file(tmp_path: Path) -> None:
    """A source can be one file, named itself or by a link, and comes back under its name."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"file": noise(1, 600_000), "other": b"x"})
    (tmp_path / "link").symlink_to(root / "file")
    for number, path in enumerate((root / "file", tmp_path / "link")):
        here.restore(made(here.backup(path, f"source {number}")), tmp_path / f"back{number}")
        assert {b"", b"file"} == listing(tmp_path / f"back{number}").keys()
        assert listing(root)[b"file"] == listing(tmp_path / f"back{number}")[b"file"]
    assert 0 == here.backup(root / "file", "source 0").counts.read_bytes


@pytest.mark.slow
def test_a_lost_page_costs_its_own_files_only(tmp_path: Path) -> None:
    """When a page of the index is lost, the files of all others come back, it is told, and nothing is removed."""
    here, root = rig(tmp_path / "cache"), tmp_path / "tree"
    write(root, {f"{n // 500:02}/{n}": noise(n, 50) for n in range(10_000)})
    snapshot = made(here.backup(root))
    tree = snapshot.open(here.key, here.store.get).index
    assert tree is not None
    reader = Reader(here.store, here.key.opener(0))
    pages = list(reader.leaves(tree))
    lost = {path for path, _ in next(reader.pages(type(tree)(pages[2], 0))).rows()}
    reader.close()
    assert len(pages) > 3
    del blocks_of(here.store)[pages[2].digest]  # type: ignore[arg-type]
    back = write(tmp_path / "back", {"mine": b"x"})
    result = here.restore(snapshot, back, choice=Choice(delete=True))
    assert (1, 1, 0) == (result.lost_pages, result.damaged_count, result.removed)
    assert str(pages[2].cid) in result.damaged[0][1]
    wanted = {path for path, row in listing(root).items() if row.content} - lost
    assert wanted <= listing(back).keys()


def test_restoring_what_is_no_directory(tmp_path: Path) -> None:
    """A snapshot of something else than a directory is refused with its kind."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"a": b"x"})
    manifest = made(here.backup(root)).open(here.key, here.store.get)
    other = dataclasses.replace(manifest, type="postgres")
    with pytest.raises(UsageError, match="of a postgres"):
        Restore(None, other, None, Choice(), None).run()  # type: ignore[arg-type]


def test_the_result_is_the_same_in_a_fresh_place(tmp_path: Path) -> None:
    """From its root and the key alone a snapshot restores in another place, without the cache."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"a/b": noise(1, MEBI)})
    snapshot = made(here.backup(root))
    shutil.rmtree(tmp_path / "cache")
    here.restore(snapshot, tmp_path / "x/y/back")
    assert listing(root) == listing(tmp_path / "x/y/back")
