"""Stores that fill up or fall silent at any moment of a backup: what was pinned stays, and the next run works."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from engine import Rig, listing, made, noise, rig, write
from pinfold.backup import Wishes
from pinfold.cache import Cache
from pinfold.errors import Full, StoreError, Unavailable
from pinfold.store import Fault, Faulty, FolderStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METHODS = ("put", "has", "pin", "pins", "get")


def failures(here: Rig, faulty: Faulty, root: Path, error: StoreError, method: str) -> Iterator[int]:
    """Run a backup that fails at the first call of a method, then one that fails at the second, until one does not."""
    call = 0
    while True:
        call += 1
        faulty.calls.clear()
        faulty.faults = (Fault(method, frozenset({call}), error, after=call % 3),)
        told = ""
        try:
            here.backup(root, wishes=Wishes(checkpoint_seconds=3))
        except StoreError as raised:
            told = str(raised)
        faulty.faults = ()
        if not told:
            return
        assert str(error) in told
        yield call


@pytest.mark.parametrize("error", [Full("no room left on the shelf"), Unavailable("the shelf is asleep")])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", ["memory", "folder"])
def test_at_every_call(tmp_path: Path, error: StoreError, method: str, where: str) -> None:
    """Failing at any call, a run says so in the store's words, harms no snapshot, and the next run works."""
    store = MemoryStore() if where == "memory" else FolderStore.create(tmp_path / "store")
    faulty = Faulty(store)
    here, root = rig(tmp_path / "cache", faulty), tmp_path / "tree"
    write(root, {f"{letter}/{n}": noise(ord(letter) + 100 * n, 30_000) for letter in "abc" for n in range(20)})
    write(root, {"large": noise(1, 2 << 20)})
    first, before = made(here.backup(root)), listing(root)
    write(root, {f"{letter}/{n}": noise(ord(letter) + 777 * n, 30_000) for letter in "bcd" for n in range(20)})
    for call in failures(here, faulty, root, error, method):
        assert "full" in {one.kind for one in here.listed() if one.root == first.root}
        if call == 1:
            here.restore(first, tmp_path / "back")
            assert before == listing(tmp_path / "back")
        shutil.rmtree(tmp_path / "cache")
        here.cache.close()
        here.cache = Cache(tmp_path / "cache")
    here.restore(made(here.backup(root)), tmp_path / "now")
    assert listing(root) == listing(tmp_path / "now")
    assert 0 == here.verify().damage_count
    here.cache.close()
    store.close()


def test_no_room_for_the_first_block(tmp_path: Path) -> None:
    """A store that is full from the beginning takes nothing, pins nothing, and once there is room the run works."""
    faulty = Faulty(MemoryStore())
    here, root = rig(tmp_path / "cache", faulty), write(tmp_path / "tree", {"a": noise(1, 5 << 20)})
    faulty.faults = (Fault("put", error=Full("no room left on the shelf")),)
    for _ in range(3):
        with pytest.raises(Full, match="no room left on the shelf"):
            here.backup(root)
    assert [] == here.listed()
    faulty.faults = ()
    made(here.backup(root))
