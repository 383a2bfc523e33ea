"""Stores around a store, each with the same face: read-only, counting, and trying again."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeVar

from pinfold.clock import SystemClock
from pinfold.errors import Refused, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pinfold.clock import Clock
    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Block, Pin, PinStatus, Store, Usage

_T = TypeVar("_T")
_LONGEST_WAIT: Final = 60.0
# Seconds for which nobody needs to be told that somebody waits.
_UNTOLD: Final = 3.0
# How often a store is greeted on whose port nobody listens: more likely the address is wrong than the store late.
_GREETINGS: Final = 3


class Unreachable(Unavailable, Refused):
    """Nothing answers there, nor will it: no such name, no trust in its certificate, no TLS.  Not tried again."""


class NobodyListens(Unavailable):
    """The machine is there, and nobody listens on that port."""


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


class Unwritten(ABC):
    """The half of a store that writes, for one that can only be read: put, pin and unpin raise Refused."""

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

    @abstractmethod
    def _refusal(self) -> Refused: ...


class ReadOnly(Unwritten, Layer):
    """Lets nothing change: put, pin and unpin raise Refused."""

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

    Waits differ by chance, lest many clients come back at once.  What is Unreachable is not tried again, and
    where nobody listens only twice, unless the store answered before: then it may be starting anew.
    A put is tried again with the batch it was at: it takes its blocks in batches of `batch` bytes, which stay
    in memory meanwhile.
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
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """`attempts`: how often in all; `batch`: bytes; `sleep` takes seconds.

        `tell`: takes a line for people when a long wait begins, one for all calls that wait together.
        """
        super().__init__(store)
        self._attempts = max(attempts, 1)
        self._first = first
        self._batch = batch
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._tell = tell
        self._lock = Lock()
        self._answered = self._told = False

    def _again(self, action: Callable[[], _T]) -> _T:
        attempt = 0
        while True:
            attempt += 1
            try:
                done = action()
            except Unavailable as error:
                attempts = self._patience(error)
                if attempt >= attempts:
                    self._told = False
                    raise
                if attempt == 1:
                    self._warn(error, attempts)
            except StoreError:
                self._heard()
                raise
            else:
                self._heard()
                return done
            chance = 0.5 + int.from_bytes(self._clock.random(2), "big") / 0x1_0000
            self._sleep(min(self._first * 2 ** (attempt - 1) * chance, _LONGEST_WAIT))

    def _patience(self, error: Unavailable) -> int:
        """How many attempts an error is worth."""
        if isinstance(error, Unreachable):
            return 1
        if isinstance(error, NobodyListens) and not self._answered:
            return min(self._attempts, _GREETINGS)
        return self._attempts

    def _heard(self) -> None:
        """The store answered, if only by saying no."""
        self._answered, self._told = True, False

    def _warn(self, error: Unavailable, attempts: int) -> None:
        seconds = sum(min(self._first * 2**step, _LONGEST_WAIT) for step in range(attempts - 1))
        if self._tell is None or seconds < _UNTOLD:
            return
        with self._lock:
            known, self._told = self._told, True
        if not known:
            self._tell(f"{error}; trying again for {int(seconds)} s")

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
