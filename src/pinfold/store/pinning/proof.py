"""Is a pin that a service tells of really there?  A sample of its blocks, fetched through a gateway.

Not every block is asked for, that would be a restore: paths are drawn by lot, so a service that keeps half of
the blocks is caught with each path by a chance of one half.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed
from pinfold.ipld.cid import RAW
from pinfold.ipld.walk import links

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinfold.ipld.cid import CID

PATHS: Final = 8
_DEEPEST: Final = 64
_NODES_KEPT: Final = 64


def sample(root: CID, get: Callable[[CID], bytes], paths: int = PATHS) -> int:
    """Fetch `root` and the blocks on some paths to leaves; returns how many.

    `get` checks hashes.  Raises what it raises; Malformed for a node that is none.
    """
    known: dict[CID, list[CID]] = {}
    fetched: set[CID] = set()
    for _ in range(paths):
        cid = root
        for _ in range(_DEEPEST):
            children = known.get(cid)
            if children is None:
                children = [] if cid in fetched else _below(cid, get(cid))
                fetched.add(cid)
                if len(known) < _NODES_KEPT:
                    known[cid] = children
            if not children:
                break
            cid = secrets.choice(children)
    return len(fetched)


def _below(cid: CID, block: bytes) -> list[CID]:
    try:
        return list(dict.fromkeys(links(cid, block)))
    except Malformed:
        if cid.codec == RAW:
            return []
        raise
