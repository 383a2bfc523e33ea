"""Replication: what one store of a repository has pinned and another lacks goes there, and nothing else.

A repository has a *main* store, whose pins are what there shall be.  What another store has pinned beyond that
may have been forgotten while that store was away, so it is told and never brought back; save for snapshots
newer than the main store's newest of their source: retention always keeps the newest, so those were made
while the main store was away.  Nothing is unpinned either, but the older root of a snapshot whose keys changed.
Crash rule: blocks, then the pin, snapshot by snapshot; a run that was killed goes on from what is there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pinfold import catalogue, snapshot
from pinfold.catalogue import Listed
from pinfold.errors import Corrupt, Full, Incomplete, KeyFailure, Malformed, Refused, StoreError, Unavailable
from pinfold.ipld.walk import SeenMarks
from pinfold.store import MemoryStore
from pinfold.store.copies import at_once
from pinfold.store.filling import SourceError, fill, lacking
from pinfold.store.layers import power
from pinfold.store.mirror import Mirror
from pinfold.store.seam import Fetches, Named, Pin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from pinfold.ipld import CID
    from pinfold.seal.keyring import Keyring
    from pinfold.store.seam import Block, PinStatus, Store

# Marks take up to 43 bytes each; beyond so many they are made anew from the last snapshot that went over.
_MOST_MARKS: Final = 2_000_000
NOT_TRIED: Final = "not tried"
_CHECKPOINT: Final = "checkpoint"
_ENDS: Final = (Full, Unavailable, Refused)
"""What a store says once and will say of the next pin, too."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pin that every store shall have.  `added`: bytes that were new when it was made; `whole`: all its bytes.

    `id` names a snapshot whatever its keyring, and is empty for a keyring that stands alone.
    """

    root: CID
    name: str
    source: str = ""
    finished: str = ""
    id: str = ""
    added: int = 0
    whole: int = 0


@dataclass(slots=True)
class Done:
    """What became of one pin: `blocks` and `bytes` that went over, or would; `error` is empty where all is well."""

    pin: Wanted
    blocks: int = 0
    bytes: int = 0
    error: str = ""


@dataclass(slots=True)
class Report:
    """What became of one store.  `beyond`: pins it has and the main store has not; `stopped`: why no more was tried."""

    store: str
    done: list[Done] = field(default_factory=list)
    beyond: list[Pin] = field(default_factory=list)
    stopped: str = ""

    @property
    def blocks(self) -> int:
        """Blocks that went over."""
        return sum(one.blocks for one in self.done)

    @property
    def bytes(self) -> int:
        """Bytes that went over."""
        return sum(one.bytes for one in self.done)

    @property
    def failed(self) -> list[Done]:
        """What the store still lacks."""
        return [one for one in self.done if one.error]


class Progress(Protocol):
    """Hears how far the work on one store has come."""

    def total(self, total: int, /) -> None:
        """About so many bytes in all."""

    def add(self, done: int, /) -> None:
        """So many more bytes were read and handed over."""


class _Silent:
    def total(self, total: int, /) -> None:
        """Nobody looks."""

    def add(self, done: int, /) -> None:
        """Nobody looks."""


def parted(store: Store) -> tuple[list[Store], dict[str, str]]:
    """The stores that a store consists of, itself if it is one; and those that are away, with why."""
    return (store.healthy, store.away) if isinstance(store, Mirror) else ([store], {})


class Replication:
    """One repository in several stores.  `unreachable`: those of them that did not answer, and why."""

    def __init__(self, repository: str, sources: Sequence[Store], *, dry_run: bool = False) -> None:
        """`sources`: what is read; the first that answers is the main store.

        Reads their pin lists; what has none, as a gateway, gives the snapshots it is asked about and the newest
        of their keyrings.  Raises Unavailable where none answers, Refused where none holds blocks or there is nothing
        to go by, and what reading the snapshots of a gateway raises.
        """
        self._repository = repository
        self.dry_run = dry_run
        self._prefix = f"{catalogue.PREFIX}{repository}/"
        self.unreachable: dict[str, str] = {}
        lists: list[list[Pin]] = []
        self.sources: list[Store] = []
        for one in sources:
            try:
                lists.append(list(catalogue.pins(one, self._prefix)))
                self.sources.append(one)
            except StoreError as error:
                self.unreachable[one.name] = str(error)
        if not lists:
            raise Unavailable("; ".join(self.unreachable.values()) or "there is no store to read from")
        self._holding = [one for one in self.sources if power(one, Fetches) is None]  # type: ignore[type-abstract]
        if not any(lists) and power(self.sources[0], Named) is not None:  # type: ignore[type-abstract]
            raise Refused(
                f"{self.sources[0].name} has no list of pins, so nobody can tell what there shall be: name the"
                " snapshot by its whole CID, or as ?root=CID behind the address"
            )
        if not any(catalogue.keyring_sequence(pin) >= 0 for pins in lists for pin in pins):
            self._unpack_keyring(lists)
        self._from = self._reading()
        self._readers = [self._from]
        self._bad: dict[CID, str] = {}
        self._known: dict[CID, Wanted] = {}
        self._main = {pin.root for pin in lists[0]}
        self.wanted = self._wanted(lists)

    @property
    def warnings(self) -> list[str]:
        """What happened while blocks were read: what was healed, which source went away."""
        return [line for reader in self._readers for line in reader.warnings]

    def _unpack_keyring(self, lists: list[list[Pin]]) -> None:
        """A gateway shows no keyring that stands alone: the newest of those in its snapshots is made to."""
        named = (number for number, one in enumerate(self.sources) if power(one, Named) is not None and lists[number])  # type: ignore[type-abstract]
        number = next(named, None)
        if number is None:
            return
        keyring = catalogue.newest_keyring(self.sources[number], self._repository)
        alone = MemoryStore("keyring")
        blocks: list[Block] = []
        root = snapshot.write_keyring(keyring, lambda *block: blocks.append(block))
        alone.put(blocks)
        alone.pin(root, catalogue.keyring_pin(keyring))
        lists[number] += alone.pins()
        self._holding.insert(0, alone)

    def _reading(self, target: Store | None = None) -> Mirror:
        """All sources, to be read from the first that has a block good; from the target itself at last."""
        sources = [one for one in self._holding if target is None or one.name != target.name]
        if target is not None and power(target, Fetches) is None:  # type: ignore[type-abstract]
            sources.append(target)
        if not sources:
            raise Refused("there is no store to read blocks from: name one with --from REPO")
        return Mirror(sources, min_copies=1, fills=False)

    def bring(self, target: Store, chosen: Collection[CID] | None = None, progress: Progress | None = None) -> Report:
        """Bring one store up to date, the newest snapshots first.  Raises what its pin list raises.

        `chosen`: only these snapshots and the keyring, whatever the store says it has pinned: each is proved anew.
        """
        hearing = progress or _Silent()
        there = list(target.pins(self._prefix))
        report = Report(target.name, beyond=self._beyond(there))
        held = {pin.root for pin in there}
        if chosen is None:
            lacked = [pin for pin in self.wanted if pin.root not in held]
        else:
            lacked = [pin for pin in self.wanted if pin.root in chosen or not (pin.source or pin.root in held)]
        lacked = self._verified(lacked, report)
        if not lacked:
            return report
        reader = self._reading(target)
        self._readers.append(reader)
        work = _Bringing(reader, target, there, dry_run=self.dry_run, progress=hearing)
        work.assume(pin for pin in self.wanted if pin.root in held and chosen is None)
        left = work.estimates(lacked)
        for number, pin in enumerate(lacked):
            hearing.total(work.bytes + sum(left[number:]))
            done = Done(pin)
            report.done.append(done)
            report.stopped = work.one(done)
            if report.stopped:
                report.done += [Done(other, error=NOT_TRIED) for other in lacked[number + 1 :]]
                break
        return report

    def _wanted(self, lists: list[list[Pin]]) -> list[Wanted]:
        """What there shall be: the main store's pins, and what is newer than them elsewhere."""
        newest: dict[str, str] = {}
        wanted: dict[str, Wanted] = {}
        for number, pins in enumerate(lists):
            for pin in pins:
                made = self._described(pin)
                if made is None:
                    continue
                if number == 0:
                    newest[made.source] = max(newest.get(made.source, ""), made.finished)
                elif made.name in wanted:
                    if made.root != wanted[made.name].root and self._sequence(made) > self._sequence(wanted[made.name]):
                        wanted[made.name] = made  # its keys were changed while the main store was away
                    continue
                elif made.finished <= newest.get(made.source, ""):
                    continue
                wanted[made.name] = made
        # Of the keyrings the last one only: an older one, which a change of keys dropped, is not to come back.
        keyrings = sorted((pin.finished, name) for name, pin in wanted.items() if not pin.source)
        for _, name in keyrings[:-1]:
            del wanted[name]
        return self._in_order(wanted.values())

    def _described(self, pin: Pin) -> Wanted | None:
        """A snapshot, or a keyring, whose sequence stands for its time; None for checkpoints and other pins."""
        listed = Listed.of(pin)
        if listed is not None:
            return None if listed.kind == _CHECKPOINT else Wanted(pin.root, pin.name, listed.source, listed.finished)
        sequence = catalogue.keyring_sequence(pin)
        return None if sequence < 0 else Wanted(pin.root, pin.name, "", f"{sequence:020}")

    def _sequence(self, pin: Wanted) -> int:
        """The sequence of a snapshot's keyring; -1 where it cannot be read."""
        try:
            return snapshot.load(pin.root, self._from.get).keyring.sequence
        except (StoreError, Malformed, KeyFailure):
            return -1

    @staticmethod
    def _in_order(pins: Iterable[Wanted]) -> list[Wanted]:
        """Keyrings first, then the newest snapshot of each source, then the second of each, and so on.

        Whatever cuts a long replication short, the target then holds what will most likely be wanted.
        """
        ranks: dict[str, int] = {}
        ordered: list[tuple[bool, int, Wanted]] = []
        for pin in sorted(pins, key=lambda pin: (pin.finished, pin.name), reverse=True):
            ranks[pin.source] = ranks.get(pin.source, -1) + 1
            ordered.append((pin.source != "", ranks[pin.source], pin))
        return [pin for _, _, pin in sorted(ordered, key=lambda one: one[:2])]

    def _beyond(self, there: Iterable[Pin]) -> list[Pin]:
        """What a store has pinned and should not any more; the older roots of re-rooted snapshots are seen to."""
        roots = {pin.name: pin.root for pin in self.wanted}
        held = {pin.root for pin in there}
        found = (pin for pin in there if pin.root not in self._main and self._described(pin) is not None)
        # An older root that still stands alone is replaced by the newer one.
        return [pin for pin in found if pin.root != roots.get(pin.name) and roots.get(pin.name, pin.root) in held]

    def _verified(self, pins: list[Wanted], report: Report) -> list[Wanted]:
        """Those that are what their pins say, signed by who may sign, with what they tell of their sizes."""
        fresh = [pin for pin in pins if pin.source and pin.root not in self._known and pin.root not in self._bad]
        if fresh:
            keyring = catalogue.newest_keyring(self._from, self._repository)
            with ThreadPoolExecutor(max(4, at_once(self._from)), thread_name_prefix="pinfold-headers") as pool:
                for _ in pool.map(lambda pin: self._look(pin, keyring), fresh):
                    pass
        report.done += [Done(pin, error=self._bad[pin.root]) for pin in pins if pin.root in self._bad]
        return [self._known.get(pin.root, pin) for pin in pins if pin.root not in self._bad]

    def _look(self, pin: Wanted, keyring: Keyring) -> None:
        try:
            listed = Listed.of(Pin(pin.root, pin.name))
            made = catalogue.load(listed, self._from, keyring) if listed else snapshot.load(pin.root, self._from.get)
        except (StoreError, Malformed, KeyFailure) as error:
            self._bad[pin.root] = str(error)
            return
        header = made.header
        self._known[pin.root] = Wanted(
            pin.root, pin.name, pin.source, pin.finished, str(made.id), header.new_bytes, header.blocks_bytes
        )


class _Bringing:
    """The way of pins into one store."""

    def __init__(self, source: Store, target: Store, there: list[Pin], *, dry_run: bool, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._at_once = at_once(source)
        self._dry_run = dry_run
        self._progress = progress
        self._fetches = power(target, Fetches) is not None  # type: ignore[type-abstract]
        self._by_name = {pin.name: pin.root for pin in there}
        self._whole: dict[str, CID] = {}
        self._seen = SeenMarks()
        self._marked: set[str] = set()
        self.bytes = 0

    def assume(self, pins: Iterable[Wanted]) -> None:
        """These are pinned in the target, the newest of each source first: the walk can pass over them."""
        for pin in pins:
            if pin.source:
                self._whole.setdefault(pin.source, pin.root)

    def estimates(self, pins: Sequence[Wanted]) -> list[int]:
        """About how many bytes each takes, by what the headers tell; newer ones of a source come before older.

        The first takes all of it, or what was added since the target's own last.  The next has beyond the one
        before what was dropped between them: its bytes without those that the later one kept.
        """
        added: dict[str, int] = {}
        for pin in pins:
            added[pin.source] = added.get(pin.source, 0) + pin.added
        newer: dict[str, Wanted] = {}
        found: list[int] = []
        for pin in pins:
            later = newer.get(pin.source)
            if later is not None:
                found.append(min(pin.whole, max(0, pin.whole - (later.whole - later.added))))
            else:
                found.append(min(pin.whole, added[pin.source]) if pin.source in self._whole else pin.whole)
            newer[pin.source] = pin
        return found

    def one(self, done: Done) -> str:
        """Bring one pin over; returns why the target takes no more, or nothing."""
        pin = done.pin
        if self._fetches or self._dry_run:
            return self._without_blocks(done)
        try:
            with self._target.session():
                status = self._brought(done)
        except SourceError as error:
            done.error = str(error)
            self._forget()
        except StoreError as error:
            done.error = str(error)
            self._forget()
            return str(error) if isinstance(error, _ENDS) else ""
        else:
            done.error = _shortness(status)
            self._whole[pin.source] = pin.root
        return ""

    def _without_blocks(self, done: Done) -> str:
        try:
            if not self._dry_run:
                done.error = _shortness(self._target.pin(done.pin.root, done.pin.name))
            elif not self._fetches:
                self._mark(done.pin.source)
                for lack in lacking(done.pin.root, self._source.get, self._target.has, self._seen, self._at_once):
                    done.blocks += 1
                    done.bytes += lack.size
        except (StoreError, Malformed) as error:
            done.error = str(error)
            self._forget()
            return str(error) if isinstance(error, _ENDS) else ""
        return ""

    def _brought(self, done: Done) -> PinStatus:
        """Blocks, then the pin; once more from the beginning where the target lacks what its pins should keep."""
        pin = done.pin
        self._mark(pin.source)
        self._move(done)
        older = self._older_root(pin)
        try:
            return self._target.pin(pin.root, pin.name, replaces=older)
        except (Incomplete, Corrupt):
            self._forget()
            self._move(done)
        return self._target.pin(pin.root, pin.name, replaces=older)

    def _move(self, done: Done) -> None:
        def moved(size: int) -> None:
            done.blocks += 1
            done.bytes += size
            self.bytes += size
            self._progress.add(size)

        if len(self._seen) > _MOST_MARKS:
            self._seen, self._marked = SeenMarks(), set()
            self._mark(done.pin.source)
        fill(done.pin.root, self._source.get, self._target, self._seen, at_once=self._at_once, progress=moved)

    def _older_root(self, pin: Wanted) -> CID | None:
        """The root under which the target has the same snapshot, from before its keys were changed."""
        older = self._by_name.get(pin.name)
        if older is None or older == pin.root or not pin.id:
            return None
        try:
            return older if str(snapshot.load(older, self._target.get).id) == pin.id else None
        except (StoreError, Malformed, KeyFailure):
            return None  # what cannot be read is left to who can tell what it is

    def _mark(self, source: str) -> None:
        """Know what the newest snapshot of a source keeps in the target; what cannot be read saves nothing."""
        if source in self._marked or source not in self._whole:
            return
        self._marked.add(source)
        try:
            for _ in lacking(self._whole[source], self._source.get, set, self._seen, self._at_once):
                pass
        except (StoreError, Malformed):
            return

    def _forget(self) -> None:
        """Believe nothing of what was marked: not all of it may have come over."""
        self._seen = SeenMarks()
        self._marked = set(self._whole)  # nor mark it again


def _shortness(status: PinStatus) -> str:
    """What is to be said of a pin that too few peers prove."""
    if not status.short:
        return ""
    lacking_copies = [f"{copy.where} {copy.state.value}" for copy in status.copies if copy.state.value != "pinned"]
    return f"{status.pinned} of {status.due} copies prove it: {', '.join(lacking_copies)}"
