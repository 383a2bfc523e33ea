"""Packing: the content of files that changed becomes chunks, small files many to a bundle.

A part whose files lie in a bundle that is not sealed yet waits in a queue; parts leave the queue in
the order they came, with every entry's content known.  Memory: the bundle being filled, the queue
(bounded by the number of files in a bundle), and one window of the large file being cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from pinfold.seal import refs
from pinfold.seal.bundle import SMALL
from pinfold.sources.directory.entry import Chunks, Entry, Part, Slice
from pinfold.sources.directory.index import MAX_INLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from pinfold.seal.bundle import BundleCut
    from pinfold.seal.chunker import Gear
    from pinfold.seal.refs import Ref, Tree
    from pinfold.sources.seam import Segments, Sink

_MOST_FILES: Final = 16384
_AHEAD: Final = 32
# Of the small files below /usr, 7 % of the bytes are copies of other ones.  150 bytes for each remembered.
_MOST_TWINS: Final = 65536


class _Bundle:
    """A bundle being filled, then under way."""

    __slots__ = ("edges", "future", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.edges: list[int] = []
        self.size = 0
        self.future: Future[Segments] | None = None


class _InBundle:
    """The promise of a slice."""

    __slots__ = ("bundle", "offset")

    def __init__(self, bundle: _Bundle, offset: int) -> None:
        self.bundle = bundle
        self.offset = offset

    def ready(self, *, soon: bool) -> bool:
        return self.bundle.future is not None and (soon or self.bundle.future.done())

    def content(self) -> Slice:
        assert self.bundle.future is not None  # noqa: S101  # callers flush first
        segments = self.bundle.future.result()
        if len(segments) == 1:
            return Slice(segments[0][1], self.offset)
        start, ref = segments[bisect_right(segments, self.offset, key=_start) - 1]
        return Slice(ref, self.offset - start)


class _InChunks:
    """The promise of a file's own chunks."""

    __slots__ = ("futures",)

    def __init__(self, futures: list[Future[Segments]]) -> None:
        self.futures = futures

    def ready(self, *, soon: bool) -> bool:
        return soon or all(future.done() for future in self.futures)

    def content(self) -> Chunks:
        return Chunks(tuple(future.result()[0][1] for future in self.futures))


class _SameAs:
    """The promise of an earlier name's content, for hard links."""

    __slots__ = ("first",)

    def __init__(self, first: Entry) -> None:
        self.first = first

    def ready(self, *, soon: bool) -> bool:  # noqa: ARG002  # as its like
        return True

    def content(self) -> Slice | Chunks | Tree | None:
        return self.first.content


_Promise = _InBundle | _InChunks | _SameAs


class Packer:
    """Takes files in walk order; `settled` gives back the parts whose contents are all known."""

    def __init__(self, sink: Sink, gear: Gear, cut: BundleCut) -> None:
        self._sink = sink
        self._gear = gear
        self._cut = cut
        self._bundle = _Bundle()
        self._waiting: list[tuple[Entry, _Promise]] = []
        self._queue: deque[tuple[Part, list[tuple[Entry, _Promise]]]] = deque()
        self._files = 0
        self._twins: dict[bytes, _InBundle] = {}

    def small(self, path: bytes, entry: Entry, data: bytes) -> None:
        """Lay a file of at most SMALL bytes into the bundle."""
        digest = blake3(data).digest(length=16)
        twin = self._twins.get(digest)
        if twin is not None:
            self._waiting.append((entry, twin))
            return
        bundle = self._bundle
        promise = _InBundle(bundle, bundle.size)
        self._waiting.append((entry, promise))
        if len(self._twins) >= _MOST_TWINS:
            self._twins.clear()
        self._twins[digest] = promise
        if bundle.size:
            bundle.edges.append(bundle.size)
        bundle.pieces.append(data)
        bundle.size += len(data)
        if len(bundle.pieces) >= _MOST_FILES or self._cut.ends_after(path, len(data), bundle.size):
            self._flush()

    def large(self, entry: Entry, read: Callable[[int], bytes]) -> None:
        """Cut a file by its content.  Up to MAX_INLINE chunks are not waited for."""
        chunks = self._gear.cut(read)
        futures: list[Future[Segments]] = []
        for chunk in chunks:
            futures.append(self._sink.chunk(chunk))
            if len(futures) > MAX_INLINE:
                entry.content = refs.plant(self._refs(chain(futures, map(self._sink.chunk, chunks))), self._node)
                return
        if futures:
            self._waiting.append((entry, _InChunks(futures)))

    def same(self, entry: Entry, first: Entry) -> None:
        """A further name of a file that was taken already."""
        self._waiting.append((entry, _SameAs(first)))

    def close_part(self, part: Part) -> None:
        """No more files come for this part."""
        self._queue.append((part, self._waiting))
        self._files += len(part.entries)
        self._waiting = []

    def settled(self, *, soon: bool = False, all_of_them: bool = False) -> Iterator[Part]:
        """Parts that are complete, in order; `soon`: waits for what is under way, `all_of_them`: for the rest."""
        if all_of_them or self._files > 4 * _MOST_FILES:
            self._flush()
            all_of_them = True
        while self._queue:
            part, waiting = self._queue[0]
            if not all_of_them and not all(promise.ready(soon=soon) for _, promise in waiting):
                return
            for entry, promise in waiting:
                entry.content = promise.content()
            self._queue.popleft()
            self._files -= len(part.entries)
            yield part

    def _flush(self) -> None:
        bundle = self._bundle
        if bundle.pieces:
            bundle.future = self._sink.chunk(b"".join(bundle.pieces), edges=bundle.edges)
            bundle.pieces, bundle.edges = [], []
            self._bundle = _Bundle()

    def _refs(self, futures: Iterator[Future[Segments]]) -> Iterator[Ref]:
        ahead: deque[Future[Segments]] = deque()
        for future in futures:
            ahead.append(future)
            if len(ahead) > _AHEAD + MAX_INLINE:
                yield self._referred(ahead.popleft())
        for future in ahead:
            yield self._referred(future)

    def _referred(self, future: Future[Segments]) -> Ref:
        ref = future.result()[0][1]
        self._sink.refer(ref)
        return ref

    def _node(self, plain: bytes) -> Ref:
        ref = self._referred(self._sink.chunk(plain, check=True))
        self._sink.keep_node(ref, plain)
        return ref


def is_small(size: int) -> bool:
    """Whether a file of `size` bytes goes into a bundle."""
    return size <= SMALL


def _start(segment: tuple[int, Ref]) -> int:
    return segment[0]
