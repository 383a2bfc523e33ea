"""The tables of the index and the questions asked of them, as SQL texts; what one row of each says."""

from __future__ import annotations

from typing import Final, NamedTuple

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cars(
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    indexed INTEGER NOT NULL, sealed INTEGER NOT NULL DEFAULT 0, listing INTEGER);
CREATE TABLE IF NOT EXISTS blocks(
    digest BLOB PRIMARY KEY, codec INTEGER NOT NULL, car INTEGER NOT NULL, offset INTEGER NOT NULL,
    head INTEGER NOT NULL, length INTEGER NOT NULL, condemned INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spares(
    digest BLOB NOT NULL, codec INTEGER NOT NULL, car INTEGER NOT NULL, offset INTEGER NOT NULL,
    head INTEGER NOT NULL, length INTEGER NOT NULL, PRIMARY KEY(digest, car, offset)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting(generation INTEGER NOT NULL, lease TEXT NOT NULL, PRIMARY KEY(generation, lease));
CREATE INDEX IF NOT EXISTS bad ON blocks(condemned) WHERE condemned < 0;
PRAGMA user_version = 1;
"""
# SQLite compiles a text once for each number of digests asked for: few sizes keep the plans cached.
SIZES: Final = (256, 16, 1)
# What is put into these texts below are question marks and names of tables, never what came from outside.
ASK: Final = (
    "SELECT b.digest, b.codec, c.name, b.offset, b.head, b.length, b.condemned"
    " FROM blocks b JOIN cars c ON c.id = b.car"
)
MANY: Final = {size: f"{ASK} WHERE b.digest IN ({','.join('?' * size)})" for size in SIZES}
HAS: Final = {
    size: f"SELECT digest FROM blocks WHERE condemned = 0 AND digest IN ({','.join('?' * size)})"  # noqa: S608
    for size in SIZES
}
SPARES: Final = (
    "SELECT s.digest, s.codec, c.name, s.offset, s.head, s.length, 0 FROM spares s JOIN cars c ON c.id = s.car"
    " WHERE s.digest = ?"
)
OF_CARS: Final = (
    f"{ASK} WHERE b.car IN (SELECT id FROM cars WHERE name IN ({{}})) UNION ALL"  # noqa: S608
    " SELECT s.digest, s.codec, c.name, s.offset, s.head, s.length, 0 FROM spares s JOIN cars c ON c.id = s.car"
    " WHERE c.name IN ({}) ORDER BY 4"
)
PRESERVE: Final = (
    "INSERT OR IGNORE INTO spares SELECT ?1, ?2, ?3, ?4, ?5, ?6 FROM blocks"
    " WHERE digest = ?1 AND condemned = 0 AND (car != ?3 OR offset != ?4)"
)
ADD: Final = (
    "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT(digest) DO UPDATE SET codec = excluded.codec,"
    " car = excluded.car, offset = excluded.offset, head = excluded.head, length = excluded.length, condemned = 0"
    " WHERE condemned != 0"
)


BAD: Final = -1  # in place of a condemnation: found damaged, and no good copy is known


class Row(NamedTuple):
    """One block in one car: `offset` of its section, `head` bytes of length and CID, then `length` bytes."""

    digest: bytes
    codec: int
    car: str
    offset: int
    head: int
    length: int
    condemned: int = 0

    @property
    def end(self) -> int:
        """The offset behind the block."""
        return self.offset + self.head + self.length


class CarRow(NamedTuple):
    """What is known of one car: how far it is indexed; where its own listing starts, if known."""

    name: str
    indexed: int
    sealed: bool
    listing: int | None
