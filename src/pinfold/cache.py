"""The local cache of one repository: tags of chunks, nodes of refs, and the last index of each source.

Only a cache: delete it and the next run takes longer.  It holds refs, which open blocks of the
sources that are on this machine anyway; its file is 0600.
Crash rule: written without waiting for the disk; a damaged file is deleted and begun anew, and every
page carries a checksum, so a torn one ends the parent there and what follows is read again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tags (tag BLOB PRIMARY KEY, digest BLOB NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS nodes (
    digest BLOB NOT NULL, run INTEGER NOT NULL, plain BLOB NOT NULL, PRIMARY KEY (digest, run)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    run INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, kind TEXT NOT NULL,
    root TEXT NOT NULL, generation INTEGER NOT NULL, tree BLOB NOT NULL, sparse BLOB NOT NULL,
    pages INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS pages (
    run INTEGER NOT NULL, number INTEGER NOT NULL, sum BLOB NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (run, number)) WITHOUT ROWID;
"""
_OPEN: Final = "open"
_PATIENCE: Final = 30  # seconds to wait for another process


@dataclass(frozen=True, slots=True)
class Kept:
    """An index that is kept: number of its run and of its pages, and the snapshot they belong to.

    `tree`: the index root, packed, for comparison; `sparse`: digests of bundles to write anew.
    """

    run: int
    pages: int
    root: str
    generation: int
    tree: bytes = field(repr=False)  # the root's ref opens it
    sparse: frozenset[bytes]


class Cache:
    """Thread-safe.  Failures of the cache are never failures of the run."""

    def __init__(self, folder: Path) -> None:
        """`folder`: made if it is not there; if it cannot be made, the cache lasts as long as the process."""
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / "cache.db"
        self._lock = threading.Lock()
        self._db = self._open_or_begin()

    def _open_or_begin(self) -> sqlite3.Connection:
        """The file; a fresh one if it is damaged; one in memory if there can be none."""
        for _ in range(2):
            try:
                return self._open()
            except (sqlite3.Error, OSError) as error:
                if _is_busy(error):
                    break
                with contextlib.suppress(OSError):
                    self._delete()
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        db.executescript(_SCHEMA)
        return db

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=_PATIENCE)
        try:
            _prepare(db)
        except BaseException:
            db.close()
            raise
        return db

    def _delete(self) -> None:
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(self._path.name + ending).unlink()

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.ProgrammingError:
                raise  # a defect of ours, and no reason to delete anything
            except sqlite3.DatabaseError as error:
                if not _is_busy(error):
                    # Damaged or no room: begin anew, forgetful.
                    with contextlib.suppress(sqlite3.Error):
                        self._db.close()
                    with contextlib.suppress(OSError):
                        self._delete()
                    self._db = self._open_or_begin()
                return []

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def tag(self, tag: bytes) -> tuple[bytes, int] | None:
        """Digest and size of the block that a chunk with this tag became."""
        rows = self._run("SELECT digest, size FROM tags WHERE tag = ?", (tag,))
        # Damage that SQLite does not see may change even the type of a value.
        if not rows or not _is_digest(rows[0][0]) or not isinstance(rows[0][1], int):
            return None
        return rows[0]

    def add_tag(self, tag: bytes, digest: bytes, size: int) -> None:
        """Remember what a chunk became."""
        self._run("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (tag, digest, size))

    def node(self, digest: bytes) -> bytes | None:
        """The plaintext of a node of refs."""
        rows = self._run("SELECT plain FROM nodes WHERE digest = ? LIMIT 1", (digest,))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def add_node(self, run: int, digest: bytes, plain: bytes) -> None:
        """Remember a node of refs for as long as the index of this run is kept: it holds keys."""
        self._run("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", (digest, run, plain))

    def highest(self, name: str, value: int) -> int:
        """The highest value ever told under this name, this one included."""
        self._run(
            "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            (name, value),
        )
        rows = self._run("SELECT value FROM facts WHERE name = ?", (name,))
        return rows[0][0] if rows and isinstance(rows[0][0], int) else value

    def begin(self, source: str) -> int:
        """Begin to keep an index; returns its number."""
        statement = "INSERT INTO runs VALUES (NULL, ?, ?, '', 0, x'', x'', 0) RETURNING run"
        # Twice, for the first attempt may find the file damaged and begin a fresh one.
        rows = self._run(statement, (source, _OPEN)) or self._run(statement, (source, _OPEN))
        return int(rows[0][0]) if rows else 0

    def add_page(self, run: int, number: int, page: bytes) -> None:
        """Keep the page with this number, counted from 0."""
        self._run("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)", (run, number, _sum(page), page))

    def commit(self, source: str, kind: str, kept: Kept) -> None:
        """The pages so far belong to a pinned snapshot: forget what they replace.

        A `checkpoint` replaces earlier checkpoints of the source, a `full` all earlier indexes.
        """
        self._run(
            "UPDATE runs SET kind = ?, root = ?, generation = ?, tree = ?, sparse = ?, pages = ? WHERE run = ?",
            (kind, kept.root, kept.generation, kept.tree, b"".join(sorted(kept.sparse)), kept.pages, kept.run),
        )
        older = "source = ? AND run <> ?" + (" AND kind = 'checkpoint'" if kind == "checkpoint" else "")
        self._drop(older, (source, kept.run))

    def abandon(self, run: int) -> None:
        """The index will not be finished; a checkpoint of it stays."""
        self._drop("run = ? AND kind = ?", (run, _OPEN))

    def forget(self, source: str) -> None:
        """The indexes of this source are not to be trusted."""
        self._drop("source = ?", (source,))

    def last(self, source: str, kind: str, generation: int) -> Kept | None:
        """The last index of this source, of kind `full` or `checkpoint`, made in this generation."""
        rows = self._run(
            "SELECT run, pages, root, tree, sparse FROM runs WHERE source = ? AND kind = ? AND generation = ?"
            " ORDER BY run DESC LIMIT 1",
            (source, kind, generation),
        )
        if not rows or tuple(map(type, rows[0])) != (int, int, str, bytes, bytes):
            return None
        run, pages, root, tree, sparse = rows[0]
        digests = frozenset(sparse[at : at + 32] for at in range(0, len(sparse), 32))
        return Kept(run, pages, root, generation, tree, digests)

    def pages(self, kept: Kept) -> Iterator[bytes]:
        """The pages of an index in order; ends early at one that is lost or damaged."""
        for number in range(kept.pages):
            rows = self._run("SELECT sum, data FROM pages WHERE run = ? AND number = ?", (kept.run, number))
            if not rows or not isinstance(rows[0][1], bytes) or _sum(rows[0][1]) != rows[0][0]:
                return
            yield rows[0][1]

    def _drop(self, where: str, values: tuple[object, ...]) -> None:
        runs = f"SELECT run FROM runs WHERE {where}"  # noqa: S608  # our own words
        self._run(f"DELETE FROM pages WHERE run IN ({runs})", values)  # noqa: S608
        self._run(f"DELETE FROM nodes WHERE run IN ({runs})", values)  # noqa: S608
        self._run(f"DELETE FROM runs WHERE {where}", values)  # noqa: S608  # our own words


def _prepare(db: sqlite3.Connection) -> None:
    """Make the tables if there are none, whoever else opens the file at this moment."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, _VERSION}:
        raise sqlite3.DatabaseError("another version")
    # For this SQLite does not wait for others; the next who opens the file does it.
    with contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=OFF")
    # What is forgotten must not linger in the file: pages and nodes hold keys of older content.
    db.execute("PRAGMA secure_delete=ON")
    if version == 0:
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version={_VERSION}")
        db.execute("COMMIT")


def _is_busy(error: Exception) -> bool:
    """Whether another process has the file: no reason to take it away from under its feet."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _is_digest(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == 32


def _sum(page: bytes) -> bytes:
    return blake3(page).digest(length=16)
