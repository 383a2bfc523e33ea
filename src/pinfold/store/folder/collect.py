"""Garbage collection: cars of which less than half is live are emptied and removed.  Needs no key.

In order, each step safe to be killed in:
1. mark what the pins keep, through public links;
2. choose the victims: sealed cars, less than half live, and small cars when there are many;
3. condemn their dead blocks: `has` says no from here on, `put` stores them anew, `get` still serves them;
4. only then look who is at work.  A session older than the condemnation may have seen a condemned block
   and rely on it: while such a session lives, the car stays, and a later collection goes on from here;
5. copy the live blocks of the other victims, point the index at the copies;
6. with pins held still, mark what was pinned meanwhile and save that too; then forget and remove the car.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from pinfold.errors import Corrupt, Full, Missing, Unavailable
from pinfold.ipld.cid import CID, SHA2_256
from pinfold.store.folder.index import index_error
from pinfold.store.folder.layout import sync_folder, translated
from pinfold.store.folder.locks import Lease, leases, locked
from pinfold.store.folder.marks import Marks
from pinfold.store.folder.rows import Row
from pinfold.store.seam import Collected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinfold.store.folder.index import Index
    from pinfold.store.folder.layout import Layout
    from pinfold.store.folder.pins import Pins
    from pinfold.store.folder.writing import Writers
    from pinfold.store.seam import Block

    Progress = Callable[[int, int], None]

_SMALL: Final = 16 << 20
_MANY_SMALL: Final = 16
_GROUP_BYTES: Final = 200 << 20
_GROUP_CARS: Final = 64
_RESERVE: Final = 256 << 10
_LIVE: Final = "EXISTS (SELECT 1 FROM marks.live m WHERE m.digest = b.digest)"
_BY_CAR: Final = f"""
SELECT c.id, c.name, c.indexed, c.sealed, c.listing, COUNT(b.digest), TOTAL(b.length),
       TOTAL({_LIVE}), TOTAL(b.length * {_LIVE}), TOTAL((b.head + b.length) * {_LIVE})
FROM cars c LEFT JOIN blocks b ON b.car = c.id GROUP BY c.id"""  # noqa: S608 (no input in it)
_SPARE_THE_LIVE: Final = f"""
UPDATE blocks AS b SET condemned = 0
WHERE condemned > 0 AND ({_LIVE} OR car NOT IN (SELECT id FROM marks.victims))"""  # noqa: S608
_CONDEMN: Final = f"""
UPDATE blocks AS b SET condemned = ?1
WHERE car IN (SELECT id FROM marks.victims) AND NOT {_LIVE}
  AND condemned >= 0 AND condemned NOT IN (SELECT generation FROM waiting WHERE lease = '')"""  # noqa: S608
_MOVING: Final = """
INSERT INTO marks.moving SELECT car, offset, digest, codec, head, length, condemned FROM blocks
WHERE car IN (SELECT id FROM marks.victims)"""
_SURVIVORS: Final = f"""
SELECT b.digest, b.codec, v.name, b.offset, b.head, b.length FROM marks.moving b JOIN marks.victims v ON v.id = b.car
WHERE b.car = ? AND (b.condemned > 0) = ? AND {_LIVE} ORDER BY b.offset"""  # noqa: S608
_FORGET: Final = (
    "DELETE FROM blocks WHERE car = ?1 AND digest IN (SELECT digest FROM marks.moving WHERE car = ?1)",
    "DELETE FROM spares WHERE car = ?1",
    "DELETE FROM cars WHERE id = ?1",
)


class _Car(NamedTuple):
    id: int
    name: str
    indexed: int
    sealed: int
    listing: int | None
    blocks: int
    bytes: float
    live_blocks: float
    live_bytes: float
    live_space: float


class Collection:
    """One run.  A context manager; the caller holds the lock that keeps a second one out."""

    def __init__(self, layout: Layout, index: Index, pins: Pins, get: Callable[[CID], bytes], writers: Writers) -> None:
        """The parts of the store to be collected; `get` must check hashes."""
        self._layout = layout
        self._index = index
        self._pins = pins
        self._get = get
        self._writers = writers
        self._marks = Marks(layout.index)
        self._db = self._marks.db
        self._freed_blocks = self._freed_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._marks.close()

    def run(self, *, dry_run: bool, progress: Progress | None) -> Collected:
        """Collect.  Raises Refused, Full, Unavailable; what was freed by then stays freed."""
        try:
            return self._run(progress, dry_run=dry_run)
        except sqlite3.Error as error:
            raise index_error(error, str(self._layout.index)) from error

    def _run(self, progress: Progress | None, *, dry_run: bool) -> Collected:
        total: int = self._db.execute("SELECT COUNT(*) FROM blocks").fetchone()[0]
        if not total:
            return Collected(0, 0, 0, 0)
        report = progress or (lambda _done, _total: None)
        self._mark(lambda done: report(min(done, total), total))
        self._settle_spares()
        cars = [_Car._make(row) for row in self._db.execute(_BY_CAR)]
        alive = leases(self._layout.writers)
        victims = _choose(cars, alive)
        if dry_run:
            held = {car.name for car in victims if alive}
            self._freed_blocks = sum(car.blocks - int(car.live_blocks) for car in victims if not alive)
            self._freed_bytes = sum(int(car.bytes - car.live_bytes) for car in victims if not alive)
        else:
            held = self._held(victims, self._condemn(victims))
            self._sweep_all([car for car in victims if car.name not in held])
        report(total, total)
        return Collected(
            freed_blocks=self._freed_blocks,
            freed_bytes=self._freed_bytes,
            live_blocks=sum(int(car.live_blocks) for car in cars),
            live_bytes=sum(int(car.live_bytes) for car in cars),
            waiting_bytes=sum(int(car.bytes - car.live_bytes) for car in victims if car.name in held),
        )

    def _settle_spares(self) -> None:
        """Read what has several copies: the index must point to a good one before any car goes."""
        twice = f"SELECT DISTINCT b.digest, b.codec FROM spares b WHERE {_LIVE}"  # noqa: S608 (no input in it)
        for digest, codec in self._db.execute(twice).fetchall():
            with suppress(Corrupt, Missing):  # no copy is good: none of their cars is removed
                self._get(CID(1, codec, SHA2_256, digest))

    def _mark(self, progress: Callable[[int], None]) -> None:
        self._marks.mark(self._pins.all(), self._get, progress)

    def _condemn(self, victims: list[_Car]) -> int:
        """Mark the victims' dead blocks in the index; return the number of this condemnation."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            generation: int = self._db.execute("SELECT COALESCE(MAX(generation), 0) + 1 FROM waiting").fetchone()[0]
            self._db.executemany("INSERT INTO marks.victims VALUES (?, ?)", [(car.id, car.name) for car in victims])
            self._db.execute(_SPARE_THE_LIVE)
            self._db.execute(_CONDEMN, (generation,))
            self._db.execute(_MOVING)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        return generation

    def _held(self, victims: list[_Car], generation: int) -> set[str]:
        """Note which sessions this condemnation must wait for; return the cars that wait for any."""
        alive = {lease.file for lease in leases(self._layout.writers)}
        self._db.execute("BEGIN IMMEDIATE")
        # The row with no lease says that the list is whole; without it the blocks are condemned anew.
        self._db.executemany("INSERT INTO waiting VALUES (?, ?)", [(generation, file) for file in ("", *sorted(alive))])
        self._db.execute(
            "DELETE FROM waiting WHERE generation < ? AND generation NOT IN (SELECT condemned FROM marks.moving)",
            (generation,),
        )
        self._db.execute("COMMIT")
        blockers = "SELECT lease FROM waiting WHERE generation IN (SELECT condemned FROM marks.moving WHERE car = ?)"
        return {
            car.name for car in victims if not alive.isdisjoint(row[0] for row in self._db.execute(blockers, (car.id,)))
        }

    def _sweep_all(self, victims: list[_Car]) -> None:
        """Group after group, those first that leave least to copy: what they free makes room for the next.

        Raises Full if the disk has no room for any copies, and nothing was freed.
        """
        waiting = victims
        while group := _next_group(waiting, self._room()):
            self._sweep(group)
            waiting = waiting[len(group) :]
        if any(car.live_space < car.indexed for car in waiting) and not self._freed_blocks:
            raise Full(
                f"no room left in {self._layout.cars} to copy what half-empty cars still hold"
                f" ({int(waiting[0].live_space)} bytes of one): free some, then collect again"
            )

    def _room(self) -> float:
        """Bytes that copies may take: what is free, but for what the index and listings grow by."""
        with translated(self._layout.cars):
            disk = os.statvfs(self._layout.cars)
        return max(0.0, disk.f_bavail * disk.f_frsize - _RESERVE) * 15 / 16

    def _sweep(self, group: list[_Car]) -> None:
        """Empty and remove these cars."""
        whole = self._rescue(group, condemned=False)
        with locked(self._layout.locks / "sweep"):
            self._mark(lambda _done: None)
            whole = self._rescue(whole, condemned=True)
            with locked(self._layout.locks / "index"), translated(self._layout.cars):
                if not self._index.is_current():
                    raise Unavailable(f"the index of {self._layout.path} was made anew meanwhile: collect again")
                self._forget(whole)
                for car in whole:
                    (self._layout.cars / car.name).unlink(missing_ok=True)
                sync_folder(self._layout.cars)

    def _forget(self, group: list[_Car]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for car in group:
                blocks, size = self._db.execute(
                    "SELECT COUNT(*), COALESCE(SUM(b.length), 0) FROM marks.moving b JOIN blocks ON"
                    " blocks.digest = b.digest AND blocks.car = b.car WHERE b.car = ?",
                    (car.id,),
                ).fetchone()
                for statement in _FORGET:
                    self._db.execute(statement, (car.id,))
                self._freed_blocks += blocks
                self._freed_bytes += size
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _rescue(self, group: list[_Car], *, condemned: bool) -> list[_Car]:
        """Copy live blocks of these cars elsewhere.  Returns the cars without damage: others must stay."""
        damaged: set[int] = set()

        def survivors() -> Iterator[Block]:
            for car in group:
                for values in self._db.execute(_SURVIVORS, (car.id, condemned)).fetchall():
                    row = Row(*values)
                    cid = CID(1, row.codec, SHA2_256, row.digest)
                    try:
                        yield cid, self._get(cid)
                    except (Corrupt, Missing):
                        damaged.add(car.id)

        self._writers.store_anew(survivors())
        return [car for car in group if car.id not in damaged]


def _choose(cars: list[_Car], alive: list[Lease]) -> list[_Car]:
    """The cars worth emptying: not those still written, nor those of living sessions."""
    closed = [car for car in cars if car.sealed and not _is_of(car.name, alive)]
    victims = [car for car in closed if 2 * car.live_space < (car.listing or car.indexed)]
    small = [car for car in closed if car.indexed < _SMALL and car not in victims]
    if len(small) > _MANY_SMALL:
        victims += small
    return sorted(victims, key=lambda car: car.live_space)


def _is_of(name: str, alive: list[Lease]) -> bool:
    """Whether one of these sessions has put blocks into car `name`."""
    parts = name.removesuffix(".car").split("-")
    if len(parts) != 3 or not parts[2].isdecimal():
        return False
    return any(lease.token == parts[1] and lease.first_car <= int(parts[2]) for lease in alive)


def _next_group(victims: list[_Car], room: float) -> list[_Car]:
    """The first victims, as many as have survivors for about one new car and fit `room`: one sync for all."""
    size = 0.0
    for number, car in enumerate(victims):
        size += car.live_space
        if size > min(room, _GROUP_BYTES) or number == _GROUP_CARS:
            return victims[:number]
    return victims
