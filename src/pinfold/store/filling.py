"""Moving into one store what it lacks below a root, from wherever it can be read.

The walk goes level by level, as that of prove.py does, and asks the target in batches.  What it has met
once is not looked at again: of a row of snapshots that share their shards only the differences are walked.
Memory: a mark of 21 to 43 bytes for each block met, one level of nodes, and the blocks being moved.
Crash rule: nothing is pinned here.  What was moved before a crash is asked for and found by the next run.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.errors import Malformed, StoreError
from pinfold.ipld import dagpb
from pinfold.ipld.cid import DAG_PB, IDENTITY, RAW
from pinfold.ipld.walk import SeenMarks
from pinfold.store.crew import Crew
from pinfold.store.prove import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Block, Store

    Get = Callable[[CID], bytes]
    Present = Callable[[list[CID]], set[CID]]

ASKED_AT_ONCE: Final = 1024
_NODES_AT_A_TIME: Final = 256
_LEAST_AT_ONCE: Final = 4


class Lack(NamedTuple):
    """A block that a store lacks: its size in bytes (as its parent tells it), and its bytes if it is a node."""

    cid: CID
    size: int
    node: bytes | None


def lacking(root: CID, get: Get, present: Present, seen: SeenMarks, at_once: int = 1) -> Iterator[Lack]:
    """What is not `present` of all below `root`, in any order, save what `seen` knows; `seen` learns all of it.

    `get` reads nodes from where the DAG is whole, `at_once` of them together.  Raises what `get` and
    `present` raise, and Malformed for a node that is none.
    """
    level = [root] if seen.add(root) else []
    leaves: list[tuple[CID, int]] = []
    with _crew(at_once) as crew:
        while level:
            below: list[CID] = []
            for some in batches(level, _NODES_AT_A_TIME):
                nodes = [cid for cid in some if cid.codec != RAW]
                leaves += [(cid, 0) for cid in some if cid.codec == RAW]
                there = present(nodes) if nodes else set()
                coming = [crew.submit(get, cid) for cid in nodes]
                for cid, node in zip(nodes, (one.result() for one in coming), strict=True):
                    if cid not in there and cid.hash_code != IDENTITY:
                        yield Lack(cid, len(node), node)
                    _sort(cid, node, seen, below, leaves)
                while len(leaves) >= ASKED_AT_ONCE:
                    yield from _absent(leaves[:ASKED_AT_ONCE], present)
                    del leaves[:ASKED_AT_ONCE]
            level = below
        yield from _absent(leaves, present)


def _sort(cid: CID, node: bytes, seen: SeenMarks, below: list[CID], leaves: list[tuple[CID, int]]) -> None:
    """Put the children of a node where they belong, each once."""
    if cid.codec != DAG_PB:
        raise Malformed("block", f"{cid} has codec 0x{cid.codec:x}; only raw and dag-pb are walked")
    for link in dagpb.decode(node).links:
        child = link.cid
        if (child.hash_code == IDENTITY and child.codec == RAW) or not seen.add(child):
            continue
        if child.codec == RAW:
            leaves.append((child, link.tsize or 0))
        else:
            below.append(child)


def _absent(leaves: list[tuple[CID, int]], present: Present) -> Iterator[Lack]:
    there = present([cid for cid, _ in leaves]) if leaves else set()
    for cid, size in leaves:
        if cid not in there:
            yield Lack(cid, size, None)


class SourceError(Exception):
    """Reading, not storing, failed: `error` is why.  No error of stores, so they pass it through untouched."""

    def __init__(self, error: StoreError | Malformed) -> None:
        super().__init__(str(error))
        self.error = error


def fill(
    root: CID,
    get: Get,
    target: Store,
    seen: SeenMarks | None = None,
    *,
    at_once: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[int, int]:
    """Put into `target` what it lacks below `root`; returns how many blocks and bytes.

    `get` reads checked blocks; `progress` is told the bytes of each as it is handed over; `seen` as for
    `lacking`, and worth nothing any more after an error.
    Raises SourceError for what reading raised, and what the target raises.
    """
    moved = _Moved(progress)
    target.put(moved.blocks(root, get, target, SeenMarks() if seen is None else seen, at_once))
    return moved.count, moved.bytes


class _Moved:
    """Blocks on their way, counted."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self.count = self.bytes = 0
        self._progress = progress

    def blocks(self, root: CID, get: Get, target: Store, seen: SeenMarks, at_once: int) -> Iterator[Block]:
        for cid, block in _read_ahead(_told_apart(root, get, target, seen, at_once), get, at_once):
            self.count += 1
            self.bytes += len(block)
            self._progress(len(block))
            yield cid, block


def _told_apart(root: CID, get: Get, target: Store, seen: SeenMarks, at_once: int) -> Iterator[Lack]:
    """What the target lacks; what reading raises becomes SourceError, what the target raises stays."""

    def read(cid: CID) -> bytes:
        try:
            return get(cid)
        except StoreError as error:
            raise SourceError(error) from error

    try:
        yield from lacking(root, read, target.has, seen, at_once)
    except Malformed as error:
        raise SourceError(error) from error


def _read_ahead(lacks: Iterable[Lack], get: Get, at_once: int) -> Iterator[Block]:
    """The blocks, with a few more being read meanwhile."""
    waiting: deque[tuple[CID, bytes | Future[bytes]]] = deque()
    with _crew(at_once) as crew:
        for cid, _, node in lacks:
            waiting.append((cid, crew.submit(get, cid) if node is None else node))
            if len(waiting) > max(_LEAST_AT_ONCE, at_once):
                yield _next(waiting)
        while waiting:
            yield _next(waiting)


def _next(waiting: deque[tuple[CID, bytes | Future[bytes]]]) -> Block:
    cid, block = waiting.popleft()
    if isinstance(block, bytes):
        return cid, block
    try:
        return cid, block.result()
    except StoreError as error:
        raise SourceError(error) from error


@contextmanager
def _crew(at_once: int) -> Iterator[Crew]:
    """Threads that read; what is near is waited for at the end, what is far may never answer."""
    crew = Crew(max(_LEAST_AT_ONCE, at_once), "pinfold-copy")
    try:
        yield crew
    finally:
        crew.close(wait=at_once == 1)
