"""Which names each folder is to keep when a restore removes what the snapshot does not hold.

A folder is complete when the walk has gone on behind it; one of which no part came was empty.  What a
backup could not save is not taken for gone: it is kept.  Memory: the names of one folder, and the
folders met but not entered yet.
"""

from __future__ import annotations

import heapq
import os
import re
from typing import TYPE_CHECKING

from pinfold.sources.directory.entry import order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinfold.sources.directory.entry import Part

Complete = list[tuple[bytes, set[bytes]]]

_ESCAPED = re.compile(rb"\\udc([89a-f][0-9a-f])")


class Cleaning:
    """Takes the parts of an index in order."""

    def __init__(self, unsaved: Iterable[str], *, whole: bool = True) -> None:
        """`unsaved`: paths that the backup could not save, as its manifest shows them.

        `whole`: False if the backup passed over folders on purpose, so that one without a part may not be empty.
        """
        self._unsaved: dict[bytes, set[bytes]] = {}
        self._unseen: set[bytes] = set()
        for shown in unsaved:
            path = b"" if shown == "." else _ESCAPED.sub(_byte, os.fsencode(shown))
            folder, _, name = path.rpartition(b"/")
            self._unsaved.setdefault(folder, set()).add(name)
            self._unseen.add(path)
        self._whole = whole
        self._ahead: list[tuple[bytes, bytes]] = []
        self._naming: tuple[bytes, set[bytes]] | None = None
        self._complete: Complete = []

    def take(self, part: Part) -> None:
        """A folder's names; those of a large folder come in several parts."""
        for entry in part.entries:
            if entry.is_folder:
                path = part.path(entry)
                heapq.heappush(self._ahead, (order(path), path))
        if part.folder is None:
            return
        if self._naming is None or self._naming[0] != part.folder:
            self._end_naming()
            self._pass_to(order(part.folder))
            self._naming = (part.folder, set(self._unsaved.get(part.folder, ())))
        self._naming[1].update(entry.name for entry in part.entries)

    def complete(self) -> Complete:
        """The folders that became complete since this was asked last, each with the names it keeps."""
        found, self._complete = self._complete, []
        return found

    def rest(self) -> Complete:
        """What is left at the end of the index."""
        self._end_naming()
        self._pass_to(None)
        return self.complete()

    def _end_naming(self) -> None:
        if self._naming is not None and self._naming[0] not in self._unseen:
            self._complete.append(self._naming)
        self._naming = None

    def _pass_to(self, place: bytes | None) -> None:
        """Folders that lie before `place` and had no part; the one at `place` has."""
        while self._ahead and (place is None or self._ahead[0][0] <= place):
            found, path = heapq.heappop(self._ahead)
            if found != place and self._whole and path not in self._unseen:
                self._complete.append((path, set(self._unsaved.get(path, ()))))


def _byte(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode("ascii"))
