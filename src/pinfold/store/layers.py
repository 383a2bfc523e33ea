"""Stores around a store, each with the same face: read-only, counting, and trying again."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from pinfold.clock import SystemClock
from pinfold.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pinfold.clock import Clock
    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Block, Pin, PinStatus, Store, Usage

_T = TypeVar("_T")
_LONGEST_WAIT: Final = 60.0


class Layer:
    """Passes everything on.  Layers change what they are about and leave the rest to this."""

    def __init__(self, store: Store) -> None:
        """`store`: what lies below."""
        self._store = store

    @property
    def name(self) -> str:
        """The name of the store below."""
        return self._store.name

    @property
    def below(self) -> Store:
        """The store below: its optional powers are asked of it."""
        return self._store

    def session(self) -> AbstractContextManager[None]:
        """As the store below."""
        return self._store.session()

    def put(self, blocks: Iterable[Block]) -> int:
        """As the store below."""
        return self._store.put(blocks)

    def get(self, cid: CID) -> bytes:
        """As the store below."""
        return self._store.get(cid)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """As the store below."""
        return self._store.has(cids)

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """As the store below."""
        return self._store.pin(root, name, replaces=replaces)

    def unpin(self, roots: Iterable[CID]) -> None:
        """As the store below."""
        self._store.unpin(roots)

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """As the store below."""
        return self._store.pins(prefix)

    def status(self, root: CID) -> PinStatus:
        """As the store below."""
        return self._store.status(root)

    def usage(self) -> Usage:
        """As the store below."""
        return self._store.usage()

    def close(self) -> None:
        """Close the store below."""
        self._store.close()


class ReadOnly(Layer):
    """Lets nothing change: put, pin and unpin raise Refused."""

    def session(self) -> AbstractContextManager[None]:
        """Nothing to guard: nothing is written."""
        return nullcontext()

    def put(self, blocks: Iterable[Block]) -> int:
        """Raise Refused."""
        del blocks
        raise self._refusal()

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Raise Refused."""
        del root, name, replaces
        raise self._refusal()

    def unpin(self, roots: Iterable[CID]) -> None:
        """Raise Refused."""
        del roots
        raise self._refusal()

    def _refusal(self) -> Refused:
        return Refused(f"{self.name} is opened for reading only")


class Counting(Layer):
    """Counts calls, and blocks and bytes that went through."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = Lock()
        self.counts: Counter[str] = Counter()

    def _count(self, **steps: int) -> None:
        with self._lock:
            self.counts.update(steps)

    def put(self, blocks: Iterable[Block]) -> int:
        """Count `put`, and `blocks_put` and `bytes_put` as they pass."""
        self._count(put=1)
        return self._store.put(self._counted(blocks))

    def _counted(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for block in blocks:
            self._count(blocks_put=1, bytes_put=len(block[1]))
            yield block

    def get(self, cid: CID) -> bytes:
        """Count `get` and `bytes_got`."""
        block = self._store.get(cid)
        self._count(get=1, bytes_got=len(block))
        return block

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Count `has`."""
        self._count(has=1)
        return self._store.has(cids)

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Count `pin`."""
        self._count(pin=1)
        return self._store.pin(root, name, replaces=replaces)

    def unpin(self, roots: Iterable[CID]) -> None:
        """Count `unpin`."""
        self._count(unpin=1)
        self._store.unpin(roots)


class Retry(Layer):
    """Tries again what raised Unavailable: after `first` seconds, then twice that, up to a minute.

    Waits differ by chance, lest many clients come back at once.  A put is tried again with the batch
    it was at: it takes its blocks in batches of `batch` bytes, which stay in memory meanwhile.
    """

    def __init__(
        self,
        store: Store,
        *,
        attempts: int = 6,
        first: float = 0.5,
        batch: int = 16 << 20,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`attempts`: how often in all; `batch`: bytes; `sleep` takes seconds."""
        super().__init__(store)
        self._attempts = max(attempts, 1)
        self._first = first
        self._batch = batch
        self._clock = clock or SystemClock()
        self._sleep = sleep

    def _again(self, action: Callable[[], _T]) -> _T:
        for attempt in range(1, self._attempts):
            try:
                return action()
            except Unavailable:
                chance = 0.5 + int.from_bytes(self._clock.random(2), "big") / 0x1_0000
                self._sleep(min(self._first * 2 ** (attempt - 1) * chance, _LONGEST_WAIT))
        return action()

    def put(self, blocks: Iterable[Block]) -> int:
        """Put in batches, each tried again as a whole: put is idempotent.

        The next batch is gathered while one is under way, so that a slow store does not stop whoever makes the
        blocks.  What an attempt stored before it broke off does not count as new.
        """
        new = 0
        under_way: Future[int] | None = None
        with self._store.session(), ThreadPoolExecutor(1, thread_name_prefix="pinfold-put") as pool:
            for batch in _batches(blocks, self._batch):
                new += under_way.result() if under_way is not None else 0
                under_way = pool.submit(self._again, lambda batch=batch: self._store.put(batch))
            return new + (under_way.result() if under_way is not None else 0)

    def get(self, cid: CID) -> bytes:
        """Get, tried again."""
        return self._again(lambda: self._store.get(cid))

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Ask, tried again."""
        asked = list(cids)
        return self._again(lambda: self._store.has(asked))

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Pin, tried again."""
        return self._again(lambda: self._store.pin(root, name, replaces=replaces))

    def unpin(self, roots: Iterable[CID]) -> None:
        """Unpin, tried again."""
        gone = list(roots)
        self._again(lambda: self._store.unpin(gone))

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """List, tried again from the beginning."""
        return iter(self._again(lambda: list(self._store.pins(prefix))))

    def status(self, root: CID) -> PinStatus:
        """Ask, tried again."""
        return self._again(lambda: self._store.status(root))

    def usage(self) -> Usage:
        """Ask, tried again."""
        return self._again(self._store.usage)


def _batches(blocks: Iterable[Block], most: int) -> Iterator[list[Block]]:
    batch: list[Block] = []
    size = 0
    for block in blocks:
        batch.append(block)
        size += len(block[1])
        if size >= most:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def power(store: Store, protocol: type[_T]) -> _T | None:
    """The optional power `protocol` (Collects, ChecksAtRest, Heals) of `store` or of what its layers lie on."""
    held: object = store
    while not isinstance(held, protocol):
        if not isinstance(held, Layer) or isinstance(held, ReadOnly):
            return None
        held = held.below
    return held
