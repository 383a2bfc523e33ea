"""Reading a snapshot back: refs become plaintext, a little ahead of whoever needs it.

Blocks are fetched, checked, opened and decompressed by threads, in order, with a bounded number under
way: a few from a disk, as many as it bears (and as 80 MiB take) from a store behind a network, where a
block is 50 ms away however fast they come.  What is damaged is told and passed over: the pages and files
around it still come.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from pinfold.allocator import keep_buffers
from pinfold.errors import Malformed, StoreError
from pinfold.ipld import SeenMarks
from pinfold.seal import refs
from pinfold.seal.refs import MAX_DEPTH, Ref, Tree
from pinfold.sources.directory import index
from pinfold.store.copies import at_once
from pinfold.store.crew import Crew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from pinfold.seal.box import Opener
    from pinfold.sources.directory.entry import Page
    from pinfold.store.seam import Store

    Lost = Callable[[Ref, Exception], None]

AHEAD: Final = 8
# Bundles that files may still come back to: of a store near by files of one are written in several turns.
_KEEP_BYTES: Final = 32 << 20
_KEEP_BYTES_FAR: Final = 8 << 20
_ROOM: Final = 80 << 20
_NODES_AHEAD: Final = 4
DAMAGE: Final = (StoreError, Malformed)
"""What damage to a snapshot can raise."""


class _Room:
    """The bytes that chunks under way may take, all streams together."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._given = threading.Condition()

    def take(self, size: int, *, force: bool = False, wait: bool = False) -> bool:
        """Take so many bytes, if there is room, or nobody else has any.  `wait`: until then; `force`: all the same."""
        with self._given:
            while wait and not force and self._taken and self._taken + size > self._size:
                self._given.wait()
            if self._taken and self._taken + size > self._size and not force:
                return False
            self._taken += size
            return True

    def give(self, size: int) -> None:
        """Give them back."""
        with self._given:
            self._taken -= size
            self._given.notify_all()


class Chunk:
    """A chunk on its way.  From near by it comes opened; from afar sealed, for sealed it takes less room."""

    __slots__ = ("_coming", "_open", "ref")

    def __init__(self, ref: Ref, coming: Future[bytes], opens: Callable[[Ref, bytes], bytes] | None) -> None:
        """`opens`: None where it comes opened."""
        self.ref = ref
        self._coming = coming
        self._open = opens

    def wait(self) -> None:
        """Return when it is here.  Raises what fetching it raised."""
        self._coming.result()

    def take(self) -> bytes:
        """The plaintext.  Raises what fetching and opening it raise."""
        came = self._coming.result()
        return came if self._open is None else self._open(self.ref, came)

    def drop(self) -> None:
        """Do not begin to fetch it, if nobody has."""
        self._coming.cancel()


class Reader:
    """Opens the chunks of one snapshot's generation.  Thread-safe; `close` must be called.

    `at_once`: how many blocks should be asked for at the same time, 0 for a store that is near.
    """

    def __init__(self, store: Store, opener: Opener, *, threads: int = 2, ahead: int = AHEAD) -> None:
        """`threads`: as many blocks are opened at once, and fetched from near by; `ahead`: chunks under way from there.

        What is under way from afar is for the store to say.
        """
        keep_buffers()
        many = at_once(store)
        self.at_once = many if many > 1 else 0
        self._store = store
        self._opener = opener
        self._ahead = max(ahead, threads, self.at_once)
        self._pages_ahead = max(ahead, threads)
        self._crew = Crew(self.at_once or threads, "pinfold-read")
        self._turns = threading.Semaphore(threads)
        self._room = _Room(_ROOM)
        self._lock = threading.Lock()
        self._keep = _KEEP_BYTES_FAR if self.at_once else _KEEP_BYTES
        self._bundles: OrderedDict[bytes, Chunk] = OrderedDict()
        self._held = 0

    def close(self) -> None:
        """Stop fetching; whoever waits for a chunk gets Unavailable.  Idempotent."""
        # What is near answers soon, and must not be closed under a thread's hands.
        self._crew.close(wait=not self.at_once)

    def open(self, ref: Ref) -> bytes:
        """One chunk.  Raises Missing, Corrupt, Malformed, and what else the store raises."""
        return self._opener.open(ref, self._store.get(ref.cid))

    def later(self, ref: Ref) -> Chunk:
        """One chunk, soon."""
        if self.at_once:
            return Chunk(ref, self._crew.submit(self._store.get, ref.cid), self._opener.open)
        return Chunk(ref, self._crew.submit(self.open, ref), None)

    @contextlib.contextmanager
    def bundle(self, ref: Ref) -> Iterator[bytes]:
        """A bundle, to be written while it is held; recently used ones are kept, because files come in turns.

        Raises as `open`.
        """
        if not self.at_once:
            yield self._bundle(ref).take()
            return
        self._room.take(ref.size, wait=True)
        try:
            chunk = self._bundle(ref)
            chunk.wait()
            # Hundreds may be here at once, but no more are opened and written than there is somebody to do it.
            with self._turns:
                yield chunk.take()
        finally:
            self._room.give(ref.size)

    def _bundle(self, ref: Ref) -> Chunk:
        with self._lock:
            known = self._bundles.get(ref.digest)
            if known is not None:
                self._bundles.move_to_end(ref.digest)
                return known
            chunk = self._bundles[ref.digest] = self.later(ref)
            self._held += self._size(ref)
            while self._held > self._keep and len(self._bundles) > 1:
                _, last = self._bundles.popitem(last=False)
                self._held -= self._size(last.ref)
        return chunk

    def _size(self, ref: Ref) -> int:
        """The bytes that a chunk takes while it waits."""
        return ref.size if self.at_once else ref.length

    def stream(self, listed: Iterable[Ref]) -> Iterator[bytes]:
        """Chunks in order, with some under way ahead of the one that is taken."""
        under_way: deque[Chunk] = deque()
        try:
            for ref in listed:
                if not ref.length:
                    raise Malformed("list of chunks", "a chunk is empty")  # else a small tree never ends
                while len(under_way) >= self._ahead:
                    yield self._first(under_way)
                # The one that is needed next always has room: no stream waits for another.
                while not self._room.take(self._size(ref), force=not under_way):
                    yield self._first(under_way)
                under_way.append(self.later(ref))
            while under_way:
                yield self._first(under_way)
        finally:
            for chunk in under_way:
                chunk.drop()
                self._room.give(self._size(chunk.ref))

    def _first(self, under_way: deque[Chunk]) -> bytes:
        chunk = under_way.popleft()
        try:
            return chunk.take()
        finally:
            self._room.give(self._size(chunk.ref))

    def leaves(self, tree: Tree, lost: Lost | None = None) -> Iterator[Ref]:
        """The data refs below a tree; nodes that are damaged are told to `lost`, else raised.

        With `lost` the tree is an index, where nothing comes twice: one that says so ends there.
        """
        seen = SeenMarks()
        pending: list[tuple[Tree, Chunk | None]] = [(tree, None)]
        while pending:
            if self.at_once and pending[-1][0].depth:
                self._fetch_nodes(pending)
            one, chunk = pending.pop()
            if one.depth == 0:
                yield one.root
                continue
            if lost is not None and not seen.add(one.root.cid):
                lost(one.root, Malformed("index", f"node {one.root.cid} comes twice: forged"))
                return
            try:
                if not 0 <= one.depth <= MAX_DEPTH:
                    raise Malformed("tree of refs", f"depth {one.depth} is out of bounds")
                children = refs.split(self._node(one.root, chunk))
            except DAMAGE as error:
                if lost is None:
                    raise
                lost(one.root, error)
                continue
            pending += [(Tree(ref, one.depth - 1), None) for ref in reversed(children)]

    def _fetch_nodes(self, pending: list[tuple[Tree, Chunk | None]]) -> None:
        """Begin to fetch the nodes that come next, each of which would else cost its way there and back."""
        for at in range(max(0, len(pending) - _NODES_AHEAD), len(pending)):
            one, chunk = pending[at]
            if chunk is None and 0 < one.depth <= MAX_DEPTH:
                pending[at] = (one, self.later(one.root))

    def _node(self, ref: Ref, chunk: Chunk | None) -> bytes:
        packed = self.open(ref) if chunk is None else chunk.take()
        # With empty nodes a tree of six small blocks could be walked for ever and yield nothing.
        if not packed:
            raise Malformed("tree of refs", "a node is empty")
        return packed

    def pages(self, tree: Tree | None, lost: Lost | None = None) -> Iterator[Page]:
        """The index pages in order; damaged ones are told to `lost`, else raised."""
        if tree is None:
            return
        under_way: deque[tuple[Ref, Callable[[], Page]]] = deque()
        for ref in self._once(self.leaves(tree, lost), lost):
            under_way.append((ref, self._page_later(ref)))
            if len(under_way) >= self._pages_ahead:
                yield from _take(under_way, lost)
        while under_way:
            yield from _take(under_way, lost)

    def _page_later(self, ref: Ref) -> Callable[[], Page]:
        if self.at_once:
            chunk = self.later(ref)
            return lambda: index.decode(chunk.take())
        return self._crew.submit(lambda: index.decode(self.open(ref))).result

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


def _take(under_way: deque[tuple[Ref, Callable[[], Page]]], lost: Lost | None) -> Iterator[Page]:
    ref, take = under_way.popleft()
    try:
        page = take()
    except DAMAGE as error:
        if lost is None:
            raise
        lost(ref, error)
    else:
        yield page
