"""What is measured: the rows of the table, in groups that share their data and their repositories."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What a row has a tool do."""

    BACKUP = "backup"
    RESTORE = "restore"
    RESTORE_ONE = "restore one"


@dataclass(frozen=True)
class Row:
    """A row of the table.  `goal`: pinfold's wall time over that of the fastest peer, at most."""

    key: str
    label: str
    kind: Kind = Kind.BACKUP
    goal: float = 1.0
    reads: bool = False  # the tools will read the contents, so they are read once before

    @property
    def stores(self) -> bool:
        """Whether it writes to the repository."""
        return self.kind is Kind.BACKUP


PEAK_GOAL: Final = 200.0  # MB
STORED_GOAL: Final = 1.05  # of the smallest peer's repository

GROUPS: Final[dict[str, tuple[Row, ...]]] = {
    "tree": (
        Row("tree-first", "tree, first run", goal=0.5, reads=True),
        Row("tree-unchanged", "tree, nothing changed"),
        Row("tree-changed", "tree, 1 % of files changed"),
        Row("tree-restore", "tree, restore all", Kind.RESTORE),
        Row("tree-restore-one", "tree, restore one file", Kind.RESTORE_ONE),
    ),
    "dump": (
        Row("dump-first", "database dump, first version", reads=True),
        Row("dump-second", "database dump, second version", reads=True),
        Row("dump-restore", "database dump, restore", Kind.RESTORE),
    ),
    "data": (
        Row("data-first", "incompressible data, first run", reads=True),
        Row("data-unchanged", "incompressible data, nothing changed"),
        Row("data-restore", "incompressible data, restore all", Kind.RESTORE),
    ),
    "million": (
        Row("million-first", "small files, first run", reads=True),
        Row("million-unchanged", "small files, nothing changed"),
    ),
}
# Only memory is asked for here, and only ours.
ALONE: Final = "million"
ROWS: Final = {row.key: row for rows in GROUPS.values() for row in rows}
