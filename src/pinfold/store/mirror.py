"""Several stores as one: every block and pin in each, and as many copies proved as were asked for.

A store that fails is set aside until the next session begins, and said so in `warnings`; work goes on
as long as `min_copies` stores are left.  One that did not answer is left alone for a minute even then: trying
again until there is no hope takes half a minute, and a run of many sources has many sessions.
What comes back is put right by the next writes: `has` answers only what every store that takes part holds,
a pin copies what one store lacks from the others, and reading heals what it finds damaged.

Where `max_copies` is less than there are stores, the first so many that are healthy take part, in the order
they were given; the others are spares.  An order that people wrote tells them where their copies are, and
a snapshot that builds on the last finds its blocks in the same places: a choice by hash would scatter both.
Stores that fetch (pinning services) are handed no blocks: they are told to pin when another store has proved.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from pinfold.clock import SystemClock
from pinfold.errors import Corrupt, Full, Incomplete, Missing, Refused, StoreError, Unavailable
from pinfold.store.copies import at_once, heal
from pinfold.store.feed import put_to_all
from pinfold.store.filling import SourceError, fill
from pinfold.store.layers import power
from pinfold.store.merging import collected, fullest, merged
from pinfold.store.seam import ChecksAtRest, Collected, Collects, CopyStatus, Fetches, Pin, PinState, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from pinfold.clock import Clock
    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Block, Store

_T = TypeVar("_T")
# Blocks a store merely lacks are put one by one while somebody reads; beyond this, that is replication's work.
_MOST_FILLED: Final = 1000
_MOST_TOLD: Final = 20


class _Failure(NamedTuple):
    """Why a store was set aside, and since when, by a clock that never goes back."""

    why: str
    since: float
    unanswered: bool


class Mirror:
    """Writes to all stores, reads from the first that has it good."""

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        min_copies: int | None = None,
        max_copies: int | None = None,
        absent: Mapping[str, str] | None = None,
        fills: bool = True,
        rest: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        """`min_copies`: how many stores must prove a pin; `max_copies`: how many shall hold it; all by default.

        `absent`: stores that belong here and could not be opened, with the reason of each; `fills`: whether
        reading also puts what a store lacks, and not only what it has damaged; `rest`: seconds that a store which
        did not answer is left alone.
        """
        self._rest = rest
        self._clock = clock or SystemClock()
        self._most_filled = _MOST_FILLED if fills else 0
        self._absent = dict(absent or {})
        self._all = len(stores) + len(self._absent)
        self._most = self._all if max_copies is None else min(max_copies, self._all)
        self._min = self._most if min_copies is None else min_copies
        if not 0 < self._min <= self._most:
            raise Refused(f"a mirror of {self._all} stores cannot keep {min_copies} copies, at most {self._most}")
        self._stores = list(stores)
        self._fetching = {id(store) for store in stores if power(store, Fetches) is not None}  # type: ignore[type-abstract]
        if stores and len(self._fetching) == len(stores):
            raise Refused(f"{self.name}: none of these stores takes blocks, they only fetch; add one that does")
        self._aside: dict[int, _Failure] = {}
        self._sessions = 0
        self._lock = Lock()
        self._healed: Counter[int] = Counter()
        self.warnings: list[str] = [
            f"{name} is left out for the rest of this session: {why}" for name, why in self._absent.items()
        ]

    @property
    def name(self) -> str:
        """All names."""
        return f"mirror({', '.join(store.name for store in self._stores)})"

    @property
    def healthy(self) -> list[Store]:
        """The stores that were not set aside, in their order."""
        return [store for store in self._stores if id(store) not in self._aside]

    @property
    def away(self) -> dict[str, str]:
        """The stores that were set aside or could not be opened, and why."""
        aside = {store.name: self._aside[id(store)].why for store in self._stores if id(store) in self._aside}
        return {**aside, **self._absent}

    @contextmanager
    def session(self) -> Iterator[None]:
        """Guard in every store; stores that were set aside are tried again."""
        with self._lock:
            if self._sessions == 0:
                self._aside = {store: failure for store, failure in self._aside.items() if self._rests(failure)}
            self._sessions += 1
        try:
            with ExitStack() as stack:
                self._each(lambda store: stack.enter_context(store.session()))
                yield
        finally:
            with self._lock:
                self._sessions -= 1

    def put(self, blocks: Iterable[Block]) -> int:
        """Put into every store that takes part at once.  Raises Full or Unavailable when too few took them."""
        taking = self._taking()
        if not taking or len(self.healthy) < self._min:
            raise self._too_few("are left to take blocks", [])
        feeds = put_to_all(taking, blocks)
        errors = [(feed.store, feed.error) for feed in feeds if isinstance(feed.error, StoreError)]
        self._judge(errors, among=len(feeds))
        if len(errors) == len(feeds) or len(self.healthy) < self._min:
            raise self._too_few("took the blocks", [error for _, error in errors])
        return max(feed.new for feed in feeds)

    def get(self, cid: CID) -> bytes:
        """From the first store that has it good; heals those asked before it that did not."""
        bad: list[tuple[Store, StoreError]] = []
        for store in self._reading():
            try:
                block = store.get(cid)
            except StoreError as failure:
                bad.append((store, failure))
                if not isinstance(failure, Missing | Corrupt) and id(store) not in self._fetching:
                    self._set_aside(store, failure)
                continue
            for other, error in bad:
                if isinstance(error, Missing | Corrupt):
                    self._heal(other, (cid, block), error)
            return block
        # A store that only fetches may have no gateway to read from: that it refuses says nothing of the block.
        told = [error for store, error in bad if not (id(store) in self._fetching and isinstance(error, Refused))]
        for kind in (Unavailable, Refused, Corrupt):
            for error in told:
                if isinstance(error, kind):
                    raise error
        raise Missing(cid, self.name)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that every store that takes part holds, so that a writer puts the rest.

        Raises Unavailable when none answers.  Whether any store holds a block, as a reader asks, is told by `copies`.
        """
        wanted = frozenset(cids)
        answers = self._each(lambda store: store.has(wanted), self._taking())
        if not answers:
            raise self._too_few("answered", [])
        return set(wanted.intersection(*(found for _, found in answers)))

    def copies(self) -> list[Store]:
        """The healthy stores that hold blocks themselves, each with copies of its own."""
        return [store for store in self.healthy if id(store) not in self._fetching]

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Pin in every store that takes part, spares in place of those that fail; what one lacks is copied to it.

        Raises when fewer than the copies asked for prove it, Incomplete where blocks are missing everywhere.
        Copies that do prove it stay pinned.
        """
        told: dict[int, PinStatus] = {}
        errors: list[tuple[Store, StoreError]] = []
        for fetching in (False, True):
            while (store := self._next(told, errors, fetching=fetching)) is not None:
                try:
                    told[id(store)] = self._pin_whole(store, root, name, replaces)
                except StoreError as error:
                    told[id(store)] = _failed(root, store.name, str(error))
                    errors.append((store, error))
            if not any(status.pinned for status in told.values()):
                break  # nowhere to fetch it from
        self._judge(errors, among=len(told))
        proved = sum(status.pinned > 0 for status in told.values())
        if proved < self._min:
            raise self._too_few(f"prove the pin of {root}", [error for _, error in errors])
        for store in self._stores:
            if id(store) in self._aside and id(store) not in told:
                told[id(store)] = _failed(root, store.name, self._aside[id(store)].why)
        in_order = [told[id(store)] for store in self._stores if id(store) in told]
        return merged(root, [*in_order, *self._away(root)], self._most)

    def unpin(self, roots: Iterable[CID]) -> None:
        """Unpin everywhere.  Raises Unavailable if a store did not: the pin would come back with it."""
        gone = list(roots)
        done = self._each(lambda store: store.unpin(gone), self._stores)
        if len(done) < self._all:
            raise Unavailable(f"not unpinned everywhere: {'; '.join(self._reasons())}")

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """The pins of all healthy stores, each root once."""
        answers = self._each(lambda store: list(store.pins(prefix)))
        if not answers:
            raise self._too_few("answered", [])
        found: dict[CID, Pin] = {}
        for _, pins in answers:
            for pin in pins:
                found.setdefault(pin.root, pin)
        return iter(sorted(found.values(), key=lambda pin: (pin.name, pin.root)))

    def status(self, root: CID) -> PinStatus:
        """The copies in all stores; a store that does not answer, or lately did not, counts as failed."""
        told: list[PinStatus] = []
        for store in self._stores:
            failure = self._aside.get(id(store))
            if failure is not None and self._rests(failure):
                told.append(_failed(root, store.name, failure.why))
                continue
            try:
                told.append(store.status(root))
            except StoreError as error:
                self._set_aside(store, error)
                told.append(_failed(root, store.name, str(error)))
        return merged(root, [*told, *self._away(root)], self._most)

    def usage(self) -> Usage:
        """The fullest of the stores that hold blocks: most used, least room."""
        found = self._each(lambda store: store.usage(), self.copies())
        if not found:
            raise self._too_few("answered", [])
        return fullest([usage for _, usage in found])

    def collect(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> Collected:
        """Collect in every store that can; the sums.  One that knows no rehearsal is left out of it, and told."""
        done: list[Collected] = []
        for store in self._stores:
            able = power(store, Collects)  # type: ignore[type-abstract]
            if able is None:
                continue
            try:
                done.append(able.collect(dry_run=dry_run, progress=progress))
            except Refused as error:
                if not dry_run or error.__cause__ is not None:
                    raise
                self.warnings.append(f"{store.name} is not counted: {error}")
        return collected(done)

    def check(self, progress: Callable[[int, int], None] | None = None) -> Iterator[tuple[str, str]]:
        """Check every store that can; each finding names its store.  Raises Refused where none can."""
        able = [(store, power(store, ChecksAtRest)) for store in self._stores]  # type: ignore[type-abstract]
        if all(one is None for _, one in able):
            raise Refused(f"none of the stores of {self.name} can check what it holds at rest")
        for store, one in able:
            for what, why in () if one is None else one.check(progress):
                yield what, why if store.name in why else f"{store.name}: {why}"

    def replace(self, block: Block) -> None:
        """Take this copy instead of those that are there, in every store that holds blocks."""
        block[0].verify(block[1], "the copy to heal with")
        if not self._each(lambda store: heal(store, block), self._taking()):
            raise self._too_few("took the block", [])

    def close(self) -> None:
        """Close every store."""
        with ExitStack() as stack:
            for store in self._stores:
                stack.callback(store.close)

    def _pin_whole(self, store: Store, root: CID, name: str, replaces: CID | None) -> PinStatus:
        """Pin in one store; what it lacks is copied from the others first."""
        try:
            return store.pin(root, name, replaces=replaces)
        except (Incomplete, Corrupt) as error:  # a node that is damaged is one that it lacks
            if id(store) in self._fetching:
                raise
            others = [other for other in self._reading() if other is not store and id(other) not in self._aside]
            many = max(map(at_once, others), default=1)
            with store.session():
                try:
                    count, size = fill(root, lambda cid: _from_any([*others, store], cid), store, at_once=many)
                except SourceError:
                    raise error from None  # nobody has it: whoever wanted it pinned must put it
                some = "1 block" if count == 1 else f"{count} blocks"
                self.warnings.append(f"{store.name} lacked {some} of {root}: {size} bytes copied to it")
                return store.pin(root, name, replaces=replaces)

    def _next(
        self, told: Mapping[int, PinStatus], errors: Sequence[tuple[Store, StoreError]], *, fetching: bool
    ) -> Store | None:
        """The next store to pin in, not tried yet: of those that take part, spares in place of those that failed."""
        part = self._part(without={id(store) for store, _ in errors})
        fitting = (store for store in part if (id(store) in self._fetching) is fetching)
        return next((store for store in fitting if id(store) not in told), None)

    def _part(self, without: Collection[int] = ()) -> list[Store]:
        """The healthy stores that shall hold copies, at least one of them such as takes blocks."""
        healthy = [store for store in self.healthy if id(store) not in without]
        part = healthy[: self._most]
        if part and all(id(store) in self._fetching for store in part):
            part[-1:] = [store for store in healthy if id(store) not in self._fetching][:1]
        return part

    def _taking(self) -> list[Store]:
        return [store for store in self._part() if id(store) not in self._fetching]

    def _reading(self) -> list[Store]:
        """All stores, those first that most likely have it."""
        part = {id(store) for store in self._part()}

        def rank(store: Store) -> tuple[bool, bool, bool]:
            return id(store) in self._aside, id(store) in self._fetching, id(store) not in part

        return sorted(self._stores, key=rank)

    def _away(self, root: CID) -> list[PinStatus]:
        return [_failed(root, name, why) for name, why in self._absent.items()]

    def _reasons(self) -> list[str]:
        return [why if why.startswith(name) else f"{name}: {why}" for name, why in self.away.items()]

    def _judge(self, errors: Sequence[tuple[Store, StoreError]], among: int) -> None:
        """Set aside the stores that failed.  What all of them refuse alike is the caller's fault: that is raised."""
        alike = len(errors) == among and len({type(error) for _, error in errors}) == 1
        if alike and not isinstance(errors[0][1], Full | Unavailable):
            raise errors[0][1]
        for store, error in errors:
            self._set_aside(store, error)

    def _rests(self, failure: _Failure) -> bool:
        return failure.unanswered and self._clock.monotonic() - failure.since < self._rest

    def _set_aside(self, store: Store, error: StoreError) -> None:
        with self._lock:
            if id(store) not in self._aside:
                self.warnings.append(f"{store.name} is left out for the rest of this session: {error}")
            now = self._clock.monotonic()
            self._aside[id(store)] = _Failure(str(error), now, unanswered=isinstance(error, Unavailable))

    def _each(self, action: Callable[[Store], _T], stores: list[Store] | None = None) -> list[tuple[Store, _T]]:
        """What `action` gave for each store that did not fail, the healthy ones by default; others are set aside."""
        done: list[tuple[Store, _T]] = []
        for store in self.healthy if stores is None else stores:
            try:
                done.append((store, action(store)))
            except StoreError as error:
                self._set_aside(store, error)
        return done

    def _heal(self, store: Store, block: Block, error: StoreError) -> None:
        if id(store) in self._fetching:
            return
        with self._lock:
            self._healed[id(store)] += 1
            count = self._healed[id(store)]
        if isinstance(error, Missing) and count > self._most_filled:
            return
        what = f"{store.name} held no good copy of {block[0]}"
        try:
            heal(store, block)
            told = f"{what}: healed from another store"
        except StoreError as failure:
            told = f"{what}, and could not be healed: {failure}"
        if count <= _MOST_TOLD:
            self.warnings.append(told)
        elif count == _MOST_TOLD + 1:
            self.warnings.append(f"{store.name} held no good copy of more blocks; see to it with: pinfold replicate")

    def _too_few(self, what: str, errors: Sequence[StoreError]) -> StoreError:
        reasons = "; ".join(self._reasons()) or "; ".join(map(str, errors))
        message = f"fewer than {self._min} of {self._all} stores {what}: {reasons}"
        return Full(message) if any(isinstance(error, Full) for error in errors) else Unavailable(message)


def _failed(root: CID, where: str, why: str) -> PinStatus:
    return PinStatus(root, (CopyStatus(where, PinState.FAILED, detail=why),))


def _from_any(stores: Sequence[Store], cid: CID) -> bytes:
    """The block from the first that has it good.  Raises Missing."""
    for store in stores:
        try:
            return store.get(cid)
        except StoreError:
            continue
    raise Missing(cid, ", ".join(store.name for store in stores))
