"""Pin requests: what was asked for, how far it has come, what is next.

Crash rule: each change is one transaction.  A request found "pinning" at the start was under way when the
process ended, and is queued again.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pinfold.clock import SystemClock
from pinfold.door import BadRequest
from pinfold.ipld.cid import CID
from pinfold.pinning import moments
from pinfold.pinning.documents import Wanted
from pinfold.pinning.filters import Status

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

    from pinfold.clock import Clock
    from pinfold.pinning.database import Database, Row
    from pinfold.pinning.filters import Filter

# Seconds: of each of the two questions behind a list, and of the figures.
_LONGEST: Final = 4.0
_COUNTING: Final = 2.0
_FIELDS: Final = "id, created, tenant, cid, root, name, origins, meta, status, details, attempts"
_ADD: Final = (
    "INSERT INTO requests (created, id, tenant, root, cid, name, folded, label, origins, meta, status, details,"
    " attempts, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', '', 0, ?)"
)
# What it replaces stays pinned until it is pinned itself; so does what that one was to replace.
_KEEP: Final = (
    "INSERT OR IGNORE INTO keeps SELECT ?, root FROM requests WHERE created = ?"
    " UNION SELECT ?, root FROM keeps WHERE request = ?"
)


@dataclass(frozen=True, slots=True)
class PinRequest:
    """A request as it stands.  `created` in microseconds, unique."""

    id: str
    created: int
    tenant: str
    wanted: Wanted
    status: Status
    details: str
    attempts: int


class Requests:
    """The requests in a database."""

    def __init__(self, database: Database, *, most: int, clock: Clock | None = None) -> None:
        """`most`: how many a tenant may have."""
        self._database = database
        self._most = most
        self._clock = clock or SystemClock()

    def now(self) -> int:
        """The time, in microseconds."""
        return moments.micros(self._clock.now())

    def add(self, tenant: str, wanted: Wanted, replaces: str | None = None) -> PinRequest:
        """Queue a request, in place of the one with the id `replaces`.  Raises BadRequest (404, 409)."""
        identity = str(uuid.UUID(bytes=self._clock.random(16), version=4))
        now = self.now()
        with self._database.writing() as db:
            old = None if replaces is None else _must_exist(db, tenant, replaces)
            if old is None:
                self._check_quota(db, tenant)
            last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'requests'").fetchone()
            created = max(now, last[0] + 1 if last else 0)
            folded = None if wanted.name is None else wanted.name.casefold()
            origins, meta = json.dumps(wanted.origins), json.dumps(wanted.meta or {})
            place = (created, identity, tenant, bytes(wanted.root), wanted.cid, wanted.name, folded, wanted.label)
            db.execute(_ADD, (*place, origins, meta, now))
            if old is not None:
                db.execute(_KEEP, (created, old, created, old))
                db.execute("DELETE FROM requests WHERE created = ?", (old,))
        return PinRequest(identity, created, tenant, wanted, Status.QUEUED, "", 0)

    def _check_quota(self, db: sqlite3.Connection, tenant: str) -> None:
        if db.execute("SELECT COUNT(*) FROM requests WHERE tenant = ?", (tenant,)).fetchone()[0] >= self._most:
            raise BadRequest(409, f"{self._most} pins are all that these tokens may have; delete some first")

    def get(self, tenant: str, identity: str) -> PinRequest | None:
        """One request of this tenant."""
        found = self._find("tenant = ? AND id = ?", tenant, identity)
        return found[0] if found else None

    def find(self, tenant: str, asked: Filter) -> tuple[int, list[PinRequest]]:
        """How many there are in all, and the newest of them.  Raises Unavailable where that takes too long."""
        where = " AND ".join(("tenant = ?", *asked.conditions))
        values = (tenant, *asked.values)
        count = self._database.rows(f"SELECT COUNT(*) FROM requests WHERE {where}", values, within=_LONGEST)  # noqa: S608
        newest = f"SELECT {_FIELDS} FROM requests WHERE {where} ORDER BY created DESC LIMIT ?"  # noqa: S608
        found = self._database.rows(newest, (*values, asked.limit), within=_LONGEST)
        return count[0][0], [_request(row) for row in found]

    def remove(self, tenant: str, identity: str) -> bool:
        """Drop a request; whether it was there."""
        return self._database.change("DELETE FROM requests WHERE tenant = ? AND id = ?", (tenant, identity)) > 0

    def is_there(self, request: PinRequest) -> bool:
        """Whether nobody dropped it meanwhile."""
        return bool(self._database.rows("SELECT 1 FROM requests WHERE created = ?", (request.created,)))

    def waiting(self, roots: Collection[bytes]) -> list[str]:
        """The tenants with requests that are due, other than for these roots."""
        query = f"SELECT DISTINCT tenant FROM requests WHERE {_due(roots)}"  # noqa: S608
        return [row[0] for row in self._database.rows(query, (self.now(), *roots))]

    def claim(self, roots: Collection[bytes], tenant: str) -> PinRequest | None:
        """Take the next one of a tenant that is due: new ones first, none of these roots.  It is pinning now."""
        found = self._find(
            f"{_due(roots)} AND tenant = ? ORDER BY attempts, due, created LIMIT 1", self.now(), *roots, tenant
        )
        take = "UPDATE requests SET status = 'pinning', details = '' WHERE created = ? AND status = 'queued'"
        return found[0] if found and self._database.change(take, (found[0].created,)) else None

    def done(self, request: PinRequest, status: Status, details: str = "", due: int = 0, *, tried: int = 1) -> None:
        """Write down what came of an attempt; `due`: when to try again, for what is queued; `tried`: 0 after a turn."""
        with self._database.writing() as db:
            db.execute(
                "UPDATE requests SET status = ?, details = ?, attempts = attempts + ?, due = ? WHERE created = ?",
                (str(status), details[:1000], tried, due, request.created),
            )
            if status is Status.PINNED:
                db.execute("DELETE FROM keeps WHERE request = ?", (request.created,))

    def again(self, roots: Collection[CID]) -> None:
        """Queue what was pinned and is no longer, by its roots."""
        with self._database.writing() as db:
            db.executemany(
                "UPDATE requests SET status = 'queued', attempts = 0, due = 0, details = 'the store has lost its pin'"
                " WHERE status = 'pinned' AND root = ?",
                [(bytes(root),) for root in roots],
            )

    def resume(self) -> None:
        """Queue what was under way when the process ended."""
        self._database.change("UPDATE requests SET status = 'queued', due = 0 WHERE status = 'pinning'")

    def pinned_roots(self) -> set[CID]:
        """Every root that is told to be pinned."""
        rows = self._database.rows("SELECT DISTINCT root FROM requests WHERE status = 'pinned'")
        return {CID.decode(row[0]) for row in rows}

    def counts(self) -> dict[str, int]:
        """How many there are of each status.  Raises Unavailable where that takes too long."""
        query = "SELECT status, COUNT(*) FROM requests GROUP BY status"
        found: dict[str, int] = dict(self._database.rows(query, within=_COUNTING))
        return {status.value: found.get(status.value, 0) for status in Status}

    def _find(self, where: str, *values: object) -> list[PinRequest]:
        rows = self._database.rows(f"SELECT {_FIELDS} FROM requests WHERE {where}", values)  # noqa: S608
        return [_request(row) for row in rows]


def _due(roots: Collection[bytes]) -> str:
    return f"status = 'queued' AND due <= ? AND root NOT IN ({','.join('?' * len(roots))})"


def _must_exist(db: sqlite3.Connection, tenant: str, identity: str) -> int:
    found = db.execute("SELECT created FROM requests WHERE tenant = ? AND id = ?", (tenant, identity)).fetchone()
    if found is None:
        raise BadRequest(404, f"there is no pin request {identity[:80]}")
    created: int = found[0]
    return created


def _request(row: Row) -> PinRequest:
    identity, created, tenant, cid, root, name, origins, meta, status, details, attempts = row
    wanted = Wanted(cid, CID.decode(root), name, tuple(json.loads(origins)), json.loads(meta))
    return PinRequest(identity, created, tenant, wanted, Status(status), details, attempts)
