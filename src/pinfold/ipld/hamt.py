"""Sharded folders: a trie over the hash of each name, one block per branch.

The 64-bit hash of a name is read from its top, log2(fanout) bits a level.  A bucket with one entry holds
the entry, named PREFIX + name; one with more holds a shard, named PREFIX; the prefix is the bucket's
number in upper-case hexadecimal.  A shard's data is a number with bit i set for each used bucket i, big-endian
without leading nought bytes.

Entries that come sorted by hash give the shards bottom-up, so that the builder holds no more than the
shards on the path to the current entry: fanout encoded links for each of at most 64 / log2(fanout) levels.

Source: https://specs.ipfs.tech/unixfs/, "dag-pb HAMTDirectory".  Its "little-endian" bitfield is not what
implementations write.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import mmh3

from pinfold.errors import Malformed
from pinfold.ipld import dagpb, unixfs
from pinfold.ipld.cid import CID, DAG_PB
from pinfold.ipld.dagpb import Link

if TYPE_CHECKING:
    from pinfold.ipld.nodes import Emit

FANOUT: Final = 256
MIN_FANOUT: Final = 8
MAX_FANOUT: Final = 1024  # bound set by the spec after CVE-2023-23625
_KEY_BITS: Final = 64


def key(name: bytes) -> int:
    """Return the 64-bit number that places `name`: entries sorted by it are in the order of the trie."""
    return mmh3.hash64(name, 0, x64arch=True, signed=False)[0]


class Layout:
    """What follows from a fanout: how a key is cut into buckets and how buckets are written."""

    __slots__ = ("bits", "buckets", "fanout", "levels", "prefixes", "width")

    def __init__(self, fanout: int) -> None:
        """Raises ValueError unless `fanout` is a power of two from 8 to 1024."""
        if not MIN_FANOUT <= fanout <= MAX_FANOUT or fanout & (fanout - 1):
            raise ValueError(fanout)
        self.fanout = fanout
        self.bits = fanout.bit_length() - 1
        self.levels = _KEY_BITS // self.bits
        self.width = len(f"{fanout - 1:X}")
        self.prefixes = [f"{bucket:0{self.width}X}".encode() for bucket in range(fanout)]
        self.buckets = {prefix: bucket for bucket, prefix in enumerate(self.prefixes)}

    def bucket(self, place: int, depth: int) -> int:
        """Return the bucket that the key `place` falls into at `depth` (the root is 0)."""
        return place >> (_KEY_BITS - self.bits * (depth + 1)) & (self.fanout - 1)

    def shared(self, one: int, other: int) -> int:
        """Return how many levels the paths of two keys have in common."""
        return (_KEY_BITS - (one ^ other).bit_length()) // self.bits


layout = lru_cache(maxsize=8)(Layout)


class _Shard:
    """A shard being written: its links, encoded, and what is summed over them."""

    __slots__ = ("body", "bucket", "tsize", "used")

    def __init__(self, bucket: int) -> None:
        self.bucket = bucket  # of its parent
        self.body = bytearray()
        self.used = 0
        self.tsize = 0

    def put(self, bucket: int, link: Link) -> None:
        self.body += dagpb.encode_link(link)
        self.used |= 1 << bucket
        self.tsize += link.tsize


class Builder:
    """Writes a sharded folder from entries sorted by `key`."""

    def __init__(self, emit: Emit, fanout: int = FANOUT) -> None:
        """`emit` is given each shard, children before parents.  Raises ValueError for a bad fanout."""
        self._layout = layout(fanout)
        self._emit = emit
        self._open = [_Shard(0)]
        self._last: tuple[int, Link] | None = None

    def add(self, place: int, name: bytes, cid: CID, tsize: int) -> None:
        """Add an entry; `place` is `key(name)`.

        Raises ValueError when entries come out of order or a name comes twice, also when two names share
        all the bits that the trie reads, which it cannot tell apart.
        """
        if self._last is not None:
            before, link = self._last
            if place < before:
                raise ValueError(f"entry {name!r} comes out of order")
            shared = self._layout.shared(before, place)
            if shared >= self._layout.levels:
                raise ValueError(
                    f"entry {name!r} comes twice" if link.name == name else f"{name!r} and {link.name!r} collide"
                )
            self._place(before, link, shared)
        self._last = (place, Link(cid, name, tsize))

    def finish(self) -> tuple[CID, int]:
        """Write the shards still open; return the root and the bytes of all below and including it."""
        if self._last is not None:
            self._place(*self._last, 0)
        root = self._close()
        return root.cid, root.tsize

    def _place(self, place: int, link: Link, shared: int) -> None:
        """Put an entry into the deepest shard it shares with a neighbour, `shared` levels with the next."""
        cut = self._layout
        while len(self._open) <= shared:
            self._open.append(_Shard(cut.bucket(place, len(self._open) - 1)))
        bucket = cut.bucket(place, len(self._open) - 1)
        self._open[-1].put(bucket, Link(link.cid, cut.prefixes[bucket] + link.name, link.tsize))
        while len(self._open) > shared + 1:
            bucket = self._open[-1].bucket
            child = self._close()
            self._open[-1].put(bucket, Link(child.cid, cut.prefixes[bucket], child.tsize))

    def _close(self) -> Link:
        shard = self._open.pop()
        used = shard.used.to_bytes((shard.used.bit_length() + 7) // 8, "big")
        data = unixfs.Data(unixfs.Kind.SHARD, data=used, hash_type=unixfs.MURMUR3, fanout=self._layout.fanout)
        shard.body += dagpb.encode_data(unixfs.encode(data))
        block = bytes(shard.body)
        cid = CID.of(DAG_PB, block)
        self._emit(cid, block)
        return Link(cid, b"", shard.tsize + len(block))


def read_layout(data: unixfs.Data) -> Layout:
    """Return the layout that a shard announces.  Raises Malformed."""
    if data.hash_type != unixfs.MURMUR3:
        raise Malformed("HAMT shard", f"hash function {data.hash_type} is not murmur3-x64-64")
    try:
        return layout(data.fanout or 0)
    except ValueError as error:
        raise Malformed("HAMT shard", f"fanout {data.fanout} is no power of two from 8 to 1024") from error


def read_shard(node: dagpb.Node, data: unixfs.Data, cut: Layout) -> dict[int, Link]:
    """Return the links of one shard by bucket, in written order, their names without the prefix.

    An empty name marks a deeper shard.  `cut` is the layout of the root, which every shard must share.
    Raises Malformed when names, buckets and bitfield do not agree.
    """
    if data.kind != unixfs.Kind.SHARD or read_layout(data) is not cut:
        raise Malformed("HAMT shard", "is no shard, or not like the root of its folder")
    if not node.links or len(node.links) > cut.fanout or len(data.data or b"") > cut.fanout // 8:
        raise Malformed("HAMT shard", f"{len(node.links)} links, bitfield of {len(data.data or b'')} bytes")
    found: dict[int, Link] = {}
    used = 0
    for cid, name, tsize in node.links:
        bucket = cut.buckets.get(name[: cut.width])
        if bucket is None or bucket in found:
            raise Malformed("HAMT shard", f"link {name[:80]!r} names no bucket, or one twice")
        found[bucket] = Link(cid, name[cut.width :], tsize)
        used |= 1 << bucket
    if used != int.from_bytes(data.data or b"", "big"):
        raise Malformed("HAMT shard", "bitfield and links name different buckets")
    return found
