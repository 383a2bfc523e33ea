"""Collecting garbage: passing pins that nobody needs, then Kubo's own collection, and what either frees.

Kubo counts no bytes and knows no rehearsal, so both are worked out here: everything the node lists, less
what its pins and its MFS root reach.  Nodes are read in parallel, leaves not at all.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed, Refused
from pinfold.ipld.cid import CID, DAG_PB, IDENTITY, RAW, SHA2_256
from pinfold.ipld.walk import SeenMarks, links
from pinfold.store.kubo.pins import PASSING
from pinfold.store.kubo.rpc import LONGEST, PATIENCE, NotHere, cid_of, fields, whole
from pinfold.store.seam import Collected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import ThreadPoolExecutor

    from pinfold.clock import Clock
    from pinfold.store.kubo.pins import Pins
    from pinfold.store.kubo.rpc import Rpc

PASSING_AGE: Final = timedelta(days=1)
"""How long a passing pin is left to the session that made it, or to the one that takes up its work."""
_STEP: Final = 256


class Collection:
    """One collection in one node."""

    def __init__(
        self, rpc: Rpc, pins: Pins, get: Callable[[CID], bytes], pool: ThreadPoolExecutor, clock: Clock
    ) -> None:
        self._rpc = rpc
        self._pins = pins
        self._get = get
        self._pool = pool
        self._clock = clock
        self._marked = SeenMarks()

    def run(self, *, dry_run: bool, progress: Callable[[int, int], None] | None) -> Collected:
        """Free what no pin reaches.  Raises Denied, Missing when a pin has lost blocks, Unavailable."""
        own = self._pins.all()
        passing = {cid: name for cid, name in own.items() if name.startswith(PASSING)}
        old = [cid for cid, name in passing.items() if self._is_old(name)]
        dropped = [cid for one in old for cid in (one, CID.dag_pb(one.digest))]
        held = [cid for one in passing.keys() - set(old) for cid in (one, CID.dag_pb(one.digest)) if cid in own]
        if not dry_run:
            self._pins.remove(dropped, name_last=True)
        live = sum(1 for _ in self._mark([*(own.keys() - set(dropped) - set(held)), *self._others()]))
        waiting = self._bytes(self._mark(held))
        garbage, size = self._garbage(progress if dry_run else None)
        if not dry_run:
            count = self._collect(garbage, progress)
            size = size if count == garbage else size * count // max(garbage, 1)
            garbage = count
        used = whole(fields(self._rpc.json("repo/stat", [("size-only", "true")]), self._rpc.url).get("RepoSize"), "")
        return Collected(garbage, size, live, max(used - waiting - (size if dry_run else 0), 0), waiting)

    def _is_old(self, name: str) -> bool:
        try:
            started = datetime.fromisoformat(name.split("/")[1])
            # One from tomorrow was dated by a wrong clock, here or there: the final pin finds what it held missing.
            return abs(self._clock.now() - started) > PASSING_AGE
        except (ValueError, TypeError):
            return False  # no name of ours

    def _others(self) -> Iterator[CID]:
        """What else Kubo keeps: direct pins, as raw, for nothing below them is kept, and the root of its MFS."""
        where = self._rpc.url
        direct = fields(self._rpc.json("pin/ls", [("type", "direct")]), where).get("Keys") or {}
        for text in fields(direct, where):
            cid = cid_of(text, where)
            yield CID(1, RAW, cid.hash_code, cid.digest)
        yield cid_of(fields(self._rpc.json("files/stat", [("arg", "/")]), where).get("Hash"), where)

    def _mark(self, roots: Iterable[CID]) -> Iterator[CID]:
        """What `roots` reach and nothing before did, each once, as raw."""
        stack = list(roots)
        nodes = SeenMarks()
        while stack:
            some, stack = stack[-_STEP:], stack[:-_STEP]
            fresh: list[CID] = []
            for cid in some:
                if cid.hash_code == SHA2_256 and self._marked.add(CID.raw(cid.digest)):
                    yield CID.raw(cid.digest)
                if cid.codec != RAW and nodes.add(cid):
                    fresh.append(cid)
            for children in self._pool.map(self._links, fresh):
                stack.extend(dict.fromkeys(children))

    def _links(self, cid: CID) -> list[CID]:
        if cid.codec != DAG_PB:
            return self._foreign(cid)
        try:
            return links(cid, cid.digest if cid.hash_code == IDENTITY else self._get(cid))
        except Malformed as error:
            raise Refused(f"{self._rpc.url}: pinned block {cid} is no dag-pb node ({error})") from error

    def _foreign(self, cid: CID) -> list[CID]:
        """What a node of other kinds links to, as Kubo reads it."""
        query = [("arg", str(cid)), ("offline", "true")]
        return [cid_of(line.get("Ref"), self._rpc.url) for line in self._rpc.lines("refs", query) if line.get("Ref")]

    def _garbage(self, progress: Callable[[int, int], None] | None) -> tuple[int, int]:
        """How many blocks nothing reaches, and their bytes."""
        count = size = 0
        pending: list[CID] = []
        for line in self._rpc.lines("refs/local", within=LONGEST):
            cid = cid_of(line.get("Ref"), self._rpc.url)
            if cid.hash_code == IDENTITY or not self._marked.add(CID.raw(cid.digest)):
                continue
            count += 1
            pending.append(cid)
            if len(pending) == _STEP:
                size += self._bytes(pending)
                pending = []
        size += self._bytes(pending)
        if progress is not None:
            progress(count, count)
        return count, size

    def _bytes(self, cids: Iterable[CID]) -> int:
        return sum(self._pool.map(self._size, cids))

    def _size(self, cid: CID) -> int:
        try:
            answer = fields(self._rpc.json("block/stat", [("arg", str(cid)), ("offline", "true")]), self._rpc.url)
        except NotHere:
            return 0
        return whole(answer.get("Size"), self._rpc.url)

    def _collect(self, total: int, progress: Callable[[int, int], None] | None) -> int:
        """Kubo's own collection; returns how many blocks went."""
        count = 0
        for line in self._rpc.lines("repo/gc", [("stream-errors", "true")], timeout=PATIENCE, within=LONGEST):
            if line.get("Error"):
                raise Refused(f"{self._rpc.url} stops collecting: {str(line['Error'])[:300]}")
            count += 1
            if progress is not None:
                progress(count, max(count, total))
        return count
