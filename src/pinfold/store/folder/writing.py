"""put: blocks in, cars out.  Each put writes a car of its own; cars go from put to put of a session.

Crash rule: what put has returned for is synced and indexed.  When it fails, the car is cut back to its
last whole section, or to what is indexed, so nothing torn stays behind.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from pinfold.clock import rfc3339
from pinfold.errors import Full, Refused, StoreError
from pinfold.ipld.cid import IDENTITY, SHA2_256
from pinfold.store.folder.cars import MAX_BLOCK, Appender
from pinfold.store.folder.layout import translated
from pinfold.store.folder.locks import lease

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from pinfold.clock import Clock
    from pinfold.store.folder.index import Index
    from pinfold.store.folder.layout import Layout
    from pinfold.store.folder.rows import Row
    from pinfold.store.seam import Block

_BATCH_BYTES: Final = 2 << 20
_BATCH_BLOCKS: Final = 512  # two pieces each: as many as one writev takes


class Writers:
    """The cars this process writes, and the leases of its sessions."""

    def __init__(self, layout: Layout, index: Index, clock: Clock) -> None:
        self._layout = layout
        self._index = index
        self._clock = clock
        self.token = clock.random(6).hex()
        self._lock = threading.Lock()
        self._idle: list[Appender] = []
        self._syncer: ThreadPoolExecutor | None = None
        self._sessions = self._entered = self._cars = 0

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold a lease; the last session to end seals the cars."""
        with self._lock:
            self._entered += 1
            self._sessions += 1
            first_car, number = self._cars, self._entered
        try:
            with lease(self._layout.writers, self.token, first_car, number):
                yield
        finally:
            with self._lock:
                self._sessions -= 1
                idle, self._idle = (self._idle, []) if self._sessions == 0 else ([], self._idle)
            self._finish(idle)

    def put(self, blocks: Iterable[Block]) -> int:
        """Store blocks; durable when it returns.  Returns the bytes of new ones."""
        with self.session(), self._writing() as writing:
            for batch, size in _batches(blocks):
                fresh = self._fresh(batch, writing.unsynced)
                if fresh:
                    writing.append(fresh, size)
            writing.commit()
            return writing.bytes

    def store_anew(self, blocks: Iterable[Block]) -> None:
        """Write blocks whether they are there or not, and let the index point to these copies."""
        with self.session(), self._writing() as writing:
            rows: list[Row] = []
            for batch, size in _batches(blocks):
                rows += writing.append(batch, size)
            writing.commit()
            self._index.point(rows)

    @contextmanager
    def _writing(self) -> Iterator[_Writing]:
        writing = _Writing(self)
        try:
            yield writing
        except BaseException:
            if writing.appender is not None:
                self._rescue(writing.appender)
            raise
        if writing.appender is not None:
            self._give_back(writing.appender)

    def _fresh(self, batch: list[Block], unsynced: set[bytes]) -> list[Block]:
        """Those of `batch` that are not stored yet, each once."""
        known = self._index.has(cid.digest for cid, _ in batch)
        fresh: dict[bytes, Block] = {}
        for block in batch:
            digest = block[0].digest
            if digest not in known and digest not in unsynced:
                fresh[digest] = block
        return list(fresh.values())

    def room(self, appender: Appender | None, size: int, count: int) -> Appender:
        """A car that takes so much more: this one, one that idles, or a new one."""
        if appender is None:
            with self._lock:
                appender = self._idle.pop() if self._idle else None
        if appender is not None and not appender.takes(size, count):
            appender.commit()
            self._finish([appender])
            appender = None
        return appender or self._begin()

    def _begin(self) -> Appender:
        with self._lock:
            number = self._cars
            self._cars += 1
            if self._syncer is None:
                self._syncer = ThreadPoolExecutor(1, thread_name_prefix="pinfold-sync")
            syncer = self._syncer
        when = rfc3339(self._clock.now())[:19].replace(":", "").replace("-", "")
        return Appender(self._layout.cars / f"{when}-{self.token}-{number:06}.car", self._index, syncer)

    def _rescue(self, appender: Appender) -> None:
        """After a failure: keep what can be made durable, else cut back to what is."""
        if appender.closed:
            return
        try:
            try:
                appender.commit()
            except (OSError, StoreError):
                appender.undo()
        except OSError:
            appender.was_cut = True
        if appender.was_cut:
            appender.close()  # recovery seals it
        else:
            self._give_back(appender)

    def _give_back(self, appender: Appender) -> None:
        with self._lock:
            if appender not in self._idle:
                self._idle.append(appender)

    def _finish(self, appenders: list[Appender]) -> None:
        for appender in appenders:
            # A full disk has no room for the listing; the blocks are safe, and the next opening seals.
            with suppress(Full), self.place():
                appender.finish()

    def place(self) -> AbstractContextManager[None]:
        """Where errors are told to have happened."""
        return translated(self._layout.cars)

    def close(self) -> None:
        """Seal what is open."""
        with self._lock:
            idle, self._idle = self._idle, []
            syncer, self._syncer = self._syncer, None
        self._finish(idle)
        if syncer is not None:
            syncer.shutdown()


class _Writing:
    """One put under way: the car it writes at the moment."""

    def __init__(self, writers: Writers) -> None:
        self._writers = writers
        self.appender: Appender | None = None
        self.bytes = 0

    @property
    def unsynced(self) -> set[bytes]:
        """Digests of what was written and is not in the index yet."""
        return self.appender.unsynced if self.appender is not None else set()

    def append(self, blocks: list[Block], size: int) -> list[Row]:
        """Write blocks of at most `size` bytes in all."""
        with self._writers.place():
            self.appender = self._writers.room(self.appender, size, len(blocks))
            rows = self.appender.append(blocks)
        self.bytes += sum(row.length for row in rows)
        return rows

    def commit(self) -> None:
        """Make all of it durable and known."""
        if self.appender is not None:
            with self._writers.place():
                self.appender.commit()


def _batches(blocks: Iterable[Block]) -> Iterator[tuple[list[Block], int]]:
    """Blocks in batches of a few MiB, with the bytes of each batch; identity CIDs left out."""
    batch: list[Block] = []
    size = 0
    for cid, block in blocks:
        if cid.hash_code != SHA2_256:
            if cid.hash_code == IDENTITY:
                continue
            raise Refused(f"only blocks named by sha2-256 are kept, not {cid}")
        if len(block) > MAX_BLOCK:
            raise Refused(f"block {cid} has {len(block)} bytes, more than {MAX_BLOCK}")
        batch.append((cid, block))
        size += len(block)
        if size >= _BATCH_BYTES or len(batch) == _BATCH_BLOCKS:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size
