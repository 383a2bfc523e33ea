"""The parent index, read beside the live walk as a second sorted stream.

Memory: one page.  A resumed run has two parents end to end: the checkpoint up to where it stopped,
then the older snapshot from there on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinfold.sources.directory.entry import Entry, Part, order

if TYPE_CHECKING:
    from collections.abc import Iterator


class Parent:
    """A cursor over a sorted stream of parts.  Folders and names must be asked for in order."""

    def __init__(self, parts: Iterator[Part]) -> None:
        self._parts = parts
        self._part: Part | None = next(parts, None)
        self._row = 0
        self._here = False
        self.passed = 0

    def enter(self, folder: bytes | None) -> None:
        """Go to this folder; whatever lies before it is gone from the live tree."""
        if folder is not None:
            key = order(folder)
            while self._part is not None and (self._part.folder is None or order(self._part.folder) < key):
                self._next()
        self._here = self._part is not None and self._part.folder == folder

    def find(self, name: bytes) -> Entry | None:
        """The entry of this name in the current folder."""
        if self._here and self._part is not None and self._row < len(self._part.entries):
            entry = self._part.entries[self._row]
            if entry.name == name:  # by far the most frequent case
                self._row += 1
                return entry
        return self._search(name)

    def _search(self, name: bytes) -> Entry | None:
        while self._here and self._part is not None:
            entries = self._part.entries
            row = self._row
            count = len(entries)
            while row < count and entries[row].name < name:
                row += 1
                self.passed += 1
            self._row = row
            if row < count:
                entry = entries[row]
                if entry.name != name:
                    return None
                self._row += 1
                return entry
            folder = self._part.folder
            self._next()
            self._here = self._part is not None and self._part.folder == folder
        return None

    def drain(self) -> int:
        """Run to the end; how many entries were never found alive."""
        while self._part is not None:
            self._next()
        return self.passed

    def _next(self) -> None:
        if self._part is not None:
            self.passed += len(self._part.entries) - self._row
        self._part = next(self._parts, None)
        self._row = 0


class Resumed:
    """The parts of a checkpoint, then the older ones of folders behind its last.

    `behind`: the checkpoint is used up.  Before that a new one would reach less far.
    """

    def __init__(self, checkpoint: Iterator[Part], older: Iterator[Part]) -> None:
        self.behind = False
        self._parts = self._both(checkpoint, older)

    def __iter__(self) -> Iterator[Part]:
        return self._parts

    def __next__(self) -> Part:
        return next(self._parts)

    def _both(self, checkpoint: Iterator[Part], older: Iterator[Part]) -> Iterator[Part]:
        last: tuple[bool, bytes] | None = None
        for part in checkpoint:
            last = _place(part)
            yield part
        self.behind = True
        for part in older:
            if last is None or _place(part) > last:
                yield part


def _place(part: Part) -> tuple[bool, bytes]:
    return (part.folder is not None, order(part.folder or b""))
