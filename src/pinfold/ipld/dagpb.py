"""The dag-pb codec: nodes of links and data, byte-equal to what Kubo writes.

Written form: all links before the data, each link as Hash, Name, Tsize; Name and Tsize are always
there, an empty Name as two bytes.  Links are written in the order given: directories sort them by
name, files keep them in the order of their bytes.

Source: https://ipld.io/specs/codecs/dag-pb/spec/.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pinfold.errors import Malformed
from pinfold.ipld import protobuf, varint
from pinfold.ipld.cid import CID, DAG_PB, RAW

MAX_BLOCK: Final = 8 << 20  # four times what Kubo writes at most (2 MiB); old tools went to 4 MiB
# 48,000 links fill the largest block Kubo takes; each costs about 250 bytes once decoded.
MAX_LINKS: Final = 1 << 17
_MAX_TSIZE: Final = (1 << 63) - 1
_ONE_BYTE: Final = 0x80  # numbers below take one byte
_LINK_FRAME: Final = 5  # three keys and two lengths of one byte
_DATA, _LINK = 0x0A, 0x12  # keys of PBNode
_HASH, _NAME, _TSIZE = 0x0A, 0x12, 0x18  # keys of PBLink
_V1_SHA256 = {bytes((1, RAW, 0x12, 32)): CID.raw, bytes((1, DAG_PB, 0x12, 32)): CID.dag_pb}
_V1_SIZE = 36


class Link(NamedTuple):
    """One link of a node: the child, the name it goes by, the bytes of the whole DAG below it.

    A name or size that the block left out reads as empty or 0.
    """

    cid: CID
    name: bytes = b""
    tsize: int = 0


class Node(NamedTuple):
    """One dag-pb block: its links in written order, and its data; None when the field is not there."""

    links: tuple[Link, ...] = ()
    data: bytes | None = None


def encode_link(link: Link) -> bytes:
    """Return one link as it stands inside a node, its key and length before it.

    Raises ValueError for a size outside 0 … 2**63 - 1.
    """
    cid, name, tsize = link
    raw, size = bytes(cid), varint.encode(tsize)
    hashed, named = len(raw), len(name)
    total = hashed + named + len(size) + _LINK_FRAME
    if total < _ONE_BYTE:  # one format string takes 0.8 µs, joining the parts below 1.1
        return b"\x12%c\x0a%c%b\x12%c%b\x18%b" % (total, hashed, raw, named, name, size)
    body = b"\x0a%b%b\x12%b%b\x18%b" % (_length(hashed), raw, _length(named), name, size)
    return b"\x12%b%b" % (_length(len(body)), body)


def encode_data(data: bytes) -> bytes:
    """Return the data field as it stands at the end of a node."""
    return b"\x0a" + _length(len(data)) + data


def encode(node: Node) -> bytes:
    """Return the block of `node`, its links in the order given.  Raises ValueError for a bad size."""
    parts = [encode_link(link) for link in node.links]
    if node.data is not None:
        parts.append(encode_data(node.data))
    return b"".join(parts)


def decode(block: bytes) -> Node:
    """Return the node that `block` holds.

    Data may stand before or after the links, never between them.  Raises Malformed, also for blocks
    over MAX_BLOCK bytes or MAX_LINKS links.
    """
    if len(block) > MAX_BLOCK:
        raise Malformed("dag-pb node", f"{len(block)} bytes are more than {MAX_BLOCK}")
    links: list[Link] = []
    data: bytes | None = None
    closed = False  # data came behind links: no more links may follow
    at, size = 0, len(block)
    while at < size:
        start, key = at, block[at]
        length, at = _read(block, at + 1)
        end = at + length
        if end > size:
            raise Malformed("dag-pb node", "field is cut short", start)
        if key == _LINK:
            if closed or len(links) >= MAX_LINKS:
                raise Malformed("dag-pb node", "links on both sides of the data, or too many", start)
            links.append(_decode_link(block, at, end))
        elif key == _DATA and data is None:
            data, closed = block[at:end], bool(links)
        else:
            raise Malformed("dag-pb node", f"key 0x{key:02x} is unknown or comes twice", start)
        at = end
    return Node(tuple(links), data)


def _decode_link(block: bytes, at: int, end: int) -> Link:
    start = at
    if at == end or block[at] != _HASH:
        raise Malformed("dag-pb link", "does not begin with a hash", at)
    length, at = _read(block, at + 1)
    after = at + length
    if after > end:
        raise Malformed("dag-pb link", "hash is cut short", start)
    quick = _V1_SHA256.get(block[at : at + 4]) if length == _V1_SIZE else None
    cid = quick(block[at + 4 : after]) if quick else CID.decode(block[at:after])
    at, name, tsize = after, b"", 0
    if at < end and block[at] == _NAME:
        length, at = _read(block, at + 1)
        after = at + length
        if after > end:
            raise Malformed("dag-pb link", "name is cut short", start)
        name, at = block[at:after], after
    if at < end and block[at] == _TSIZE:
        tsize, at = _read(block, at + 1)
        if tsize > _MAX_TSIZE:
            raise Malformed("dag-pb link", "size is over 2**63 - 1", start)
    if at != end:
        raise Malformed("dag-pb link", "fields unknown, out of order, or over its end", start)
    return Link(cid, name, tsize)


def _length(value: int) -> bytes:
    # Nearly every length is one byte; varint.encode takes 0.4 µs, this 0.1.
    return bytes((value,)) if value < _ONE_BYTE else varint.encode(value)


def _read(block: bytes, at: int) -> tuple[int, int]:
    if at < len(block) and block[at] < _ONE_BYTE:
        return block[at], at + 1
    return protobuf.number(block, at, "dag-pb node")
