"""Reading a snapshot back: refs become plaintext, a little ahead of whoever needs it.

Blocks are fetched, checked, opened and decompressed by a pool of threads, in order, with a bounded
number under way.  What is damaged is told and passed over: the pages and files around it still come.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from pinfold.allocator import keep_buffers
from pinfold.errors import Malformed, StoreError
from pinfold.ipld import SeenMarks
from pinfold.seal import refs
from pinfold.seal.refs import MAX_DEPTH, Ref, Tree
from pinfold.sources.directory import index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pinfold.seal.box import Opener
    from pinfold.sources.directory.entry import Page
    from pinfold.store.seam import Store

    Lost = Callable[[Ref, Exception], None]

AHEAD: Final = 8
_KEEP_BYTES: Final = 32 << 20
DAMAGE: Final = (StoreError, Malformed)
"""What damage to a snapshot can raise."""


class Reader:
    """Opens the chunks of one snapshot's generation.  Thread-safe; `close` must be called."""

    def __init__(self, store: Store, opener: Opener, *, threads: int = 2, ahead: int = AHEAD) -> None:
        """`threads`: as many blocks are fetched and opened at once; `ahead`: chunks under way."""
        keep_buffers()
        self._store = store
        self._opener = opener
        self._ahead = max(ahead, threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pinfold-read")
        self._lock = threading.Lock()
        self._bundles: OrderedDict[bytes, tuple[Future[bytes], int]] = OrderedDict()
        self._held = 0

    def close(self) -> None:
        """Stop fetching."""
        self._pool.shutdown(cancel_futures=True)

    def open(self, ref: Ref) -> bytes:
        """One chunk.  Raises Missing, Corrupt, Malformed, and what else the store raises."""
        return self._opener.open(ref, self._store.get(ref.cid))

    def later(self, ref: Ref) -> Future[bytes]:
        """One chunk, soon."""
        return self._pool.submit(self.open, ref)

    def bundle(self, ref: Ref) -> Future[bytes]:
        """A bundle, soon; recently used ones are kept, 32 MiB of them, because files come in turns."""
        with self._lock:
            known = self._bundles.get(ref.digest)
            if known is not None:
                self._bundles.move_to_end(ref.digest)
                return known[0]
            future = self.later(ref)
            self._bundles[ref.digest] = (future, ref.length)
            self._held += ref.length
            while self._held > _KEEP_BYTES and len(self._bundles) > 1:
                _, (_, length) = self._bundles.popitem(last=False)
                self._held -= length
        return future

    def stream(self, listed: Iterable[Ref]) -> Iterator[bytes]:
        """Chunks in order, with some under way ahead of the one that is taken."""
        under_way: deque[Future[bytes]] = deque()
        for ref in listed:
            if not ref.length:
                raise Malformed("list of chunks", "a chunk is empty")  # else a small tree never ends
            under_way.append(self.later(ref))
            if len(under_way) >= self._ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def leaves(self, tree: Tree, lost: Lost | None = None) -> Iterator[Ref]:
        """The data refs below a tree; nodes that are damaged are told to `lost`, else raised.

        With `lost` the tree is an index, where nothing comes twice: one that says so ends there.
        """
        if lost is None:
            yield from refs.leaves(tree, self._node)
            return
        seen = SeenMarks()
        pending = [tree]
        while pending:
            one = pending.pop()
            if one.depth == 0:
                yield one.root
                continue
            if not seen.add(one.root.cid):
                lost(one.root, Malformed("index", f"node {one.root.cid} comes twice: forged"))
                return
            try:
                if one.depth > MAX_DEPTH:
                    raise Malformed("tree of refs", f"depth {one.depth} is out of bounds")
                children = refs.split(self._node(one.root))
            except DAMAGE as error:
                lost(one.root, error)
                continue
            pending += [Tree(ref, one.depth - 1) for ref in reversed(children)]

    def _node(self, ref: Ref) -> bytes:
        packed = self.open(ref)
        # With empty nodes a tree of six small blocks could be walked for ever and yield nothing.
        if not packed:
            raise Malformed("tree of refs", "a node is empty")
        return packed

    def pages(self, tree: Tree | None, lost: Lost | None = None) -> Iterator[Page]:
        """The index pages in order; damaged ones are told to `lost`, else raised."""
        if tree is None:
            return
        under_way: deque[tuple[Ref, Future[Page]]] = deque()
        for ref in self._once(self.leaves(tree, lost), lost):
            under_way.append((ref, self._pool.submit(self._page, ref)))
            if len(under_way) >= self._ahead:
                yield from _take(under_way, lost)
        while under_way:
            yield from _take(under_way, lost)

    def _once(self, pages: Iterator[Ref], lost: Lost | None) -> Iterator[Ref]:
        """Pages up to one that comes twice: no index has that, and a forged one could go on for ever."""
        seen = SeenMarks()
        for ref in pages:
            if not seen.add(ref.cid):
                error = Malformed("index", f"page {ref.cid} comes twice: forged")
                if lost is None:
                    raise error
                lost(ref, error)
                return
            yield ref

    def raw_pages(self, tree: Tree | None) -> Iterator[bytes]:
        """The index pages as bytes, in order."""
        if tree is not None:
            yield from self.stream(self._once(self.leaves(tree), None))

    def _page(self, ref: Ref) -> Page:
        return index.decode(self.open(ref))


def _take(under_way: deque[tuple[Ref, Future[Page]]], lost: Lost | None) -> Iterator[Page]:
    ref, future = under_way.popleft()
    try:
        page = future.result()
    except DAMAGE as error:
        if lost is None:
            raise
        lost(ref, error)
    else:
        yield page
