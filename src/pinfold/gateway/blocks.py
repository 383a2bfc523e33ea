"""Where answers take their blocks from: the store, and for stores far away some blocks ahead.

Of a store that is near nothing is fetched ahead: with one, two or four threads doing so CARs of 1 MiB blocks came no
faster through the server on two cores, and those of 4 KiB blocks at half the speed.

One `Supply` belongs to the gateway, one `Blocks` to each answer.  What answers hold of blocks that nobody has
asked for yet is bounded over all of them, so that many slow readers cannot fill the memory.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed, Unavailable
from pinfold.ipld.cid import CID, DAG_PB, IDENTITY
from pinfold.ipld.walk import SeenMarks
from pinfold.store.copies import at_once
from pinfold.store.crew import Crew
from pinfold.store.layers import ReadOnly

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from pinfold.store.seam import Store

# What a block may be at most in bytes on average for the bound to hold: pinfold's have this size or less.
_BLOCK: Final = 1 << 20
_MOST_AT_ONCE: Final = 64
_MET_BYTES: Final = 4 << 20
# Kubo writes 2 MiB at most; to read a megabyte of links takes 80 ms.
MOST_NODE: Final = 4 << 20
# Answers below this many CIDs are never refused for what others remember: 20,000 marks take half a megabyte.
_FREE_MARKS: Final = 20_000
_STEP: Final = 10_000
# Beyond so many streams none keeps a large block until its client has taken it: the rest is read again.  256 clients
# that stopped reading cost 330 MiB with whole blocks.  A near store reads 1 MiB in a millisecond.
_CROWD: Final = 64
_LARGE: Final = 768 << 10
_SLICE: Final = 512 << 10


class Supply:
    """The store behind a gateway, with the bounds that all answers share.  Thread-safe; `close` must be called."""

    def __init__(self, store: Store, held_bytes: int, remembered: int) -> None:
        """`held_bytes`: of blocks fetched ahead; `remembered`: CIDs that all CARs may remember together."""
        self.store = store
        # A store that is opened for reading only hides its powers, but how far it is takes nothing from that.
        many = at_once(store.below if isinstance(store, ReadOnly) else store)
        self.ahead = min(many, _MOST_AT_ONCE) if many > 1 else 0
        self._places = threading.BoundedSemaphore(max(1, held_bytes // _BLOCK))
        self._crew = Crew(max(1, self.ahead), "pinfold-gateway")
        self._lock = threading.Lock()
        self._marks = remembered
        self._streams = 0

    @property
    def crowded(self) -> bool:
        """Whether there are many streams, from a store that is near enough to be asked twice."""
        return self._streams > _CROWD and not self.ahead

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Count one stream."""
        with self._lock:
            self._streams += 1
        try:
            yield
        finally:
            with self._lock:
                self._streams -= 1

    def close(self) -> None:
        """Stop fetching."""
        self._crew.close()

    def later(self, cid: CID) -> Future[bytes] | None:
        """Fetch a block ahead; None where no place is free.  Whoever gets it calls `taken` when it is used."""
        return self._crew.submit(self.store.get, cid) if self._places.acquire(blocking=False) else None

    def taken(self) -> None:
        """Free the place of a block that was fetched ahead."""
        self._places.release()

    def lend_marks(self, count: int) -> None:
        """Take `count` from what may be remembered.  Raises Unavailable where they are not there."""
        with self._lock:
            if self._marks < count:
                raise Unavailable(
                    "too many different blocks are remembered for the CARs under way: "
                    "ask with car-dups=y, or for parts of the DAG"
                )
            self._marks -= count

    def return_marks(self, count: int) -> None:
        """Give back what was lent."""
        with self._lock:
            self._marks += count


class Blocks:
    """The blocks of one answer.  For one thread at a time; `close` must be called."""

    def __init__(self, supply: Supply) -> None:
        """`supply`: where they come from."""
        self._supply = supply
        self._met: dict[CID, bytes] = {}
        self._room = _MET_BYTES
        self._coming: dict[CID, Future[bytes]] = {}

    def get(self, cid: CID) -> bytes:
        """Return a block.  Raises what the store raises."""
        if cid.hash_code == IDENTITY:
            return cid.digest
        coming = self._coming.pop(cid, None)
        if coming is None:
            return self._supply.store.get(cid)
        try:
            return coming.result()
        finally:
            self._supply.taken()

    def meet(self, cid: CID) -> bytes:
        """Return a block of the way to the content, which is looked at several times: a few are kept.

        Raises Malformed for a node that takes too long to read, and what the store raises.
        """
        known = self._met.get(cid)
        if known is not None:
            return known
        block = self.get(cid)
        if cid.codec == DAG_PB and len(block) > MOST_NODE:
            raise Malformed("dag-pb node", f"{len(block)} bytes are more than {MOST_NODE}")
        if cid.hash_code != IDENTITY and len(block) <= self._room:
            self._room -= len(block)
            self._met[cid] = block
        return block

    def part(self, cid: CID) -> bytes:
        """Return a block for the last time, whether it was met on the way or not."""
        known = self._met.pop(cid, None)
        return known if known is not None else self.get(cid)

    def streaming(self) -> AbstractContextManager[None]:
        """To be held while this answer is a stream."""
        return self._supply.streaming()

    def is_spared(self, cid: CID, block: bytes) -> bool:
        """Whether a block should be sent by `in_slices`, and held by nobody meanwhile."""
        return len(block) >= _LARGE and cid.hash_code != IDENTITY and self._supply.crowded

    def in_slices(self, cid: CID, block: bytes) -> Iterator[bytes]:
        """A block in slices, for all but the first of them read again.  Raises what the store raises."""
        size, piece = len(block), block[:_SLICE]
        del block
        yield piece
        for at in range(_SLICE, size, _SLICE):
            piece = self._supply.store.get(cid)[at : at + _SLICE]
            yield piece

    def has(self, cid: CID) -> bool:
        """Whether the store holds a block; asks no network."""
        return cid.hash_code == IDENTITY or bool(self._supply.store.has([cid]))

    def expect(self, cids: Iterable[CID]) -> None:
        """Say what will be asked for next, the nearest first."""
        if len(self._coming) >= self._supply.ahead:
            return
        for cid in cids:
            if len(self._coming) >= self._supply.ahead:
                return
            if cid.hash_code == IDENTITY or cid in self._coming or cid in self._met:
                continue
            future = self._supply.later(cid)
            if future is None:
                return
            self._coming[cid] = future

    def close(self) -> None:
        """Let go of what was fetched ahead and never asked for."""
        self._met.clear()
        while self._coming:
            _, future = self._coming.popitem()
            if future.cancel():
                self._supply.taken()
            else:
                future.add_done_callback(lambda _: self._supply.taken())


class Seen:
    """Which CIDs one answer has sent, within what the gateway may remember.  `close` must be called."""

    def __init__(self, supply: Supply) -> None:
        """`supply`: who bounds it."""
        self._supply = supply
        self._marks = SeenMarks()
        self._free = _FREE_MARKS
        self._lent = 0

    def add(self, cid: CID) -> bool:
        """Remember `cid`; return whether it was new.  Raises Unavailable where too much is remembered."""
        if not self._marks.add(cid):
            return False
        self._free -= 1
        if not self._free:
            self._supply.lend_marks(_STEP)
            self._lent += _STEP
            self._free = _STEP
        return True

    def close(self) -> None:
        """Give back what was lent."""
        self._supply.return_marks(self._lent)
        self._lent = 0
        self._marks = SeenMarks()
