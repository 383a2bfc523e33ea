"""Which pins of the store are the service's: a root may be pinned by several requests, and by others too.

A row is written before the store's pin and dropped after it, so no pin of ours is ever forgotten; `theirs` are
roots that somebody else had pinned in the store already: those are neither renamed nor unpinned here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.ipld.cid import CID

if TYPE_CHECKING:
    from pinfold.pinning.database import Database

# A root is wanted by every request that has not failed, and by those that are to replace it and are not pinned yet.
_UNWANTED: Final = (
    "NOT EXISTS (SELECT 1 FROM requests WHERE requests.root = held.root AND status != 'failed')"
    " AND NOT EXISTS (SELECT 1 FROM keeps WHERE keeps.root = held.root)"
)
# The oldest request names the pin: nobody can rename what another has pinned by pinning it too.
_NAME: Final = "SELECT label FROM requests WHERE root = {} AND status IN ({}) ORDER BY created LIMIT 1"
_MISNAMED: Final = f"theirs = 0 AND label != ({_NAME.format('held.root', repr('pinned'))})"


class Held(NamedTuple):
    """A pin in the store: its name there, and whether it is somebody else's."""

    label: str
    theirs: bool


class Holdings:
    """The rows of `held`.  Whoever changes one of a root's holds that root's lock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, root: CID) -> Held | None:
        """What is held of this root."""
        rows = self._database.rows("SELECT label, theirs FROM held WHERE root = ?", (bytes(root),))
        return Held(rows[0][0], bool(rows[0][1])) if rows else None

    def keep(self, root: CID, held: Held) -> None:
        """Write down that this root is held."""
        values = (bytes(root), held.label, held.theirs)
        self._database.change("INSERT OR REPLACE INTO held (root, label, theirs) VALUES (?, ?, ?)", values)

    def drop(self, root: CID) -> None:
        """Forget this root."""
        self._database.change("DELETE FROM held WHERE root = ?", (bytes(root),))

    def label(self, root: CID) -> str | None:
        """The name that this root's pin should have, now that one of its requests is about to be pinned."""
        return self._label(root, "'pinned', 'pinning'")

    def pinned_label(self, root: CID) -> str | None:
        """The name that this root's pin should have; None where no request is pinned."""
        return self._label(root, "'pinned'")

    def _label(self, root: CID, statuses: str) -> str | None:
        rows = self._database.rows(_NAME.format("?", statuses), (bytes(root),))
        return rows[0][0] if rows else None

    def unsettled(self) -> list[CID]:
        """Roots that are unwanted now, or whose name is not as it should be."""
        rows = self._database.rows(f"SELECT root FROM held WHERE ({_UNWANTED}) OR ({_MISNAMED})")  # noqa: S608
        return [CID.decode(row[0]) for row in rows]

    def is_unwanted(self, root: CID) -> bool:
        """Whether no request wants it any more."""
        return bool(self._database.rows(f"SELECT 1 FROM held WHERE root = ? AND {_UNWANTED}", (bytes(root),)))  # noqa: S608
