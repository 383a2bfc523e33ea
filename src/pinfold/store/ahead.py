"""Walking a graph whose blocks are far: what the walk will come to next is fetched meanwhile.

A walk asks for one node at a time, parents first; over a network each would cost its whole way there and
back.  Here the links of every node that passes are asked for, in the order of a walk that goes deep first.
"""

from __future__ import annotations

import contextlib
from heapq import heappop, heappush
from threading import Lock
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed
from pinfold.ipld import SeenMarks, dagpb
from pinfold.ipld.cid import DAG_PB, IDENTITY, RAW
from pinfold.store.copies import at_once
from pinfold.store.crew import Crew

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from pinfold.ipld import Get
    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Store

    _Place = tuple[int, ...]

_ROOM: Final = 48 << 20
_LARGEST: Final = 1 << 20  # of any block; what a link says of its size is not to be believed
_NODE: Final = 1 << 18
_DEEPEST: Final = 32  # of what lies below nobody is told beforehand


@contextlib.contextmanager
def ahead(store: Store, get: Get | None = None, *, leaves: bool = False) -> Iterator[Get]:
    """A `get` for one walk of one graph, by one thread; the store's own where it is near.

    `get`: how to fetch a block, `store.get` by default; `leaves`: the walk asks for raw blocks, too.
    """
    many = at_once(store)
    if many == 1:
        yield get or store.get
        return
    crew = Crew(many, "pinfold-ahead")
    try:
        yield _Ahead(get or store.get, crew, many, leaves=leaves).get
    finally:
        crew.close()


class _Ahead:
    """Fetches what a walk is about to ask for, 48 MiB of it at most.

    A node's place in the walk is the numbers of the links that lead to it: sorted, they are the walk.
    """

    def __init__(self, get: Get, crew: Crew, most: int, *, leaves: bool) -> None:
        self._get = get
        self._crew = crew
        self._most = most
        self._leaves = leaves
        self._lock = Lock()
        self._known = SeenMarks()
        self._next: list[tuple[_Place, int, CID]] = []
        self._places: dict[CID, _Place] = {}  # of those in `_next`
        self._coming: dict[CID, Future[bytes]] = {}
        self._flying = 0
        self._room = _ROOM
        self._last: tuple[CID, bytes] | None = None

    def get(self, cid: CID) -> bytes:
        """The block.  Raises what fetching it raised."""
        if self._last is not None and self._last[0] == cid:
            return self._last[1]
        with self._lock:
            future = self._coming.pop(cid, None)
            place = self._places.pop(cid, ())
        if future is None:
            block = self._get(cid)
            self._foresee(cid, place, block)
        else:
            block = future.result()
            with self._lock:
                self._room += len(block)
                self._fill()
        if cid.codec == DAG_PB:
            self._last = (cid, block)
        return block

    def _fetch(self, cid: CID, place: _Place, size: int) -> bytes:
        try:
            block = self._get(cid)
        except BaseException:
            with self._lock:
                self._flying -= 1
                self._room += size
            raise
        with self._lock:
            self._flying -= 1
            self._room += size - len(block)
        self._foresee(cid, place, block)
        return block

    def _foresee(self, cid: CID, place: _Place, block: bytes) -> None:
        """Ask for what a block links to as soon as it is here, not only when the walk comes to it."""
        links = _links(cid, block) if len(place) < _DEEPEST else ()
        with self._lock:
            for number, link in enumerate(links):
                leaf = link.cid.codec == RAW
                if (self._leaves or not leaf) and link.cid.hash_code != IDENTITY and self._known.add(link.cid):
                    size = min(link.tsize or _LARGEST, _LARGEST if leaf else _NODE)
                    heappush(self._next, ((*place, number), size, link.cid))
                    self._places[link.cid] = (*place, number)
            self._fill()

    def _fill(self) -> None:
        while self._next and self._flying < self._most and self._room > 0:
            place, size, cid = heappop(self._next)
            if self._places.pop(cid, None) is None:
                continue  # the walk was there before
            self._flying += 1
            self._room -= size
            self._coming[cid] = self._crew.submit(self._fetch, cid, place, size)


def _links(cid: CID, block: bytes) -> tuple[dagpb.Link, ...]:
    if cid.codec != DAG_PB:
        return ()
    try:
        return dagpb.decode(block).links
    except Malformed:
        return ()  # whoever walks says so
