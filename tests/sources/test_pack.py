"""Packing files into bundles and chunks: every promise is kept, in order, whenever the sealing is done."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import noise
from pinfold.seal.bundle import SMALL
from pinfold.seal.refs import MAX_BLOCK, Tree, leaves
from pinfold.sources.directory.entry import Chunks, Entry, Part, Slice
from pinfold.sources.directory.pack import Packer, is_small
from sources.sink import AGENT, KeepingSink

MEBI = 1 << 20


def entry(number: int, size: int) -> Entry:
    """A file."""
    return Entry(b"%06d" % number, 0o100644, 0, 0, size, 0, 0, 0)


def packer(sink: KeepingSink) -> Packer:
    """A packer with the keys of a real agent."""
    return Packer(sink, AGENT.gear(), AGENT.bundle_cut())


def content(sink: KeepingSink, one: Entry) -> bytes:
    """What the index says of a file, opened."""
    if one.content is None:
        return b""
    if isinstance(one.content, Slice):
        return sink.open(one.content.ref)[one.content.offset : one.content.offset + one.size]
    if isinstance(one.content, Chunks):
        return b"".join(map(sink.open, one.content.refs))
    return b"".join(map(sink.open, leaves(one.content, sink.open)))


FILE_SIZES = st.sampled_from([1, 10, 1000, 60_000, 300_000, SMALL, SMALL + 1, 2 * MEBI])


@settings(max_examples=30)
@given(st.lists(st.lists(st.tuples(FILE_SIZES, st.integers(0, 2)), max_size=8), max_size=8), st.integers(1, 5))
def test_every_promise_is_kept(tree: list[list[tuple[int, int]]], step: int) -> None:
    """Whatever files come in whatever parts, however late their chunks are done, each gets its content in the end."""
    sink = KeepingSink()
    sink.asleep = []
    work = packer(sink)
    expected: list[tuple[Entry, bytes]] = []
    out: list[Part] = []
    for number, files in enumerate(tree):
        part = Part(b"%d" % number, [])
        for size, seed in files:
            one, data = entry(len(part.entries), size), noise(seed, size)
            part.entries.append(one)
            if is_small(size):
                work.small(part.path(one), one, data)
            else:
                work.large(one, io.BytesIO(data).read)
            expected.append((one, data))
        work.close_part(part)
        sink.wake(min(step, len(sink.asleep)))
        out += work.settled()
    sink.wake(len(sink.asleep))
    sink.asleep = None
    out += work.settled(all_of_them=True)
    assert [b"%d" % number for number in range(len(tree))] == [part.folder for part in out]
    assert all(data == content(sink, one) for one, data in expected)


def test_a_part_waits_for_its_content() -> None:
    """A part is given back when its bundle is sealed and done, not before; soon waits for what is under way only."""
    sink = KeepingSink()
    sink.asleep = []
    work = packer(sink)
    for number in range(2):
        part = Part(b"%d" % number, [entry(0, 9)])
        work.small(b"x", part.entries[0], b"content %d" % number)
        work.close_part(part)
    assert [] == list(work.settled()) == list(work.settled(soon=True))
    sink.asleep = None
    assert [b"0", b"1"] == [part.folder for part in work.settled(all_of_them=True)]


def test_a_bundle_that_does_not_fit() -> None:
    """A bundle too large for its block once sealed is cut between files, and each slice knows its piece."""
    sink = KeepingSink()
    work = packer(sink)
    files = [(entry(number, 150_000), noise(number, 150_000)) for number in range(60)]
    part = Part(b"", [one for one, _ in files])
    for one, data in files:
        work.small(one.name, one, data)
    work.close_part(part)
    list(work.settled(all_of_them=True))
    assert max(map(len, sink.chunks)) > MAX_BLOCK >= max(map(len, sink.blocks.values()))
    assert all(data == content(sink, one) for one, data in files)


def test_copies_are_stored_once() -> None:
    """Small files of equal content lie in one place."""
    sink = KeepingSink()
    work = packer(sink)
    part = Part(b"", [entry(number, 5000) for number in range(50)])
    for one in part.entries:
        work.small(one.name, one, noise(1, 5000))
    work.close_part(part)
    list(work.settled(all_of_them=True))
    assert 1 == len({one.content for one in part.entries})
    assert [5000] == [len(chunk) for chunk in sink.chunks]


@pytest.mark.parametrize(("size", "kind"), [(600_000, Chunks), (70 * MEBI, Tree)])
def test_large_files(size: int, kind: type) -> None:
    """A large file's chunks stand in the index up to 64 of them; beyond, a tree of refs does, all of it referred to."""
    sink = KeepingSink()
    work = packer(sink)
    part = Part(b"", [entry(0, size)])
    data = noise(3, size)
    work.large(part.entries[0], io.BytesIO(data).read)
    work.close_part(part)
    list(work.settled(all_of_them=True))
    assert kind is type(part.entries[0].content)
    assert data == content(sink, part.entries[0])
    if kind is Tree:
        assert set(sink.blocks) == sink.referred


def test_an_empty_large_file() -> None:
    """A file that turns out empty has no content."""
    work = packer(KeepingSink())
    part = Part(b"", [entry(0, 0)])
    work.large(part.entries[0], io.BytesIO(b"").read)
    work.close_part(part)
    list(work.settled(all_of_them=True))
    assert None is part.entries[0].content


def test_very_many_tiny_files() -> None:
    """A hundred thousand files of a byte or two do not pile up: parts come out on the way."""
    sink = KeepingSink()
    work = packer(sink)
    waiting = most = 0
    for number in range(100):
        part = Part(b"%03d" % number, [entry(n, 8) for n in range(1000)])
        for one in part.entries:
            work.small(part.path(one), one, part.path(one)[:8].ljust(8))
        work.close_part(part)
        waiting += 1
        waiting -= len(list(work.settled()))
        most = max(most, waiting)
    assert most <= 66
