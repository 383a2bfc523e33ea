"""Writing the index: pages that fit their block, whatever the entries, and a tree that holds them all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinfold.seal.refs import MAX_BLOCK, Ref, Tree, leaves
from pinfold.sources.directory import index
from pinfold.sources.directory.entry import Chunks, Entry, Part, Slice
from pinfold.sources.directory.pages import IndexWriter
from sources.sink import AGENT, KeepingSink

CHANCE = random.Random(5)
LARGE = (1 << 62) + 12345


def row(number: int, **more: object) -> Entry:
    """An entry whose numbers take all the room there is."""
    entry = Entry(b"%08d" % number, 0o100644, 70_000, 70_000, LARGE, LARGE + number, LARGE, LARGE - number)
    for key, value in more.items():
        setattr(entry, key, value)
    return entry


def some_ref() -> Ref:
    """A ref like no other."""
    return Ref.of(CHANCE.randbytes(32), CHANCE.randbytes(32), 1 + CHANCE.randrange(1 << 20), CHANCE.randrange(1 << 20))


HEAVY = {
    "plain": lambda number: row(number, size=0),
    "a bundle each": lambda number: row(number, content=Slice(some_ref(), CHANCE.randrange(1 << 20))),
    "64 chunks each": lambda number: row(number, content=Chunks(tuple(some_ref() for _ in range(64)))),
    "trees": lambda number: row(number, content=Tree(some_ref(), 6)),
    "long names": lambda number: row(number, name=b"%08d" % number + CHANCE.randbytes(247).hex().encode()[:247]),
    "attributes": lambda number: row(number, xattrs=((b"user.x", CHANCE.randbytes(130_000)),)),
    "many attributes": lambda number: row(
        number, xattrs=tuple((CHANCE.randbytes(9).hex().encode(), b"") for _ in range(300))
    ),
    "long links": lambda number: row(number, target=CHANCE.randbytes(2000).hex().encode(), size=0),
    "hard links": lambda number: row(number, link=b"/".join([CHANCE.randbytes(100).hex().encode()] * 20)),
    "holes": lambda number: row(number, extents=tuple((n * LARGE // 4000, 1 << 40) for n in range(2000))),
    "strangers": lambda number: row(number, uid=number << 20, gid=number << 20),
}


def written(parts: list[Part]) -> tuple[KeepingSink, Tree]:
    """The parts as an index."""
    sink = KeepingSink()
    writer = IndexWriter(sink, AGENT.page_cut)
    for part in parts:
        writer.add(part)
    tree = writer.finish()
    assert tree is not None
    return sink, tree


def read(sink: KeepingSink, tree: Tree) -> list[bytes]:
    """The paths of an index."""
    pages = [index.decode(sink.open(ref)) for ref in leaves(tree, sink.open)]
    return [path for page in pages for path, _ in page.rows()]


@pytest.mark.parametrize("kind", HEAVY)
def test_a_page_fits_its_block(kind: str) -> None:
    """However much room entries take, every page fits a block, none is lost, and all stand in order."""
    count = {"plain": 30_000, "strangers": 30_000, "a bundle each": 20_000}.get(kind, 400)
    rows = [HEAVY[kind](number) for number in range(count)]
    sink, tree = written([Part(b"folder", rows[at : at + 1024]) for at in range(0, count, 1024)])
    assert max(map(len, sink.blocks.values())) <= MAX_BLOCK
    assert [b"folder/" + entry.name for entry in rows] == read(sink, tree)


def test_folders_of_long_paths() -> None:
    """Thousands of folders with paths as long as can be take many pages, and every page fits a block."""
    deep = b"/".join([b"d" * 250] * 200)
    parts = [Part(deep + b"/%05d" % number, [row(1, size=0)]) for number in range(60)]
    sink, tree = written(parts)
    assert max(map(len, sink.pages)) <= MAX_BLOCK
    assert 60 == len(read(sink, tree))


@settings(max_examples=20)
@given(st.integers(0, 299), st.integers(200, 3000))
def test_a_change_in_one_folder_changes_few_pages(changed: int, rows: int) -> None:
    """One entry more in one folder of three hundred changes at most two pages."""

    def parts() -> list[Part]:
        size = max(1, rows // 100)
        return [Part(b"%03d" % number, [row(n, size=0) for n in range(size)]) for number in range(300)]

    before, _ = written(parts())
    other = parts()
    other[changed].entries.append(row(99_999_999, size=0))
    after, _ = written(other)
    assert len(set(after.pages) - set(before.pages)) <= 2


def test_bundles_of_which_little_is_left() -> None:
    """A bundle of which less than half is used is told, however its files are spread; hard links count once."""
    sink = KeepingSink()
    writer = IndexWriter(sink, AGENT.page_cut)
    half, less = (Ref.of(bytes([n]) * 32, bytes(32), 1000, 900) for n in (1, 2))
    writer.add(Part(b"", [row(1, size=500, content=Slice(half, 0)), row(2, size=499, content=Slice(less, 0))]))
    writer.add(Part(b"a", [row(3, size=499, content=Slice(less, 0), link=b"2")]))
    assert [less.digest] == writer.sparse()
    assert {half.digest, less.digest} <= sink.referred


def test_nothing_at_all() -> None:
    """An index of nothing is no tree."""
    assert None is IndexWriter(KeepingSink(), AGENT.page_cut).finish()


def test_going_on_after_a_checkpoint() -> None:
    """An index can be finished, and go on, and then holds all."""
    sink = KeepingSink()
    writer = IndexWriter(sink, AGENT.page_cut)
    for number in range(5):
        writer.add(Part(b"%d" % number, [row(1, size=0)]))
        tree = writer.finish()
        assert tree is not None
        assert number + 1 == len(read(sink, tree))
        assert set(sink.blocks) == sink.referred
