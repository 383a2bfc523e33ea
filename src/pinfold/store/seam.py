"""What a store is: a place that holds blocks and pins.  The duties of both sides stand here.

Words: a *block* is bytes named by their CID; a *pin* is a root CID with a name, and keeps every
block below that root.  Whatever no pin reaches is garbage and may vanish at any time, except that
a store must not lose a block that was `put`, or confirmed by `has`, since `session()` was entered,
until that session ends.

Crash rule: blocks first, then the pin (docs/design.md, "The order of writing").  `pin` returns only
when the pin and everything below it would survive a power cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from pinfold.ipld.cid import CID

Block = tuple["CID", bytes]


class PinState(StrEnum):
    """How far a copy of a pin has come."""

    PINNED = "pinned"
    PINNING = "pinning"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Pin:
    """A root that is kept, under a name people can read."""

    root: CID
    name: str


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """One copy of one pin: `where` names the store or peer, `since` is RFC 3339 UTC or empty."""

    where: str
    state: PinState
    since: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PinStatus:
    """All copies of one pin.  `wanted`: how many must prove it for the root to be safe; None: all of them."""

    root: CID
    copies: tuple[CopyStatus, ...]
    wanted: int | None = None

    @property
    def pinned(self) -> int:
        """How many copies prove their pin."""
        return sum(copy.state is PinState.PINNED for copy in self.copies)

    @property
    def due(self) -> int:
        """How many copies must prove their pin."""
        return len(self.copies) if self.wanted is None else self.wanted

    @property
    def short(self) -> bool:
        """Whether fewer copies prove their pin than must."""
        return self.pinned < self.due


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes used; bytes the place can hold in all, or None where nobody knows."""

    used: int
    capacity: int | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """What a garbage collection did.  `waiting`: garbage bytes still held for running sessions."""

    freed_blocks: int
    freed_bytes: int
    live_blocks: int
    live_bytes: int
    waiting_bytes: int = 0


class Store(Protocol):
    """The seam.  Every method may be called from any thread.

    Errors: only those of `pinfold.errors` below StoreError (Missing, Corrupt, Incomplete, Full,
    Unavailable, Refused).  Callers need not retry: the retry layer does, on Unavailable only.
    """

    @property
    def name(self) -> str:
        """How people call this store: its REPO address without secrets."""

    def session(self) -> AbstractContextManager[None]:
        """Guard for a writer: entered before its first `has` or `put`, left after its last `pin`.

        While it is held, what the writer put or saw present is not collected.  Ends by itself
        when the process dies.
        """

    def put(self, blocks: Iterable[Block]) -> int:
        """Store blocks; durable when it returns.  Returns how many bytes were new.

        The iterable is consumed lazily and in order, and may be long: a store keeps only a bounded
        part of it in memory.  Idempotent: a block that is there already is skipped.  The caller
        warrants that bytes match their CID.  If the iterable raises, that error passes through,
        and what was taken before may or may not be stored.
        """

    def get(self, cid: CID) -> bytes:
        """The block's bytes, their hash checked before return.  Identity CIDs need no store.

        Raises Missing or Corrupt.
        """

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those of `cids` that are stored.  Cheap and offline: never asks the network."""

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Keep `root` and everything below it under `name`; proves every block is present.

        Below means: following dag-pb links; raw blocks have none.  A root has at most one name:
        pinning it again renames it.  Names need not be unique.  `replaces`: a root whose pin is
        dropped in the same step (and need not be looked at again, where that saves work); it is no
        error if it is not pinned.  Raises Incomplete with what is missing, and then pins nothing.
        A store of several peers returns as soon as enough of them prove it, or after its time with a
        status that is `short` and tells which peer lacks it; it raises Unavailable where none proves it.
        """

    def unpin(self, roots: Iterable[CID]) -> None:
        """Drop the pins of these roots.  Roots that are not pinned are passed over."""

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """Every pin whose name starts with `prefix`, ordered by name, then by root."""

    def status(self, root: CID) -> PinStatus:
        """Where `root` is pinned, copy by copy; a single ABSENT copy if nowhere."""

    def usage(self) -> Usage:
        """Space used and, where it is known, space there is."""

    def close(self) -> None:
        """Let go of files and connections.  Idempotent."""


@runtime_checkable
class Collects(Protocol):
    """A store that frees what no pin reaches when told to."""

    def collect(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> Collected:
        """Free garbage; safe beside running sessions.  `progress(done, total)` in blocks."""


@runtime_checkable
class ChecksAtRest(Protocol):
    """A store that can re-hash every block it holds."""

    def check(self, progress: Callable[[int, int], None] | None = None) -> Iterator[tuple[str, str]]:
        """Yield (what, why) for each damaged or lost thing, CIDs as text; nothing when whole."""


@runtime_checkable
class HasCopies(Protocol):
    """A store that keeps each block in several places, which can be looked at one by one."""

    def copies(self) -> list[Store]:
        """The places that answer."""


@runtime_checkable
class Heals(Protocol):
    """A store that can take a good copy over a damaged one."""

    def replace(self, block: Block) -> None:
        """Store `block` even though one of that name is there; durable when it returns."""


@runtime_checkable
class Far(Protocol):
    """A store behind a network: single questions are dear, many at once are cheap."""

    @property
    def at_once(self) -> int:
        """How many calls of `get` should be under way at the same time."""


@runtime_checkable
class Fetches(Protocol):
    """A store that takes no blocks: `pin` makes it fetch them from elsewhere.  Its `put` raises Refused."""

    @property
    def origins(self) -> tuple[str, ...]:
        """The multiaddresses or URLs it is told to fetch from."""


@runtime_checkable
class Named(Protocol):
    """A store that has no list of pins: whoever asks it must know the snapshot's root."""

    @property
    def roots(self) -> tuple[CID, ...]:
        """The roots of the snapshots that are asked about."""
