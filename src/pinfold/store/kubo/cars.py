"""Batches on their way into a node: a CAR for each, and a listing that one pin can hold.

    CAR = header(root: the listing) ‖ the listing ‖ the blocks

The listing is a UnixFS folder of all blocks of a batch, made before the first byte is sent, because a CAR
tells its root first; a batch is therefore held in memory, BATCH_BYTES at most, and never copied.  (At 16 MiB
and two under way 100 MiB take 0.67 s on two busy cores, at 32 MiB one by one 0.78.)  Blocks are
listed and sent as raw ones whatever they are: a pin of the listing holds each of them and walks none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pinfold.errors import Refused
from pinfold.ipld import car
from pinfold.ipld.cid import CID, IDENTITY, RAW, SHA2_256
from pinfold.ipld.folders import build_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pinfold.store.seam import Block

BATCH_BYTES: Final = 16 << 20
# The listing of so many stays one block: 106 bytes each, below the 262144 at which folders are sharded.
BATCH_BLOCKS: Final = 2048
# Kubo asks to be told before it takes more (bitswap moves no block beyond this).
BIG: Final = 2 << 20


def gathered(blocks: Iterable[Block], where: str) -> Iterator[dict[bytes, bytes]]:
    """`blocks` by digest, in batches.  Raises Refused for hash functions other than sha2-256 and identity."""
    batch: dict[bytes, bytes] = {}
    size = 0
    for cid, block in blocks:
        if cid.hash_code == IDENTITY:
            continue
        if cid.hash_code != SHA2_256:
            raise Refused(f"{where} keeps sha2-256 blocks only, not {cid}")
        if cid.digest in batch:
            continue
        batch[cid.digest] = block
        size += len(block)
        if size >= BATCH_BYTES or len(batch) == BATCH_BLOCKS:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


class Listing:
    """A folder that lists blocks by their digests: `root` is its CID, `twin` the same block as a raw one.

    `mark` makes it another than everybody else's of the same blocks: whoever ends first drops its own alone.
    """

    def __init__(self, sizes: dict[bytes, int], mark: str) -> None:
        """`sizes`: bytes of each block, 0 where nobody knows; `mark`: no more than 64 letters."""
        self.nodes: list[tuple[CID, bytes]] = []
        raws = ((CID.raw(digest), size) for digest, size in sizes.items())
        entries = [(str(cid).encode(), cid, size) for cid, size in raws]
        entries.append((mark.encode(), CID(1, RAW, IDENTITY, mark.encode()), 0))
        self.root, _ = build_folder(entries, lambda cid, node: self.nodes.append((cid, node)))
        self.twin = CID.raw(self.root.digest)
        self.digests = sizes.keys()

    @property
    def block(self) -> bytes:
        """The block of the root, which is written last."""
        return self.nodes[-1][1]


def loose(blocks: dict[bytes, bytes]) -> Iterator[bytes]:
    """A CAR of blocks that nothing lists."""
    yield car.header([CID.raw(next(iter(blocks)))])
    yield from _sections(blocks)


def listed(listing: Listing, blocks: dict[bytes, bytes]) -> Iterator[bytes]:
    """A CAR of a listing and of some blocks; what it lists beyond them lies in the node."""
    yield car.header([listing.root])
    for cid, node in listing.nodes:
        yield car.section(cid, node)
    yield from _sections(blocks)


def has_big(blocks: Collection[bytes]) -> bool:
    """Whether one of these is larger than Kubo takes without being told."""
    return any(len(block) > BIG for block in blocks)


def _sections(blocks: dict[bytes, bytes]) -> Iterator[bytes]:
    for digest, block in blocks.items():
        yield car.section_prefix(CID.raw(digest), len(block))
        yield block
