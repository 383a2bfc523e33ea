"""Walk a DAG through its public links: what a pin keeps, proved without a key.

Source: the codecs dag-pb and raw.  dag-cbor is refused: pinfold links nothing by it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Protocol

from pinfold.errors import Malformed
from pinfold.ipld import dagpb
from pinfold.ipld.cid import CID, DAG_PB, IDENTITY, RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Children waiting at once, 270 bytes each: 43 folders inside one another, each as wide as a plain one can be.
MAX_PENDING: Final = 1 << 18
_MARK: Final = 16
_FREE: Final = bytes(_MARK)


class Seen(Protocol):
    """Remembers which CIDs were met; a database can stand in for very large graphs."""

    def add(self, cid: CID) -> bool:
        """Remember `cid`; return whether it was new."""


class SeenMarks:
    """Remembers CIDs in memory at 21 to 43 bytes each (a set of CIDs takes about 290).

    Open addressing over one bytearray of 16-byte marks, cut from the SHA-256 of the whole CID: to hide a
    block by a false match takes 2**64 hashes of both CIDs chosen, 2**128 of a given one.
    """

    def __init__(self) -> None:
        self._count = 0
        self._slots = 1 << 10
        self._table = bytearray(self._slots * _MARK)

    def __len__(self) -> int:
        return self._count

    def add(self, cid: CID) -> bool:
        """Remember `cid`; return whether it was new."""
        if not self._insert(hashlib.sha256(bytes(cid)).digest()[:_MARK]):
            return False
        self._count += 1
        if self._count * 4 > self._slots * 3:
            self._grow()
        return True

    def _insert(self, mark: bytes) -> bool:
        table, mask = self._table, self._slots - 1
        slot = int.from_bytes(mark[:8], "little") & mask
        while True:
            at = slot * _MARK
            held = table[at : at + _MARK]
            if held == mark:
                return False
            if held == _FREE:
                table[at : at + _MARK] = mark
                return True
            slot = (slot + 1) & mask

    def _grow(self) -> None:
        old = self._table
        self._slots *= 2
        self._table = bytearray(self._slots * _MARK)
        for at in range(0, len(old), _MARK):
            mark = bytes(old[at : at + _MARK])
            if mark != _FREE:
                self._insert(mark)


def links(cid: CID, block: bytes) -> list[CID]:
    """Return the CIDs that `block`, whose CID is `cid`, links to, in order and with repeats.

    Raises Malformed for codecs other than raw and dag-pb.
    """
    if cid.codec == RAW:
        return []
    if cid.codec != DAG_PB:
        raise Malformed("block", f"{cid} has codec 0x{cid.codec:x}; only raw and dag-pb are walked")
    return [link.cid for link in dagpb.decode(block).links]


def walk(root: CID, get: Callable[[CID], bytes | None], seen: Seen | None = None) -> Iterator[CID]:
    """Yield `root` and every CID below it once, parents before children, depth first.

    Raw blocks are yielded without being fetched: they have no links.  Identity CIDs are entered but not
    yielded: nothing stores them.  Where `get` returns None the walk goes on without what lies below.
    CIDs that `seen` knows are neither yielded nor entered.  Raises Malformed, and what `get` raises.
    """
    seen = SeenMarks() if seen is None else seen
    pending = [root]
    while pending:
        cid = pending.pop()
        if not seen.add(cid):
            continue
        identity = cid.hash_code == IDENTITY
        if not identity:
            yield cid
        if cid.codec == RAW:
            continue
        block = cid.digest if identity else get(cid)
        if block is None:
            continue
        # Repeats within a node go at once: a file of equal chunks would else fill the stack with itself.
        children = list(dict.fromkeys(links(cid, block)))
        if len(pending) + len(children) > MAX_PENDING:
            raise Malformed("DAG", f"more than {MAX_PENDING} links wait at once below {root}")
        children.reverse()
        pending += children
