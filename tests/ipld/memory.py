"""Blocks in memory that remember what was asked of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pinfold.errors import Missing
from pinfold.ipld import CID, dagpb, unixfs

if TYPE_CHECKING:
    from collections.abc import Iterable

Entries = list[tuple[bytes, CID, int]]


class Blocks(dict[CID, bytes]):
    """A store reduced to a dictionary: `emit` and `get` as readers and writers want them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[CID] = []

    def emit(self, cid: CID, block: bytes) -> None:
        """Keep a block, and see that it is the one its CID names."""
        cid.verify(block)
        self[cid] = block

    def fetch(self, cid: CID) -> bytes:
        """Return a block, and remember that it was asked for."""
        self.asked.append(cid)
        if cid not in self:
            raise Missing(cid)
        return self[cid]

    def leaf(self, data: bytes) -> CID:
        """Keep a raw block."""
        cid = CID.of(0x55, data)
        self[cid] = data
        return cid

    def node(self, data: unixfs.Data, links: Iterable[dagpb.Link] = ()) -> CID:
        """Keep a dag-pb node, however wrong."""
        block = dagpb.encode(dagpb.Node(tuple(links), unixfs.encode(data)))
        cid = CID.of(0x70, block)
        self[cid] = block
        return cid

    def file(self, *children: tuple[CID, int], data: bytes | None = None) -> CID:
        """Keep an inner node of a file over (child, length) pairs."""
        sizes = tuple(size for _, size in children)
        total = sum(sizes) + len(data or b"")
        message = unixfs.Data(unixfs.Kind.FILE, data=data, filesize=total, blocksizes=sizes)
        return self.node(message, (dagpb.Link(cid) for cid, _ in children))


def entries(count: int, *, prefix: str = "file-") -> Entries:
    """Return entries with names, digests and sizes that depend only on their number."""
    return [
        (f"{prefix}{number}".encode(), CID.raw(hashlib.sha256(b"%d" % number).digest()), number)
        for number in range(count)
    ]


def identity(codec: int, data: bytes) -> CID:
    """Return the CID that carries `data` in itself."""
    return CID(1, codec, 0, data)
