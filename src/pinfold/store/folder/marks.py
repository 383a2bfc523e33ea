"""What a collection remembers while it works, on disk: a set of millions would not fit in memory.

The tables lie in a scratch database beside the index, attached to a connection of their own.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pinfold.errors import Corrupt, Malformed, Missing, Refused
from pinfold.ipld.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Pin

_SCHEMA: Final = """
CREATE TABLE marks.live(digest BLOB, codec INTEGER, PRIMARY KEY(digest, codec)) WITHOUT ROWID;
CREATE TABLE marks.victims(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE marks.moving(
    car INTEGER, offset INTEGER, digest BLOB NOT NULL, codec INTEGER NOT NULL, head INTEGER NOT NULL,
    length INTEGER NOT NULL, condemned INTEGER NOT NULL, PRIMARY KEY(car, offset)) WITHOUT ROWID;
"""
_EVERY: Final = 4096


class Marks:
    """The scratch database of one collection, with the index in reach as its main database."""

    def __init__(self, index: Path) -> None:
        self._path = index.with_name("collect.db")
        self._path.unlink(missing_ok=True)
        self.db = sqlite3.connect(index, timeout=60, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("ATTACH ? AS marks", (str(self._path),))
        self.db.execute("PRAGMA marks.journal_mode = OFF")
        self.db.execute("PRAGMA marks.synchronous = OFF")
        self.db.execute("PRAGMA marks.cache_size = -32768")
        self.db.executescript(_SCHEMA)
        self.count = 0

    def close(self) -> None:
        """Remove the scratch database."""
        self.db.close()
        with suppress(FileNotFoundError):
            self._path.unlink()

    def add(self, cid: CID) -> bool:
        """Mark `cid` as live; return whether that is new."""
        new = self.db.execute("INSERT OR IGNORE INTO marks.live VALUES (?, ?)", (cid.digest, cid.codec)).rowcount == 1
        self.count += new
        return new

    def mark(self, pins: Iterable[Pin], get: Callable[[CID], bytes], progress: Callable[[int], None]) -> None:
        """Mark all that these pins keep; what is marked already is not walked again.

        Raises Refused where damage hides what lies below: nothing can be freed safely then.
        """
        self.db.execute("BEGIN")
        try:
            for pin in pins:
                try:
                    for _ in walk(pin.root, get, self):
                        if self.count % _EVERY == 0:
                            progress(self.count)
                except (Missing, Corrupt, Malformed) as error:
                    raise Refused(
                        f"cannot tell what pin {pin.name!r} keeps: {error}; nothing was freed. Heal that block"
                        " from another copy, or unpin, then collect again"
                    ) from error
        finally:
            self.db.execute("COMMIT")
