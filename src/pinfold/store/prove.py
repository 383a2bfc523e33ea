"""Proving a pin: is every block below a root present?  What every store that walks by itself shares.

The walk goes level by level and reads dag-pb nodes only; all other blocks are asked for in batches.
Memory is one digest per dag-pb node and one level of nodes, never the leaves.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pinfold.errors import Incomplete, Malformed, Missing, Refused, StoreError
from pinfold.ipld.cid import RAW
from pinfold.ipld.walk import links

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pinfold.ipld.cid import CID

    Fetch = Callable[[CID], bytes]
    Present = Callable[[list[CID]], set[CID]]

MAX_MISSING = 1000
BATCH = 4096


def prove(root: CID, fetch: Fetch, present: Present, proved: CID | None = None) -> None:
    """Return if every block below `root` is there, else raise Incomplete.

    `fetch` reads a checked dag-pb node, `present` tells which CIDs are stored.  Nodes that also
    hang, at the same depth, below `proved` (a root known to be complete) are not looked at again:
    of two consecutive snapshots only the difference is walked.  Raises what `fetch` raises, and
    Refused where a node below `root` is no valid dag-pb.
    """
    missing: list[CID] = []
    seen: set[bytes] = set()
    level = [root]
    old = {} if proved is None else {bytes(proved): proved}
    while level and len(missing) < MAX_MISSING:
        fresh = [cid for cid in level if bytes(cid) not in old]
        shared = {bytes(cid) for cid in level} & old.keys()
        level = list(_below(root, fresh, fetch, present, missing, seen))
        old = _old_level([cid for key, cid in old.items() if key not in shared], fetch) if level else {}
    if missing:
        raise Incomplete(root, missing[:MAX_MISSING])


def batches(cids: Iterable[CID], size: int = BATCH) -> Iterator[list[CID]]:
    """`cids` in lists of at most `size`."""
    source = iter(cids)
    while batch := list(islice(source, size)):
        yield batch


def _below(
    root: CID, level: list[CID], fetch: Fetch, present: Present, missing: list[CID], seen: set[bytes]
) -> Iterator[CID]:
    """The dag-pb nodes directly below `level`, each once; what is not there goes to `missing`."""
    leaves: list[CID] = []
    for cid in level:
        if cid.codec == RAW:
            leaves.append(cid)
            continue
        try:
            children = links(cid, fetch(cid))
        except Missing:
            missing.append(cid)
            continue
        except Malformed as error:
            raise Refused(f"cannot pin {root}: block {cid} is no dag-pb node ({error})") from error
        for child in children:
            if child.codec == RAW:
                leaves.append(child)
            elif bytes(child) not in seen:
                seen.add(bytes(child))
                yield child
        if len(leaves) >= BATCH:
            _ask(leaves, present, missing)
            leaves = []
    _ask(leaves, present, missing)


def _ask(leaves: list[CID], present: Present, missing: list[CID]) -> None:
    for batch in batches(leaves):
        there = present(batch)
        if len(there) < len(batch):
            missing.extend(cid for cid in dict.fromkeys(batch) if cid not in there)


def _old_level(nodes: list[CID], fetch: Fetch) -> dict[bytes, CID]:
    """The dag-pb nodes below `nodes` of the proved root; a node that cannot be read saves nothing."""
    found: dict[bytes, CID] = {}
    for cid in nodes:
        if cid.codec == RAW:
            continue
        try:
            found.update((bytes(child), child) for child in links(cid, fetch(cid)) if child.codec != RAW)
        except (StoreError, Malformed):
            continue
    return found
