"""Damage to any single block of a repository: it is found, named, got around, and healed where a copy is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine import Rig, blocks_of, listing, made, noise, rig, write
from pinfold.errors import Corrupt, KeyFailure, Malformed, Missing
from pinfold.ipld import CID, walk
from pinfold.reading import DAMAGE
from pinfold.seal.refs import Ref, Tree, leaves
from pinfold.snapshot import load
from pinfold.sources.directory.entry import Chunks, Slice
from pinfold.store import MemoryStore, Mirror

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pinfold.snapshot import Snapshot

HARMS: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": lambda block: block[:-1] + bytes((block[-1] ^ 1,)),
    "cut short": lambda block: block[: len(block) // 2],
    "gone": lambda _: None,
}


def small_repository(path: Path, store: MemoryStore | Mirror | None = None) -> tuple[Rig, list[Snapshot], Path]:
    """Two snapshots of a tree of small files, a large one, and one of so many chunks that they need a tree of refs."""
    here, root = rig(path / "cache", store), path / "tree"
    write(root, {f"{folder}/{n}": noise(ord(folder) + 100 * n, 60_000) for folder in "ab" for n in range(30)})
    write(root, {"chunks": noise(1, 2 << 20), "tree": noise(2, 40 << 20)})
    one = made(here.backup(root))
    write(root, {"b/new": noise(3, 1000), "c/other": noise(4, 700_000)})
    return here, [one, made(here.backup(root))], root


def harm(store: MemoryStore, digest: bytes, how: str) -> bytes:
    """Harm one block; gives what it was."""
    blocks = blocks_of(store)
    was = blocks.pop(digest)
    now = HARMS[how](was)
    if now is not None:
        blocks[digest] = now
    return was


def files_on(here: Rig, snapshot: Snapshot, digest: bytes) -> set[bytes] | None:
    """The files whose content stands on a block; None where more than content does."""
    opener = here.key.opener(0)

    def fetch(ref: Ref) -> bytes:
        needed.add(ref.digest)
        return opener.open(ref, here.store.get(ref.cid))

    found: set[bytes] = set()
    content: set[bytes] = set()
    for path, entry in here.rows(snapshot).items():
        needed: set[bytes] = set()
        if isinstance(entry.content, Slice):
            needed.add(entry.content.ref.digest)
        elif isinstance(entry.content, Chunks):
            needed.update(ref.digest for ref in entry.content.refs)
        elif isinstance(entry.content, Tree):
            needed.update(ref.digest for ref in leaves(entry.content, fetch))
        content |= needed
        if digest in needed:
            found.add(path)
    return found if digest in content else None


def bounded(snapshot: Snapshot, here: Rig) -> list[bytes]:
    """The blocks of a snapshot; of the many data chunks of the large file every eighth."""
    every = [cid.digest for cid in walk(snapshot.root, here.store.get)]
    small = [digest for digest in every if len(blocks_of(here.store)[digest]) < 60_000]  # type: ignore[arg-type]
    return small + [digest for digest in every if digest not in small][::8]


@pytest.mark.slow
@pytest.mark.parametrize("how", HARMS)
def test_every_block(tmp_path: Path, how: str) -> None:
    """Whatever block is harmed, verification names it and the files on it, and a restore brings all others."""
    here, (_, snapshot), root = small_repository(tmp_path)
    assert isinstance(here.store, MemoryStore)
    expected = listing(root)
    for number, digest in enumerate(bounded(snapshot, here)):
        on_it = files_on(here, snapshot, digest)
        was = harm(here.store, digest, how)
        report = here.verify()
        named = {what for what, _ in report.damage}
        assert {CID.raw(digest).digest} <= {CID.parse(what).digest for what in named if what.startswith("baf")}
        try:
            result = here.restore(load(snapshot.root, here.store.get), tmp_path / f"back{number}")
        except (*DAMAGE, KeyFailure):
            assert on_it is None
        else:
            back = listing(tmp_path / f"back{number}", folder_times=False)
            whole = {path: row for path, row in listing(root, folder_times=False).items() if path in back}
            assert whole == back
            if on_it is not None:
                assert on_it == {path for path, _ in result.damaged} == expected.keys() - back.keys()
                told = {path for made_of, path in report.files if made_of == str(snapshot.root)}
                assert {path.decode() for path in on_it} == told
            else:
                assert result.damaged_count or expected.keys() == back.keys()
        blocks_of(here.store)[digest] = was
    assert 0 == here.verify().damage_count


@pytest.mark.parametrize("how", HARMS)
def test_a_mirror_heals(tmp_path: Path, how: str) -> None:
    """Whatever block the first of two stores has lost or damaged, reading it takes the other's and heals the first."""
    one, two = MemoryStore("one"), MemoryStore("two")
    here, snapshots, _ = small_repository(tmp_path, Mirror([one, two]))
    for digest in [cid.digest for cid in walk(snapshots[1].root, one.get)]:
        was = harm(one, digest, how)
        assert was == here.store.get(CID.raw(digest))
        assert was == one.get(CID.raw(digest))
    assert 0 == here.verify(store=one).damage_count


def test_verification_without_a_key(tmp_path: Path) -> None:
    """Without any key a verification still names every block that is lost or damaged, and tells no path."""
    here, (_, snapshot), _ = small_repository(tmp_path)
    assert isinstance(here.store, MemoryStore)
    for digest in bounded(snapshot, here)[::3]:
        was = harm(here.store, digest, "flipped")
        report = here.verify(key=False)
        assert digest in {CID.parse(what).digest for what, _ in report.damage if what.startswith("baf")}
        assert [] == report.files
        blocks_of(here.store)[digest] = was


def test_damage_does_not_stop_the_next_backup(tmp_path: Path) -> None:
    """With the newest snapshot's own small blocks damaged, the next backup still works and follows the one before."""
    here, (first, second), root = small_repository(tmp_path)
    assert isinstance(here.store, MemoryStore)
    harm(here.store, second.root.digest, "gone")
    third = made(here.backup(root))
    assert (str(first.id), 1) == (third.header.previous, third.header.sequence)
    here.restore(third, tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")


def test_what_errors_damage_raises(tmp_path: Path) -> None:
    """A root that is gone is Missing, one that is altered Corrupt, one that is no folder Malformed."""
    here, (_, snapshot), _ = small_repository(tmp_path)
    assert isinstance(here.store, MemoryStore)
    was = harm(here.store, snapshot.root.digest, "gone")
    with pytest.raises(Missing, match=str(snapshot.root)):
        load(snapshot.root, here.store.get)
    blocks_of(here.store)[snapshot.root.digest] = was[:-1]
    with pytest.raises(Corrupt, match=str(snapshot.root)):
        load(snapshot.root, here.store.get)
    with pytest.raises(Malformed):
        load(CID.of(0x70, b"nonsense"), lambda _: b"nonsense")
