"""Putting blocks into a node so that no garbage collection can take them before the final pin.

For each batch: its listing is added as a file whose pin is called `pinfold-passing/STARTED/CHANCE`, then a CAR
with the listing and the blocks is imported, the listing pinned, in one request.  Kubo holds the lock against
its garbage collection for as long as such a request runs, and only then, so nothing is unprotected between.
The name comes first: what a crash leaves behind can be told by it, and `collect` drops it after a day.

Crash rule: what is imported without its final pin is garbage that the next run finds and uses.
"""

from __future__ import annotations

import secrets
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from pinfold.clock import SystemClock, rfc3339
from pinfold.errors import Unavailable
from pinfold.store.kubo import cars
from pinfold.store.kubo.memory import Known
from pinfold.store.kubo.pins import PASSING
from pinfold.store.kubo.rpc import PATIENCE, NotHere, cid_of, failure, fields, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from pinfold.clock import Clock
    from pinfold.ipld.cid import CID
    from pinfold.store.kubo.memory import Memory
    from pinfold.store.kubo.presence import Presence
    from pinfold.store.kubo.rpc import Rpc
    from pinfold.store.seam import Block

# So many blocks that were only seen are pinned together.
SEEN_AT_ONCE: Final = 512
_ATTEMPTS: Final = 3
# While Kubo writes and pins one batch, the next is on its way.
_IMPORTS: Final = 2
_ADD: Final = (
    ("pin", "true"),
    ("cid-version", "1"),
    ("raw-leaves", "true"),
    ("chunker", "size-1048576"),
    ("hash", "sha2-256"),
    ("inline", "false"),
    ("progress", "false"),
)


class Upload:
    """The way into one node.  Safe from any thread."""

    def __init__(self, rpc: Rpc, memory: Memory, presence: Presence, clock: Clock | None = None) -> None:
        self._rpc = rpc
        self._memory = memory
        self._presence = presence
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._passing: list[CID] = []

    def passing(self) -> list[CID]:
        """The listings pinned in passing so far."""
        with self._lock:
            return list(self._passing)

    def finished(self) -> list[CID]:
        """The listings that need no pin any more; they are handed over once."""
        with self._lock:
            done, self._passing = self._passing, []
        return done

    def put(self, blocks: Iterable[Block]) -> int:
        """Store blocks, return how many bytes were new.  Raises Full, Refused, Unavailable."""
        new = 0
        under_way: deque[Future[int]] = deque()
        with ThreadPoolExecutor(_IMPORTS, thread_name_prefix="pinfold-import") as pool:
            for batch in cars.gathered(blocks, self._rpc.url):
                if len(under_way) == _IMPORTS:
                    new += under_way.popleft().result()
                under_way.append(pool.submit(self._batch, batch))
            return new + sum(one.result() for one in under_way)

    def _batch(self, batch: dict[bytes, bytes]) -> int:
        fresh = {digest: block for digest, block in batch.items() if self._memory.of(digest) is not Known.HELD}
        asked = [digest for digest in fresh if self._memory.of(digest) is not Known.ABSENT]
        there = self._presence.ask(asked)
        new = {digest: block for digest, block in fresh.items() if digest not in there}
        if not self._memory.active:
            if new:
                self._import(cars.loose(new), len(new), cars.has_big(new.values()), root=None)
        elif fresh:
            new = self._hold({digest: len(block) for digest, block in fresh.items()}, new, fresh)
        return sum(map(len, new.values()))

    def hold_seen(self, least: int = 1) -> None:
        """Pin what was seen and is not held yet, if it is at least `least` blocks.  What is gone is forgotten."""
        while seen := self._memory.unheld(least, cars.BATCH_BLOCKS):
            there = self._presence.ask(seen)
            self._memory.forget(digest for digest in seen if digest not in there)
            if there:
                try:
                    self._hold(dict.fromkeys(there, 0), {}, {})
                except Unavailable:
                    self._memory.forget(seen)  # whoever needs them asks again, and the final pin proves all
                    raise

    def _hold(self, sizes: dict[bytes, int], new: dict[bytes, bytes], known: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Import `new` and pin all of `sizes`; return what was sent: `new`, and what is gone meanwhile of `known`."""
        mark = secrets.token_hex(8)
        listing = cars.Listing(sizes, mark)
        self._name(listing, mark)
        for attempt in range(1, _ATTEMPTS + 1):
            count = len(listing.nodes) + len(new)
            try:
                self._import(cars.listed(listing, new), count, cars.has_big(new.values()), root=listing.root)
            except NotHere as error:
                # Somebody unpinned and collected what was there when it was asked for.
                if attempt == _ATTEMPTS or not known:
                    raise Unavailable(f"blocks vanish while they are stored: {error}") from error
                there = self._presence.ask(known)
                new = {digest: block for digest, block in known.items() if digest not in there}
            else:
                break
        with self._lock:
            self._passing.append(listing.root)
        self._memory.hold(sizes)
        return new

    def _name(self, listing: cars.Listing, mark: str) -> None:
        """Pin the listing's own block under a passing name."""
        name = f"{PASSING}{rfc3339(self._clock.now())}/{mark}"
        lines = list(self._rpc.send("add", [*_ADD, ("pin-name", name)], [listing.block]))
        if not lines or cid_of(lines[-1].get("Hash"), self._rpc.url) != listing.twin:
            raise Unavailable(f"{self._rpc.url} broke off in the middle of an answer (add)")

    def _import(self, body: Iterator[bytes], count: int, big: bool, root: CID | None) -> None:  # private
        """One CAR.  Raises NotHere when a block that `root` lists is not there."""
        query = [("stats", "true"), ("pin-roots", "false" if root is None else "true")]
        if big:
            query.append(("allow-big-block", "true"))
        where = self._rpc.url
        told: dict[str, dict[str, Any]] = {}
        for line in self._rpc.send("dag/import", query, body, timeout=PATIENCE):
            told |= {key: fields(value, where) for key, value in line.items() if value is not None}
        if root is not None and "Root" in told:
            why = told["Root"].get("PinErrorMsg")
            if why:
                raise failure(where, 500, str(why))
        wanted = {"Stats"} if root is None else {"Root", "Stats"}
        if not wanted <= told.keys() or whole(told["Stats"].get("BlockCount"), where) != count:
            raise Unavailable(f"{where} broke off in the middle of an answer (dag/import)")
