"""Blocks on their way into a cluster: CARs of bounded size, each with one root that lists its blocks.

A listing is a UnixFS folder.  It names every block as a raw one, whatever it is: Kubo files blocks under
their hash alone, a raw entry is not walked any further (what lies below a node may come with the next CAR),
and Cluster does not try to decode it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.ipld import car
from pinfold.ipld.cid import CID
from pinfold.ipld.folders import build_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pinfold.store.seam import Block

CAR_BYTES: Final = 32 << 20
# So many entries still fit one node, which Kubo takes whole.
CAR_BLOCKS: Final = 4096


class Batch(NamedTuple):
    """One CAR to be sent: its root, its sections, root last, and the bytes of all its blocks."""

    root: CID
    sections: tuple[Block, ...]
    size: int


def batches(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """`blocks` in lists that fit a CAR, each block once within its list."""
    held: dict[bytes, Block] = {}
    size = 0
    for cid, block in blocks:
        if cid.digest in held:
            continue
        held[cid.digest] = (cid, block)
        size += len(block)
        if size >= CAR_BYTES or len(held) >= CAR_BLOCKS:
            yield list(held.values())
            held, size = {}, 0
    if held:
        yield list(held.values())


def listed(blocks: Sequence[Block], label: str) -> Batch:
    """A CAR of `blocks`.  `label` makes its root differ from every other's, and from any folder of users."""
    sections = [(CID.raw(cid.digest), block) for cid, block in blocks]
    entries = [(f"{label}-{number}".encode(), cid, len(block)) for number, (cid, block) in enumerate(sections)]
    nodes: dict[CID, bytes] = {}
    root, _ = build_folder(entries, nodes.__setitem__)
    sections += nodes.items()
    return Batch(root, tuple(sections), sum(len(block) for _, block in sections))


def body(batch: Batch, boundary: str) -> Iterator[bytes]:
    """The CAR as the one file of a multipart form."""
    yield (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="blocks.car"\r\n'
        "Content-Type: application/vnd.ipld.car\r\n\r\n"
    ).encode()
    yield car.fixed_header(batch.root)
    for cid, block in batch.sections:
        yield car.section_prefix(cid, len(block))
        if block:  # an empty piece would end a body sent in chunks
            yield block
    yield f"\r\n--{boundary}--\r\n".encode()
