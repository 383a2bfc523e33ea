"""Where each block lies: sha2-256 digest -> car, offset, lengths.  SQLite, and only a cache.

Crash rule: a row is committed only after the car that holds its block was synced.  WAL with
synchronous=NORMAL never tears the database in a power cut; it may forget its last transactions,
which recover.py makes up for by comparing each car's size with how far it is indexed.  Deleting
index.db, or a damaged one, costs a scan of the cars and nothing else.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinfold.errors import Full, Unavailable
from pinfold.store.folder.locks import locked
from pinfold.store.folder.rows import ADD, BAD, HAS, MANY, OF_CARS, PRESERVE, SCHEMA, SPARES, CarRow, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pinfold.store.folder.layout import Layout

_AT: Final = "digest = ? AND car = (SELECT id FROM cars WHERE name = ?) AND offset = ?"
_DROP_SPARE: Final = f"DELETE FROM spares WHERE {_AT}"  # noqa: S608 (no input in it)
_SET_BAD: Final = f"UPDATE blocks SET condemned = ? WHERE condemned <= 0 AND {_AT}"  # noqa: S608
_MOVE: Final = (
    "UPDATE blocks SET condemned = MAX(condemned, 0), car = (SELECT id FROM cars WHERE name = ?),"  # noqa: S608
    f" offset = ?, head = ?, length = ? WHERE {_AT}"
)


class Index:
    """The index of one store folder.  One connection behind one lock; safe from any thread."""

    def __init__(self, layout: Layout, path: str | None = None) -> None:
        """`path`: where the database lies, if not in the folder (read-only media)."""
        self._path = path or str(layout.index)
        self._shared = path is None
        self._repairs = layout.locks / "repair"
        self._lock = threading.RLock()
        self._inode: tuple[int, int] | None = None
        self._db: sqlite3.Connection | None = None
        self.is_stale = True  # until refresh (recover.py) has compared it with the cars

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """The connection, held alone.  A damaged database is thrown away and begun anew."""
        with self._lock:
            try:
                yield self._db or self._connect()
            except sqlite3.DatabaseError as error:
                raise self._explain(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that writes; undone if the block raises."""
        with self.connected() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._begin()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        self._throw_away()
        return self._begin()

    def _begin(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, timeout=60, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA cache_size = -16384")
            if db.execute("PRAGMA user_version").fetchone()[0] != 1:
                self.is_stale = True
                db.executescript(SCHEMA)
        except BaseException:
            db.close()
            raise
        self._inode = self._identity()
        self._db = db
        return db

    def _explain(self, error: sqlite3.DatabaseError) -> Full | Unavailable:
        """The store's word for `error`; a damaged database is thrown away, and the next use begins another."""
        if _is_damage(error):
            self._throw_away()
            return Unavailable(f"index {self._path} was damaged ({error}) and will be built again: try again")
        return index_error(error, self._path)

    def _throw_away(self) -> None:
        """Remove the damaged database, unless somebody else has done so."""
        self.is_stale = True
        with locked(self._repairs) if self._shared else nullcontext():
            if self._db is not None and not self.is_current():
                self.close()
                return
            self.close()
            for tail in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(self._path + tail).unlink()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = Path(self._path).stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def is_current(self) -> bool:
        """Whether the file under the index's name is still the one that is open."""
        return self._db is not None and self._identity() == self._inode

    def reopen_if_replaced(self) -> None:
        """Follow another process that threw the index away and began a new one."""
        with self._lock:
            if self._db is not None and not self.is_current():
                self.close()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def has(self, digests: Iterable[bytes]) -> set[bytes]:
        """Those that are stored and not condemned."""
        return {row[0] for row in self._ask_many(HAS, list(digests))}

    def rows(self, digests: Iterable[bytes]) -> list[Row]:
        """Where these blocks lie, condemned ones included."""
        return [Row._make(row) for row in self._ask_many(MANY, list(digests))]

    def row(self, digest: bytes) -> Row | None:
        """Where one block lies, condemned or not."""
        with self.connected() as db:
            found = db.execute(MANY[1], (digest,)).fetchone()
        return None if found is None else Row._make(found)

    def spares(self, digest: bytes) -> list[Row]:
        """Further copies of one block."""
        with self.connected() as db:
            return [Row._make(row) for row in db.execute(SPARES, (digest,))]

    def rows_of(self, names: Sequence[str]) -> dict[str, list[Row]]:
        """All that the index knows to lie in these cars, spares included, by offset.

        One pass over the index whatever the number of cars.
        """
        found: dict[str, list[Row]] = {name: [] for name in names}
        marks = ",".join("?" * len(names))
        with self.connected() as db:
            for values in db.execute(OF_CARS.format(marks, marks), (*names, *names)):
                row = Row._make(values)
                found[row.car].append(row)
        return found

    def count(self) -> int:
        """How many blocks there are."""
        with self.connected() as db:
            count: int = db.execute("SELECT COUNT(*) FROM blocks").fetchone()[0]
        return count

    def _ask_many(self, queries: dict[int, str], digests: list[bytes]) -> list[tuple[bytes, ...]]:
        found: list[tuple[bytes, ...]] = []
        start = 0
        with self.connected() as db:
            for size, query in queries.items():
                while len(digests) - start >= size:
                    found += db.execute(query, digests[start : start + size]).fetchall()
                    start += size
        return found

    def add(self, car: CarRow, rows: Sequence[Row]) -> None:
        """Commit synced blocks of `car` and how far it is indexed now.

        A block that is known already keeps its place, and this copy becomes a spare; a condemned
        one moves here and is condemned no more.
        """
        with self.writing() as db:
            number = car_number(db, car.name)
            values = [(row.digest, row.codec, number, row.offset, row.head, row.length) for row in rows]
            db.executemany(PRESERVE, values)
            db.executemany(ADD, values)
            db.execute(
                "UPDATE cars SET indexed = ?, sealed = ?, listing = ? WHERE id = ?",
                (car.indexed, car.sealed, car.listing, number),
            )

    def cars(self) -> dict[str, CarRow]:
        """Every car the index knows, by name."""
        with self.connected() as db:
            rows = db.execute("SELECT name, indexed, sealed, listing FROM cars").fetchall()
        return {row[0]: CarRow(row[0], row[1], bool(row[2]), row[3]) for row in rows}

    def forget_beyond(self, name: str, size: int) -> None:
        """Drop what should lie in car `name` from byte `size` on; with size 0 the car itself too."""
        with self.writing() as db:
            for table in ("blocks", "spares"):
                db.execute(
                    f"DELETE FROM {table} WHERE car = (SELECT id FROM cars WHERE name = ?)"  # noqa: S608
                    " AND offset + head + length > ?",
                    (name, size),
                )
            if size:
                db.execute("UPDATE cars SET indexed = ? WHERE name = ?", (size, name))
            else:
                db.execute("DELETE FROM cars WHERE name = ?", (name,))
            db.execute("INSERT OR IGNORE INTO blocks SELECT *, 0 FROM spares")
            db.execute(
                "DELETE FROM spares WHERE EXISTS (SELECT 1 FROM blocks b WHERE b.digest = spares.digest"
                " AND b.car = spares.car AND b.offset = spares.offset)"
            )

    def found_bad(self, row: Row, good: Row | None = None) -> None:
        """Note that the copy at `row` is damaged.  `good`: a spare that is not, and takes its place.

        Without one `has` answers no from here on, and the next put stores the block anew.
        """
        here = (row.digest, row.car, row.offset)
        with self.writing() as db:
            db.execute(_DROP_SPARE, here)
            if good is None:
                db.execute(_SET_BAD, (BAD, *here))
                return
            moved = db.execute(_MOVE, (good.car, good.offset, good.head, good.length, *here)).rowcount
            if moved:
                db.execute(_DROP_SPARE, (good.digest, good.car, good.offset))

    def has_bad(self) -> bool:
        """Whether any block is known to be damaged."""
        with self.connected() as db:
            return bool(db.execute("SELECT EXISTS (SELECT 1 FROM blocks WHERE condemned < 0)").fetchone()[0])

    def found_good(self, row: Row) -> None:
        """Note that a copy that was damaged is good again: somebody put the car right."""
        with self.writing() as db:
            db.execute(_SET_BAD, (0, row.digest, row.car, row.offset))

    def point(self, rows: Sequence[Row]) -> None:
        """Make these the places of their blocks, whatever was known before."""
        with self.writing() as db:
            for row in rows:
                number = car_number(db, row.car)
                db.execute("DELETE FROM spares WHERE digest = ?", (row.digest,))
                db.execute(
                    "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?, ?, 0)",
                    (row.digest, row.codec, number, row.offset, row.head, row.length),
                )


def car_number(db: sqlite3.Connection, name: str) -> int:
    """The number of car `name`, given now if it has none.  Within a writing transaction."""
    db.execute("INSERT OR IGNORE INTO cars(name, indexed) VALUES (?, 0)", (name,))
    number: int = db.execute("SELECT id FROM cars WHERE name = ?", (name,)).fetchone()[0]
    return number


def index_error(error: sqlite3.Error, path: str) -> Full | Unavailable:
    """What the database's `error` means for a store."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return Full(f"no room left for {path}: free some, then run again")
    return Unavailable(f"index {path}: {error}")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
