"""Small blocks: those that are asked for again and again, and those that will be asked for next.

To open a snapshot takes a dozen small blocks one after another, some of them several times: at 50 ms each
way and back that took two seconds.  What lies in a small folder is fetched as soon as the folder is known.
"""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed
from pinfold.ipld import dagpb
from pinfold.ipld.cid import DAG_PB, IDENTITY

if TYPE_CHECKING:
    from pinfold.ipld.cid import CID

_SMALL: Final = 64 << 10
_MOST: Final = 64
_FOLDER: Final = 4 << 10
_MOST_CHILDREN: Final = 16


class Small:
    """The last 64 small blocks, 4 MiB at most.  Safe from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: OrderedDict[CID, Future[bytes]] = OrderedDict()

    def find(self, cid: CID) -> Future[bytes] | None:
        """The block, or that it comes.  One that did not come is forgotten, to be asked for anew."""
        with self._lock:
            future = self._held.get(cid)
            if future is None:
                return None
            if future.done() and future.exception() is not None:
                del self._held[cid]
                return None
            self._held.move_to_end(cid)
            return future

    def expect(self, cid: CID, future: Future[bytes]) -> None:
        """A block that is on its way."""
        with self._lock:
            self._held[cid] = future
            while len(self._held) > _MOST:
                self._held.popitem(last=False)

    def keep(self, cid: CID, block: bytes) -> list[CID]:
        """Remember a block, if it is small; gives which others to expect now."""
        if len(block) > _SMALL:
            return []
        future: Future[bytes] = Future()
        future.set_result(block)
        self.expect(cid, future)
        return [one for one in _children(cid, block) if self.find(one) is None]


def _children(cid: CID, block: bytes) -> list[CID]:
    """What lies in a small folder and is small itself."""
    if cid.codec != DAG_PB or len(block) > _FOLDER:
        return []
    try:
        links = dagpb.decode(block).links
    except Malformed:
        return []  # whoever reads it says so
    if len(links) > _MOST_CHILDREN:
        return []
    small = [link.cid for link in links if 0 < (link.tsize or 0) <= _SMALL and link.cid.hash_code != IDENTITY]
    return list(dict.fromkeys(small))
