"""The service's own database: tokens, pin requests, and which pins of the store are the service's.

Crash rule: WAL with synchronous=FULL, so a request that was answered 202 survives a power cut; the store's
pin is written first, the word "pinned" after it (service.py tells the whole order).

Nobody waits long: questions have connections of their own, which a writer elsewhere does not stop, and whoever
writes gets the one connection for that within PATIENCE or is told so.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from pinfold.errors import Full, Refused, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Row = tuple[Any, ...]

NAME: Final = "pinning.db"
# Seconds: threads that wait here are threads of a server, or workers, which try again.
PATIENCE: Final = 5.0
_READING: Final = 2.0
_STEPS: Final = 10_000
_VERSION: Final = 1
_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS tokens (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL, label TEXT NOT NULL, tenant TEXT NOT NULL, scopes TEXT NOT NULL,
    created INTEGER NOT NULL, expires INTEGER
);
-- AUTOINCREMENT remembers the greatest time ever given out, also after that request is gone.
CREATE TABLE IF NOT EXISTS requests (
    created INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    root BLOB NOT NULL, cid TEXT NOT NULL, name TEXT, folded TEXT, label TEXT NOT NULL,
    origins TEXT NOT NULL, meta TEXT NOT NULL,
    status TEXT NOT NULL, details TEXT NOT NULL, attempts INTEGER NOT NULL, due INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS requests_by_root ON requests (root);
CREATE INDEX IF NOT EXISTS requests_by_due ON requests (status, due);
CREATE INDEX IF NOT EXISTS requests_by_tenant ON requests (tenant, status, created);
CREATE TABLE IF NOT EXISTS keeps (
    request INTEGER NOT NULL REFERENCES requests (created) ON DELETE CASCADE, root BLOB NOT NULL,
    PRIMARY KEY (request, root)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keeps_by_root ON keeps (root);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS held (root BLOB PRIMARY KEY, label TEXT NOT NULL, theirs INTEGER NOT NULL);
PRAGMA user_version = 1;
COMMIT;
"""


class Database:
    """One connection that writes, and one for each question at a time; safe from any thread, beside other processes."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made if need be, for its owner alone.  Raises Refused, Full, Unavailable."""
        self.path = folder / NAME
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = self._connect(PATIENCE)
        except (OSError, sqlite3.Error) as error:
            raise Refused(f"cannot open {self.path}: {error}; the pinning service keeps its requests there") from error
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _connect(self, timeout: float) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=timeout, isolation_level=None, check_same_thread=False)

    def _prepare(self) -> None:
        with self._explained():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(_SCHEMA)
            elif version != _VERSION:
                raise Refused(f"{self.path} was made by another version of pinfold ({version}, not {_VERSION})")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that writes; undone if the block raises.  Raises Unavailable where others write for long."""
        if not self._lock.acquire(timeout=PATIENCE):
            raise Unavailable(f"{self.path}: others have been writing for {PATIENCE:g} seconds")
        try:
            with self._explained():
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                    raise
        finally:
            self._lock.release()

    def rows(self, query: str, values: Sequence[object] = (), *, within: float | None = None) -> list[Row]:
        """What a question gives.  Raises Unavailable when that takes longer than `within` seconds."""
        with self._explained(), self._reading() as db:
            if within is None:
                return db.execute(query, values).fetchall()
            until = time.monotonic() + within
            db.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
            try:
                return db.execute(query, values).fetchall()
            finally:
                db.set_progress_handler(None, 0)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else has, an idle one where there is one: as many as ever asked at once."""
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._connect(_READING)
        try:
            if self._closed:
                raise Unavailable(f"{self.path} is closed")
            yield db
        finally:
            self._idle.append(db)
            if self._closed:
                self._let_go()

    def _let_go(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def change(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run one statement for good; returns how many rows it changed."""
        with self.writing() as db:
            return db.execute(statement, values).rowcount

    def close(self) -> None:
        """Let go of the file.  Idempotent."""
        self._closed = True
        self._let_go()
        with self._lock:
            self._db.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._as_store_error(error) from error

    def _as_store_error(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        if name == "SQLITE_FULL":
            return Full(f"no room left for {self.path}")
        if name in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
            return Refused(
                f"{self.path} is damaged ({error}): put it back from a backup, or move it away to begin anew"
            )
        return Unavailable(f"{self.path}: {error}")
