"""Upload: plaintext chunks in, blocks in the store, refs out; bounded, in parallel, in order.

    chunk() → workers: name, look up the tag, else seal → queue → one writer thread: store.has, store.put

BLAKE3, zstd, AES and SHA-256 release the interpreter's lock, so workers are threads.  At most three chunks
for each worker are under way, and QUEUE blocks wait for the writer.  The writer asks for all blocks that
wait at once, and takes the last snapshot's word for what it lists: over 50 ms of delay one question for each
chunk let 26 MB/s of touched files through, and this lets 79.
Crash rule: a ref given out means nothing until `flush` returned; only then may it be pinned.
"""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from pinfold.allocator import keep_buffers
from pinfold.errors import PinfoldError
from pinfold.ipld import CID
from pinfold.seal.box import TooLarge
from pinfold.seal.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pinfold.cache import Cache
    from pinfold.seal.box import Sealer
    from pinfold.sources.seam import Segments
    from pinfold.store.seam import Block, Store

QUEUE: Final = 16
# The writer asks the store for so many at once; they are let go one by one as they are put.
_ASKED_AT_ONCE: Final = 32
# put() returns, and so makes durable, at least this often: what a crash may cost.
BATCH_BYTES: Final = 256 << 20
_CHECK_ONE_IN: Final = 64
_MOST_CONFIRMED: Final = 200_000

_Item = tuple["CID", bytes, bool]
"""A block, and whether it counts as data."""


class Uploader:
    """One run's way into a store.  Used from one thread; `close` must be called."""

    def __init__(
        self,
        store: Store,
        sealer: Sealer,
        cache: Cache,
        *,
        check_all: bool = False,
        doubted: Callable[[bytes], bool] | None = None,
        believed: Callable[[bytes], bool] | None = None,
    ) -> None:
        """`check_all`: open every block again before it is let go, not one in 64.

        `doubted`: whether the block with this digest is put even where the store claims to have it.
        `believed`: whether a block that the cache knows is stored, for a store that is too far away to be
        asked for each one; what it does not tell is sealed, and asked for with others.
        """
        self._doubted = doubted
        self._believed = believed
        keep_buffers()
        self._store = store
        self._sealer = sealer
        self._cache = cache
        self._check_all = check_all
        workers = max(2, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pinfold-seal")
        self._most = 3 * workers
        self._slots = threading.BoundedSemaphore(self._most)
        self._queue: queue.Queue[_Item | threading.Event | None] = queue.Queue(QUEUE)
        self._lock = threading.Lock()
        self._confirmed: set[bytes] = set()
        self._sealed = 0
        self._failure: BaseException | None = None
        self.new_blocks = 0
        self.new_bytes = 0
        self._writer = threading.Thread(target=self._write, name="pinfold-write", daemon=True)
        self._writer.start()

    def chunk(self, data: bytes, *, edges: Sequence[int] = (), check: bool = False) -> Future[Segments]:
        """Seal and store a chunk; waits while too much is under way.  See `sources.seam.Sink`."""
        self._slots.acquire()
        try:
            self._raise_failure()
            return self._pool.submit(self._work, data, edges, check)
        except BaseException:
            self._slots.release()
            raise

    def block(self, cid: CID, data: bytes) -> None:
        """Store a public node as it is."""
        self._raise_failure()
        self._queue.put((cid, data, False))

    def flush(self) -> None:
        """Return when everything given so far is durable.  Raises what storing raised."""
        for _ in range(self._most):  # all of them: nothing is being sealed any more
            self._slots.acquire()
        self._slots.release(self._most)
        done = threading.Event()
        self._queue.put(done)
        done.wait()
        self._raise_failure()

    def close(self) -> None:
        """Stop; what was not flushed may be lost.  Idempotent."""
        self._pool.shutdown(cancel_futures=True)
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()

    def _raise_failure(self) -> None:
        failure = self._failure
        if isinstance(failure, PinfoldError):
            raise failure
        if failure is not None:
            raise PinfoldError(f"writing to {self._store.name} failed: {failure}") from failure

    def _work(self, data: bytes, edges: Sequence[int], check: bool) -> Segments:  # called by the pool
        try:
            try:
                return [(0, self._seal(data, check=check))]
            except TooLarge:
                return self._halve(data, 0, len(data), edges, check=check)
        finally:
            self._slots.release()

    def _halve(self, data: bytes, start: int, end: int, edges: Sequence[int], *, check: bool) -> Segments:
        inner = [edge for edge in edges if start < edge < end]
        if not inner:
            raise PinfoldError(f"a chunk of {end - start} bytes does not fit a block; this is a defect of pinfold")
        middle = min(inner, key=lambda edge: abs(2 * edge - start - end))
        segments: Segments = []
        for low, high in pairwise((start, middle, end)):
            try:
                segments.append((low, self._seal(data[low:high], check=check)))
            except TooLarge:
                segments += self._halve(data, low, high, edges, check=check)
        return segments

    def _seal(self, data: bytes, *, check: bool) -> Ref:
        tag, key = self._sealer.name(data)
        known = self._cache.tag(tag)
        if known is not None and self._is_stored(known[0]):
            return Ref.of(known[0], key, len(data), known[1])
        with self._lock:
            self._sealed += 1
            check = check or self._check_all or self._sealed % _CHECK_ONE_IN == 1
        ref, block = self._sealer.seal(data, key, check=check)
        with self._lock:
            twice = ref.digest in self._confirmed
            self._confirm(ref.digest)
        if not twice:
            self._queue.put((ref.cid, block, True))
        self._cache.add_tag(tag, ref.digest, len(block))
        return ref

    def _is_stored(self, digest: bytes) -> bool:
        """Whether the store has a block that the cache knows, or this run has given it to the writer."""
        with self._lock:
            if digest in self._confirmed:
                return True
        if self._is_doubted(digest):
            return False
        there = bool(self._store.has([CID.raw(digest)])) if self._believed is None else self._believed(digest)
        if there:
            with self._lock:
                self._confirm(digest)
        return there

    def _is_doubted(self, digest: bytes) -> bool:
        return self._doubted is not None and self._doubted(digest)

    def _confirm(self, digest: bytes) -> None:
        if len(self._confirmed) >= _MOST_CONFIRMED:
            self._confirmed.clear()
        self._confirmed.add(digest)

    def _write(self) -> None:
        """The writer thread: batches from the queue, until told to stop."""
        batch = _Batch(self._queue)
        while not batch.stopped:
            try:
                if self._failure is None:
                    self._store.put(self._missing(batch))
                else:
                    # Nobody waits for a full queue: what comes after a failure is let fall.
                    for _ in batch.groups():
                        pass
            except BaseException as error:  # noqa: BLE001  # it is raised again in the thread that feeds us
                self._failure = error
            else:
                batch.answer()
        batch.answer()

    def _missing(self, batch: _Batch) -> Iterator[Block]:
        """What of a batch the store lacks; data among it is counted."""
        for group in batch.groups():
            there = self._store.has([cid for cid, _, _ in group])
            group.reverse()
            while group:
                cid, block, counts = group.pop()
                # What hangs below a doubted node nobody told: in doubt all nodes are put.
                doubted = self._is_doubted(cid.digest) if counts else self._doubted is not None
                if cid in there and not doubted:
                    continue
                if counts:
                    self.new_blocks += 1
                    self.new_bytes += len(block)
                yield cid, block


class _Batch:
    """The blocks between two flushes."""

    def __init__(self, source: queue.Queue[_Item | threading.Event | None]) -> None:
        self._source = source
        self._waiting: threading.Event | None = None
        self.stopped = False

    def groups(self) -> Iterator[list[_Item]]:
        """What waits, again and again, until somebody waits for it, the batch is full, or it is time to stop."""
        size = 0
        while self._waiting is None and not self.stopped and size < BATCH_BYTES:
            group = self._group()
            size += sum(len(block) for _, block, _ in group)
            if group:
                yield group

    def _group(self) -> list[_Item]:
        """At least one block, if any is still to come before the end of the batch, and what waits behind it."""
        group: list[_Item] = []
        while len(group) < _ASKED_AT_ONCE:
            try:
                item = self._source.get(block=not group)
            except queue.Empty:
                break
            if item is None:
                self.stopped = True
                break
            if isinstance(item, threading.Event):
                self._waiting = item
                break
            group.append(item)
        return group

    def answer(self) -> None:
        """Tell whoever waits that the blocks before are durable, or failed."""
        if self._waiting is not None:
            self._waiting.set()
            self._waiting = None
