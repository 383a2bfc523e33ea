"""Several stores as one: every block and pin in each, and as many copies proved as were asked for.

A store that fails is set aside until the next session begins, and said so in `warnings`; work goes on
as long as `min_copies` stores are left.  What comes back is put right by the next writes: `has` answers
only what every healthy store holds, so the rest is put again, and reading heals what it finds damaged.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from pinfold.errors import Corrupt, Full, Missing, Refused, StoreError, Unavailable
from pinfold.store.feed import put_to_all
from pinfold.store.layers import power
from pinfold.store.seam import Collected, Collects, CopyStatus, Heals, Pin, PinState, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Block, Store

_T = TypeVar("_T")


class Mirror:
    """Writes to all stores, reads from the first that has it good."""

    def __init__(
        self, stores: Sequence[Store], *, min_copies: int | None = None, absent: Mapping[str, str] | None = None
    ) -> None:
        """`min_copies`: how many stores must prove a pin; all of them by default.

        `absent`: stores that belong here and could not be opened, with the reason of each.
        """
        self._absent = dict(absent or {})
        self._all = len(stores) + len(self._absent)
        self._min = self._all if min_copies is None else min_copies
        if not 0 < self._min <= self._all:
            raise Refused(f"a mirror of {self._all} stores cannot keep {min_copies} copies")
        self._stores = list(stores)
        self._aside: dict[int, str] = {}
        self._sessions = 0
        self._lock = Lock()
        self.warnings: list[str] = [
            f"{name} is left out for the rest of this session: {why}" for name, why in self._absent.items()
        ]

    @property
    def name(self) -> str:
        """All names."""
        return f"mirror({', '.join(store.name for store in self._stores)})"

    @contextmanager
    def session(self) -> Iterator[None]:
        """Guard in every store; stores that were set aside are tried again."""
        with self._lock:
            if self._sessions == 0:
                self._aside.clear()
            self._sessions += 1
        try:
            with ExitStack() as stack:
                self._each(lambda store: stack.enter_context(store.session()))
                yield
        finally:
            with self._lock:
                self._sessions -= 1

    def put(self, blocks: Iterable[Block]) -> int:
        """Put into every healthy store at once.  Raises Full or Unavailable when too few took them."""
        if len(self._healthy()) < self._min:
            raise self._too_few("are left to take blocks", [])
        feeds = put_to_all(self._healthy(), blocks)
        errors = [(feed.store, feed.error) for feed in feeds if isinstance(feed.error, StoreError)]
        self._judge(errors, among=len(feeds))
        if len(feeds) - len(errors) < self._min:
            raise self._too_few("took the blocks", [error for _, error in errors])
        return max(feed.new for feed in feeds)

    def get(self, cid: CID) -> bytes:
        """From the first store that has it good; heals those asked before it that did not."""
        bad: list[Store] = []
        errors: list[StoreError] = []
        for store in sorted(self._stores, key=lambda store: id(store) in self._aside):
            try:
                block = store.get(cid)
            except (Missing, Corrupt) as error:
                bad.append(store)
                errors.append(error)
            except StoreError as error:
                self._set_aside(store, error)
                errors.append(error)
            else:
                for other in bad:
                    self._heal(other, (cid, block))
                return block
        for kind in (Unavailable, Refused, Corrupt):
            for failure in errors:
                if isinstance(failure, kind):
                    raise failure
        raise Missing(cid, self.name)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that every healthy store holds, so that a writer puts the rest.  Raises Unavailable when none answers.

        Whether any store holds a block, as a reader asks, is told by `copies`.
        """
        wanted = frozenset(cids)
        answers = self._enough("answered", lambda store: store.has(wanted), least=1)
        return set(wanted.intersection(*(found for _, found in answers)))

    def copies(self) -> list[Store]:
        """The healthy stores, each with copies of its own."""
        return self._healthy()

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Pin in every healthy store.  Raises when fewer than the copies asked for prove it.

        Incomplete where blocks are missing everywhere.  Copies that do prove it stay pinned.
        """
        copies: list[CopyStatus] = []
        errors: list[tuple[Store, StoreError]] = []
        for store in self._stores:
            if id(store) in self._aside:
                copies.append(CopyStatus(store.name, PinState.FAILED, detail=self._aside[id(store)]))
                continue
            try:
                copies += store.pin(root, name, replaces=replaces).copies
            except StoreError as error:
                errors.append((store, error))
                copies.append(CopyStatus(store.name, PinState.FAILED, detail=str(error)))
        copies += self._away()
        status = PinStatus(root, tuple(copies))
        self._judge(errors, among=len(self._healthy()))
        if status.pinned < self._min:
            raise self._too_few(f"prove the pin of {root}", [error for _, error in errors])
        return status

    def unpin(self, roots: Iterable[CID]) -> None:
        """Unpin everywhere.  Raises Unavailable if a store did not: the pin would come back with it."""
        gone = list(roots)
        done = self._each(lambda store: store.unpin(gone), everyone=True)
        if len(done) < self._all:
            raise Unavailable(f"not unpinned everywhere: {'; '.join(self._reasons())}")

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """The pins of all healthy stores, each root once."""
        found: dict[CID, Pin] = {}
        for _, pins in self._enough("answered", lambda store: list(store.pins(prefix)), least=1):
            for pin in pins:
                found.setdefault(pin.root, pin)
        return iter(sorted(found.values(), key=lambda pin: (pin.name, pin.root)))

    def status(self, root: CID) -> PinStatus:
        """The copies in all stores; a store that does not answer counts as failed."""
        copies: list[CopyStatus] = []
        for store in self._stores:
            try:
                copies += store.status(root).copies
            except StoreError as error:
                copies.append(CopyStatus(store.name, PinState.FAILED, detail=str(error)))
        return PinStatus(root, (*copies, *self._away()))

    def usage(self) -> Usage:
        """The fullest store: most used, least room."""
        found = [usage for _, usage in self._enough("answered", lambda store: store.usage(), least=1)]
        rooms = [usage.capacity - usage.used for usage in found if usage.capacity is not None]
        used = max(usage.used for usage in found)
        return Usage(used, used + min(rooms) if rooms else None)

    def collect(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> Collected:
        """Collect in every store that can; the sums of all."""
        total = Collected(0, 0, 0, 0)
        for store in self._stores:
            able = power(store, Collects)  # type: ignore[type-abstract]
            if able is not None:
                one = able.collect(dry_run=dry_run, progress=progress)
                total = Collected(
                    total.freed_blocks + one.freed_blocks,
                    total.freed_bytes + one.freed_bytes,
                    total.live_blocks + one.live_blocks,
                    total.live_bytes + one.live_bytes,
                    total.waiting_bytes + one.waiting_bytes,
                )
        return total

    def close(self) -> None:
        """Close every store."""
        with ExitStack() as stack:
            for store in self._stores:
                stack.callback(store.close)

    def _away(self) -> list[CopyStatus]:
        return [CopyStatus(name, PinState.FAILED, detail=f"{name}: {why}") for name, why in self._absent.items()]

    def _reasons(self) -> list[str]:
        return [*self._aside.values(), *(f"{name}: {why}" for name, why in self._absent.items())]

    def _healthy(self) -> list[Store]:
        return [store for store in self._stores if id(store) not in self._aside]

    def _judge(self, errors: Sequence[tuple[Store, StoreError]], among: int) -> None:
        """Set aside the stores that failed.  What all of them refuse alike is the caller's fault: that is raised."""
        alike = len(errors) == among and len({type(error) for _, error in errors}) == 1
        if alike and not isinstance(errors[0][1], Full | Unavailable):
            raise errors[0][1]
        for store, error in errors:
            self._set_aside(store, error)

    def _set_aside(self, store: Store, error: StoreError) -> None:
        with self._lock:
            if id(store) not in self._aside:
                self._aside[id(store)] = f"{store.name}: {error}"
                self.warnings.append(f"{store.name} is left out for the rest of this session: {error}")

    def _each(self, action: Callable[[Store], _T], *, everyone: bool = False) -> list[tuple[Store, _T]]:
        """What `action` gave for each store that did not fail; those that did are set aside."""
        done: list[tuple[Store, _T]] = []
        for store in self._stores if everyone else self._healthy():
            try:
                done.append((store, action(store)))
            except StoreError as error:
                self._set_aside(store, error)
        return done

    def _enough(self, what: str, action: Callable[[Store], _T], least: int | None = None) -> list[tuple[Store, _T]]:
        done = self._each(action)
        if len(done) < (least or self._min):
            raise self._too_few(what, [])
        return done

    def _heal(self, store: Store, block: Block) -> None:
        able = power(store, Heals)  # type: ignore[type-abstract]
        try:
            if able is not None:
                able.replace(block)
                self.warnings.append(f"{store.name} held no good copy of {block[0]}: healed from another store")
        except StoreError as error:
            self.warnings.append(f"{store.name} holds no good copy of {block[0]} and could not be healed: {error}")

    def _too_few(self, what: str, errors: Sequence[StoreError]) -> StoreError:
        reasons = "; ".join(self._reasons()) or "; ".join(map(str, errors))
        message = f"fewer than {self._min} of {self._all} stores {what}: {reasons}"
        return Full(message) if any(isinstance(error, Full) for error in errors) else Unavailable(message)
