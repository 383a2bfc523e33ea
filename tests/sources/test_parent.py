"""The parent index beside the live walk: what was there is found, whatever came and went since."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pinfold.sources.directory.entry import ROOT, Entry, Part, order
from pinfold.sources.directory.parent import Parent, Resumed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAMES = st.sampled_from([b"a", b"a!", b"a.", b"b", b"\x01", b"\xff"])
TREES = st.sets(st.lists(NAMES, min_size=1, max_size=4).map(b"/".join), max_size=25)


def entry(name: bytes, size: int) -> Entry:
    """An entry known again by its size."""
    return Entry(name, 0o100644, 0, 0, size, 0, 0, 0)


def parts(paths: Iterable[bytes], mark: int, rows: int = 2) -> Iterator[Part]:
    """The parts of a tree with these files, in walk order, large folders in several parts."""
    folders: dict[bytes, set[bytes]] = {b"": set()}
    for path in paths:
        steps = path.split(b"/")
        for depth in range(len(steps)):
            folders.setdefault(b"/".join(steps[:depth]), set()).add(steps[depth])
    yield Part(None, [entry(ROOT, mark)])
    for folder in sorted(folders, key=order):
        names = sorted(folders[folder])
        for start in range(0, len(names), rows):
            yield Part(folder, [entry(name, mark) for name in names[start : start + rows]])


def everything(found: Iterable[Part]) -> dict[bytes, int]:
    """The sizes of all entries by path."""
    return {part.path(one): one.size for part in found for one in part.entries}


@given(TREES, TREES, st.integers(1, 4))
def test_what_was_there_is_found(before: set[bytes], now: set[bytes], rows: int) -> None:
    """Every live name that the parent has is found, no other, and what is left over is counted."""
    parent = Parent(parts(before, 1, rows))
    known = everything(parts(before, 1))
    live = everything(parts(now, 2))
    for part in parts(now, 2):
        parent.enter(part.folder)
        for one in part.entries:
            found = parent.find(one.name)
            assert (part.path(one) in known) == (found is not None)
            assert found is None or (1, one.name) == (found.size, found.name)
    assert len(known.keys() - live.keys()) == parent.drain()


@given(TREES, TREES, st.integers(0, 40))
def test_two_parents_end_to_end(checkpoint: set[bytes], older: set[bytes], cut: int) -> None:
    """Up to where a checkpoint stopped it is the parent, from the next folder on the older index; all in order."""
    begun = list(itertools.islice(parts(checkpoint, 2), cut))
    resumed = Resumed(iter(begun), parts(older, 1))
    seen = [resumed.behind]
    found = list(resumed)
    seen.append(resumed.behind)
    assert [False, True] == seen
    keys = [(part.folder is not None, order(part.folder or b"")) for part in found]
    assert sorted(keys) == keys
    last = keys[len(begun) - 1] if begun else (False, b"")
    expected = {
        path: size
        for part in parts(older, 1)
        for path, size in [(part.path(one), one.size) for one in part.entries]
        if not begun or (part.folder is not None, order(part.folder or b"")) > last
    }
    assert expected | everything(begun) == everything(found)


def test_no_parent() -> None:
    """Without a parent nothing is found and nothing is gone."""
    parent = Parent(iter(()))
    for folder in (None, b"", b"a"):
        parent.enter(folder)
        assert None is parent.find(b"x")
    assert 0 == parent.drain()
