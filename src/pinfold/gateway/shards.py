"""Folders entry by entry, from any place on, reading no more shards than that takes.

The entries of a sharded folder come in the order of the hash of their names, so a page of them can begin
anywhere and costs no more than what is on it; in the order of names the whole trie would be read for each page.

Source: https://specs.ipfs.tech/unixfs/, "dag-pb HAMTDirectory".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.errors import Malformed
from pinfold.gateway.filetree import weight
from pinfold.ipld import hamt, unixfs
from pinfold.ipld.nodes import load_unixfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.gateway.blocks import Blocks
    from pinfold.ipld import dagpb
    from pinfold.ipld.cid import CID
    from pinfold.ipld.dagpb import Link

# Bytes of links in one shard: 1024 entries with names of 255 bytes have 310 kB.
MOST_SHARD: Final = 1 << 20
_AHEAD: Final = 64
_BITS: Final = 64


class Shard(NamedTuple):
    """A shard that was read: its CID and block."""

    cid: CID
    block: bytes


class _Place(NamedTuple):
    link: Link
    depth: int
    path: int  # the buckets on the way to it, as one number


def trie(root: CID, blocks: Blocks, after: int = -1) -> Iterator[Shard | tuple[int, Link]]:
    """Yield the shards of a folder and its entries as (hash of the name, link), in the order of the trie.

    `after`: only entries whose hash is greater, and only the shards that can hold such.  Raises Malformed, and
    what the store raises.
    """
    block = blocks.part(root)
    node, data = _load(root, block)
    cut = hamt.read_layout(data)
    pending = _children(node, data, cut, 0, 0) if node.links else []
    found = [Shard(root, block)]
    del block, node, data  # as in filetree.py
    yield found.pop()
    while pending:
        place = pending.pop()
        # The greatest hash that lies below this place.
        if ((place.path + 1) << (_BITS - cut.bits * place.depth)) - 1 <= after:
            continue
        if place.link.name:
            key = hamt.key(place.link.name)
            if key >> (_BITS - cut.bits * place.depth) != place.path:
                raise Malformed("HAMT shard", f"entry {place.link.name[:80]!r} lies where its hash does not belong")
            if key > after:
                yield key, place.link
            continue
        # As in ipld.folders: shards that refer to one another many times over fail at the first wrong entry.
        if place.depth >= cut.levels:
            raise Malformed("HAMT shard", f"is deeper than {cut.levels} levels")
        blocks.expect(_shards(pending))
        block = blocks.part(place.link.cid)
        pending += _children(*_load(place.link.cid, block), cut, place.depth, place.path)
        found.append(Shard(place.link.cid, block))
        del block
        yield found.pop()


def is_sharded(data: unixfs.Data) -> bool:
    """Whether a folder is a trie."""
    return data.kind == unixfs.Kind.SHARD


def _load(cid: CID, block: bytes) -> tuple[dagpb.Node, unixfs.Data]:
    if weight(block) > MOST_SHARD:
        raise Malformed("HAMT shard", f"{cid} has more than {MOST_SHARD} bytes of links")
    return load_unixfs(cid, lambda _: block)


def _children(node: dagpb.Node, data: unixfs.Data, cut: hamt.Layout, depth: int, path: int) -> list[_Place]:
    found = hamt.read_shard(node, data, cut)
    children = [_Place(link, depth + 1, path << cut.bits | bucket) for bucket, link in sorted(found.items())]
    children.reverse()
    return children


def _shards(pending: list[_Place]) -> Iterator[CID]:
    for place, _ in zip(reversed(pending), range(_AHEAD), strict=False):
        if not place.link.name:
            yield place.link.cid
