"""What this process has sent to a cluster: the passing pins to be dropped again, and blocks that need no question."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinfold.ipld.cid import CID

# 16 bytes of each digest, 80 bytes of memory: 20 MB at most.  What was forgotten is asked for.
_MOST: Final = 1 << 18
_MARK: Final = 16


class Sent:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._marks: set[bytes] = set()
        self._passing: dict[CID, None] = {}
        self.size = 0

    def __contains__(self, cid: CID) -> bool:
        return cid.digest[:_MARK] in self._marks

    def begin(self, root: CID, size: int) -> None:
        """A CAR with this root, and `size` bytes of blocks, is about to be sent."""
        with self._lock:
            self._passing[root] = None
            self.size += size

    def add(self, cids: Iterable[CID]) -> None:
        """These were taken."""
        marks = [cid.digest[:_MARK] for cid in cids]
        with self._lock:
            if len(self._marks) + len(marks) > _MOST:
                self._marks = set()
            self._marks.update(marks)

    def forget(self) -> None:
        """Believe nothing any more of what was taken."""
        with self._lock:
            self._marks = set()

    def passing(self) -> tuple[CID, ...]:
        """The roots of all CARs whose pins were not dropped yet."""
        with self._lock:
            return tuple(self._passing)

    def end(self, roots: Iterable[CID]) -> None:
        """The pins of these were dropped."""
        with self._lock:
            for root in roots:
                self._passing.pop(root, None)
