"""Is every block below a root there?  A walk that reads nodes in parallel and leaves out what a base proves.

The new root and the base are walked side by side, links paired by their names: of two consecutive snapshots
only the difference is read, whatever their size.  Memory is the nodes of one step and a bounded stack.
(store.prove asks for one node at a time, which over a network would take a second for each thousand.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.errors import Incomplete, Malformed, Missing, Refused, StoreError
from pinfold.ipld import dagpb
from pinfold.ipld.cid import CID, DAG_PB, IDENTITY, RAW
from pinfold.ipld.walk import MAX_PENDING, SeenMarks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import ThreadPoolExecutor
    from random import Random

MAX_MISSING: Final = 1000
_STEP: Final = 128
_LEAVES: Final = 4096


class _Pair(NamedTuple):
    """A node to be proved, and the node of the base that stands in its place."""

    new: CID
    old: CID | None


class Proof:
    """One walk.  `sample` holds some of the leaves that were looked at, drawn by chance."""

    def __init__(
        self,
        root: CID,
        fetch: Callable[[CID], bytes],
        lacking: Callable[[list[CID]], Iterable[CID]],
        pool: ThreadPoolExecutor,
        chance: Random,
        samples: int = 16,
    ) -> None:
        """`fetch` reads a checked node, `lacking` tells which of some leaves are not there."""
        self._root = root
        self._fetch = fetch
        self._lacking = lacking
        self._pool = pool
        self._chance = chance
        self._samples = samples
        self._seen = SeenMarks()
        self._leaves: dict[CID, None] = {}
        self._missing: list[CID] = []
        self._met = 0
        self.sample: list[CID] = []
        self.size = 0

    def walk(self, base: CID | None = None) -> None:
        """Return if everything below the root is there.

        `base`: a root known to be complete.  Raises Incomplete, Refused for a node that is no valid dag-pb,
        and what `fetch` raises.
        """
        stack: list[_Pair] = []
        self._meet(_Pair(self._root, base), stack)
        while stack and len(self._missing) < MAX_MISSING:
            some, stack = stack[-_STEP:], stack[:-_STEP]
            for pair, new, old in zip(
                some, self._pool.map(self._load, some), self._pool.map(self._old, some), strict=True
            ):
                if new is None:
                    self._missing.append(pair.new)
                    continue
                if pair.new == self._root:
                    self.size = len(new) + sum(link.tsize for link in self._links(pair.new, new))
                self._compare(self._links(pair.new, new), old, stack)
            if len(stack) > MAX_PENDING:
                raise Refused(f"cannot pin {self._root}: more than {MAX_PENDING} links wait at once below it")
        self._ask()
        if self._missing:
            raise Incomplete(self._root, list(dict.fromkeys(self._missing))[:MAX_MISSING])

    def _compare(self, links: list[dagpb.Link], old: dict[bytes | int, CID], stack: list[_Pair]) -> None:
        for number, link in enumerate(links):
            before = old.get(link.name or number)
            if before != link.cid:
                self._meet(_Pair(link.cid, before), stack)

    def _meet(self, pair: _Pair, stack: list[_Pair]) -> None:
        if pair.new.codec != RAW:
            if self._seen.add(pair.new):
                stack.append(pair)
        elif pair.new.hash_code != IDENTITY:
            self._leaves[pair.new] = None
            self._met += 1
            if len(self.sample) < self._samples:
                self.sample.append(pair.new)
            elif (place := self._chance.randrange(self._met)) < self._samples:
                self.sample[place] = pair.new
            if len(self._leaves) >= _LEAVES:
                self._ask()

    def _ask(self) -> None:
        if self._leaves:
            self._missing.extend(self._lacking(list(self._leaves)))
            self._leaves.clear()

    def _links(self, cid: CID, node: bytes) -> list[dagpb.Link]:
        if cid.codec != DAG_PB:
            raise Refused(f"cannot pin {self._root}: {cid} has codec 0x{cid.codec:x}; only raw and dag-pb are walked")
        try:
            return list(dagpb.decode(node).links)
        except Malformed as error:
            raise Refused(f"cannot pin {self._root}: block {cid} is no dag-pb node ({error})") from error

    def _load(self, pair: _Pair) -> bytes | None:
        if pair.new.hash_code == IDENTITY:
            return pair.new.digest
        try:
            return self._fetch(pair.new)
        except Missing:
            return None

    def _old(self, pair: _Pair) -> dict[bytes | int, CID]:
        """The links of the base's node; one that cannot be read saves nothing."""
        if pair.old is None or pair.old.codec != DAG_PB:
            return {}
        try:
            links = dagpb.decode(self._fetch(pair.old)).links
        except (StoreError, Malformed):
            return {}
        return {link.name or number: link.cid for number, link in enumerate(links)}
