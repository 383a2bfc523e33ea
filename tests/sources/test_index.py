"""Index pages: the same page the same bytes, and nothing out of bounds gets through."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import Malformed
from pinfold.ipld import dagcbor
from pinfold.seal.refs import Ref, Tree
from pinfold.sources.directory import index
from pinfold.sources.directory.entry import Chunks, Entry, Page, Part, Slice

if TYPE_CHECKING:
    from collections.abc import Callable


def ref(seed: int) -> Ref:
    """Some ref."""
    return Ref.of(random.Random(seed).randbytes(32), bytes(32), 1 + seed, 100 + seed)


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: name not in {b".", b".."} and not set(name) & {0, 0x2F})
PATHS = st.lists(NAMES, max_size=4).map(b"/".join)
REFS = st.integers(0, 9).map(ref)
NUMBERS = st.integers(0, (1 << 32) - 2)
TIMES = st.integers(-(1 << 62), 1 << 62)
CONTENT = st.one_of(
    st.none(),
    st.builds(Slice, REFS, st.integers(0, 1 << 21)),
    st.lists(REFS, min_size=1, max_size=64).map(lambda found: Chunks(tuple(found))),
    st.builds(Tree, REFS, st.integers(1, 6)),
)
PAIRS = st.lists(st.tuples(st.binary(min_size=1, max_size=9).filter(lambda name: 0 not in name), st.binary())).map(
    tuple
)


@st.composite
def entries(draw: st.DrawFn, name: bytes) -> Entry:
    """Any entry the format can hold."""
    size = draw(st.integers(0, 1 << 50))
    entry = Entry(name, draw(NUMBERS), draw(NUMBERS), draw(NUMBERS), size, draw(TIMES), draw(TIMES), draw(NUMBERS))
    entry.content = draw(CONTENT)
    entry.xattrs = draw(PAIRS)
    entry.link = draw(st.none() | PATHS.filter(bool))
    if entry.content is None and size == 0:
        entry.target = draw(st.none() | NAMES)
        entry.rdev = draw(NUMBERS)
    elif size > 10 and draw(st.booleans()):
        entry.extents = draw(st.sampled_from([(), ((0, 1),), ((1, 3), (4, 5)), ((size - 1, 1),)]))
    return entry


@st.composite
def pages(draw: st.DrawFn) -> Page:
    """Any page."""
    parts = []
    for folder in draw(st.lists(PATHS, max_size=3, unique=True)):
        names = sorted(draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)))
        parts.append(Part(folder, [draw(entries(name)) for name in names]))
    owners = st.dictionaries(NUMBERS, st.text(max_size=9), max_size=3)
    return Page(parts, draw(owners), draw(owners))


@given(pages())
def test_what_goes_in_comes_out(page: Page) -> None:
    """A page decodes to what was encoded, and encodes to the same bytes again."""
    data = index.encode(page)
    found = index.decode(data)
    assert page == found
    assert data == index.encode(found)


@given(pages(), st.data())
def test_damaged_pages_are_refused_or_sound(page: Page, data: st.DataObject) -> None:
    """Bytes that are nearly a page raise Malformed, or are a page whose names are safe to use."""
    good = bytearray(index.encode(page))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    check_safe(bytes(good))


@given(st.binary(max_size=60))
def test_nonsense_is_refused(data: bytes) -> None:
    """Any bytes raise Malformed or make a page."""
    check_safe(data)


def check_safe(data: bytes) -> None:
    """Decode what may be nonsense, and see that no name of it leads anywhere else."""
    try:
        page = index.decode(data)
    except Malformed:
        return
    for path, entry in page.rows():
        if path:
            assert not {b"", b".", b".."} & set(path.split(b"/"))
        assert entry.stored >= 0
        index.encode(page)


def document() -> dict[str, Any]:
    """A sound page, before it becomes bytes."""
    names = [b"a", b"b"]
    part: dict[str, Any] = {"folder": b"d/e", "names": names}
    part |= {key: [0, 0] for key in ("modes", "uids", "gids", "sizes", "mtimes", "ctimes", "inodes", "offsets")}
    part |= {"bundles": [0, -1], "sizes": [5, 100]}
    return {"bundles": ref(1).packed, "groups": [], "parts": [part], "users": [[0, "root"]]}


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "folder upwards": lambda one: one.update(folder=b"../x"),
    "folder in the middle upwards": lambda one: one.update(folder=b"x/../y"),
    "absolute folder": lambda one: one.update(folder=b"/etc"),
    "folder with a zero byte": lambda one: one.update(folder=b"a\0b"),
    "folder too long": lambda one: one.update(folder=b"a/" * 40_000 + b"a"),
    "folder is text": lambda one: one.update(folder="d"),
    "no names": lambda one: one.update(names=[]),
    "fewer names": lambda one: one.update(names=[b"a"]),
    "name upwards": lambda one: one.update(names=[b"..", b"b"]),
    "name is here": lambda one: one.update(names=[b".", b"b"]),
    "empty name": lambda one: one.update(names=[b"", b"b"]),
    "name with a slash": lambda one: one.update(names=[b"a", b"b/c"]),
    "name with a zero byte": lambda one: one.update(names=[b"a", b"b\0"]),
    "name twice": lambda one: one.update(names=[b"a", b"a"]),
    "names out of order": lambda one: one.update(names=[b"b", b"a"]),
    "name too long": lambda one: one.update(names=[b"a", b"b" * 5000]),
    "name is text": lambda one: one.update(names=["a", b"b"]),
    "two roots": lambda one: one.update(folder=None),
    "size below nothing": lambda one: one.update(sizes=[-1, 0]),
    "mode below nothing": lambda one: one.update(modes=[-1, 0]),
    "offset below nothing": lambda one: one.update(offsets=[-1, 0]),
    "size is true": lambda one: one.update(sizes=[True, 0]),
    "size is text": lambda one: one.update(sizes=["5", 0]),
    "column missing": lambda one: one.pop("uids"),
    "column unknown": lambda one: one.update(colour=[1, 2]),
    "bundle not listed": lambda one: one.update(bundles=[1, -1]),
    "target empty": lambda one: one.update(targets=[[0, b""]]),
    "target with a zero byte": lambda one: one.update(targets=[[0, b"a\0"]]),
    "row not there": lambda one: one.update(targets=[[2, b"a"]]),
    "row below nothing": lambda one: one.update(targets=[[-1, b"a"]]),
    "link upwards": lambda one: one.update(links=[[0, b"../a"]]),
    "link absolute": lambda one: one.update(links=[[0, b"/a"]]),
    "link empty": lambda one: one.update(links=[[0, b""]]),
    "no chunks": lambda one: one.update(chunks=[[0, b""]]),
    "half a chunk": lambda one: one.update(chunks=[[0, b"x" * 71]]),
    "too many chunks": lambda one: one.update(chunks=[[0, ref(1).packed * 65]]),
    "chunk longer than any": lambda one: one.update(chunks=[[0, bytes(64) + b"\xff" * 8]]),
    "tree of no depth": lambda one: one.update(trees=[[0, [ref(1).packed, 0]]]),
    "tree too deep": lambda one: one.update(trees=[[0, [ref(1).packed, 7]]]),
    "tree of no ref": lambda one: one.update(trees=[[0, [b"x", 1]]]),
    "device below nothing": lambda one: one.update(rdevs=[[0, -1]]),
    "device too large": lambda one: one.update(rdevs=[[0, 1 << 64]]),
    "extent outside": lambda one: one.update(extents=[[1, [[99, 2]]]]),
    "extent below nothing": lambda one: one.update(extents=[[1, [[-1, 2]]]]),
    "extent of nothing": lambda one: one.update(extents=[[1, [[5, 0]]]]),
    "extents overlap": lambda one: one.update(extents=[[1, [[0, 5], [4, 5]]]]),
    "attribute without a name": lambda one: one.update(xattrs=[[0, [[b"", b"x"]]]]),
    "attribute alone": lambda one: one.update(xattrs=[[0, [[b"a"]]]]),
}


def test_the_sound_page_is_sound() -> None:
    """What the cases below start from decodes."""
    assert [b"d/e/a", b"d/e/b"] == [path for path, _ in index.decode(dagcbor.encode(document())).rows()]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_refused(wrong: str) -> None:
    """A page with one thing out of bounds raises Malformed."""
    page = document()
    WRONG[wrong](page["parts"][0])
    try:
        data = dagcbor.encode(page)
    except (ValueError, OverflowError, TypeError, Malformed):
        return  # it cannot even be written
    with pytest.raises(Malformed):
        index.decode(data)


@pytest.mark.parametrize(
    "change",
    [
        {"bundles": None},
        {"bundles": b"x"},
        {"parts": None},
        {"parts": [1]},
        {"users": 1},
        {"users": [[1]]},
        {"more": 1},
    ],
)
def test_pages_of_other_shapes(change: dict[str, object]) -> None:
    """A page whose outer parts are of other kinds raises Malformed."""
    with pytest.raises(Malformed):
        index.decode(dagcbor.encode(document() | change))


def test_a_part_at_the_end_of_a_path(tmp_path: object) -> None:  # noqa: ARG001  # as its like
    """The path of a root is empty, of a lone file its name, of all else folder and name."""
    entry = Entry(b"x", 0o100644, 0, 0, 0, 0, 0, 0)
    assert b"x" == Part(None, [entry]).path(entry)
    assert b"" == Part(None, []).path(replace(entry, name=b"."))
    assert (b"x", b"a/x") == (Part(b"", []).path(entry), Part(b"a", []).path(entry))
