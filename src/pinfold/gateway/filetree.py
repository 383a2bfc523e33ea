"""Files block by block: which blocks hold a range of a file, and which bytes of it each one holds.

What `pinfold.ipld.read_file` is for readers of bytes, this is for those who need the blocks too, each as its CID.
The same rules hold: every child is as long as its parent says, empty children are not fetched.

Source: https://specs.ipfs.tech/unixfs/.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.errors import Malformed
from pinfold.ipld import dagpb, protobuf, unixfs
from pinfold.ipld.cid import RAW
from pinfold.ipld.nodes import MAX_DEPTH, load_unixfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.gateway.blocks import Blocks
    from pinfold.gateway.ranges import Span
    from pinfold.ipld.cid import CID
    from pinfold.ipld.walk import Seen

# Links waiting at once, 200 bytes each: more than Kubo's widest nodes leave behind at any sane depth.
MAX_PENDING: Final = 1 << 17
# Bytes of inner nodes in a row: a file as Kubo writes it has 60 kB of them at most between two leaves.  A megabyte
# takes 90 ms to read.
MOST_IDLE: Final = 4 << 20
# What a link counts for at least: the shortest take 8 bytes and 5 µs, as long as 60 bytes of longer ones.
_LIGHTEST: Final = 64
_DATA, _LINK = 0x0A, 0x12
_ONE_BYTE: Final = 0x80  # as in dagpb.py
_AHEAD: Final = 64


class Visit(NamedTuple):
    """One block of a file: its CID, the block, and the bytes of the file it holds within the range."""

    cid: CID
    block: bytes
    data: bytes | memoryview


class _Place(NamedTuple):
    cid: CID
    start: int
    size: int | None
    depth: int


class _Node(NamedTuple):
    """A checked node of a file: its own bytes, its length in all, its children and their lengths."""

    data: bytes
    size: int
    children: tuple[tuple[CID, int], ...]


class Outline(NamedTuple):
    """A node seen from outside.  `bare`: the same node without its links; `weight`: see `outline`."""

    links: int
    weight: int
    bare: bytes


def outline(block: bytes) -> Outline:
    """Return how many links a dag-pb node has, and what is left without them; no link is read.

    `weight` is the bytes of the links, short ones counted as longer: what it takes to read them.  The outline takes
    a fifteenth of that, and no memory.  Raises Malformed.
    """
    at, size, links, found = 0, len(block), 0, 0
    data: bytes | None = None
    while at < size:
        key = block[at]
        at += 1
        if at < size and block[at] < _ONE_BYTE:
            length = block[at]
            at += 1
        else:
            length, at = protobuf.number(block, at, "dag-pb node")
        if at + length > size or key not in {_LINK, _DATA} or (key == _DATA and data is not None):
            raise Malformed("dag-pb node", f"key 0x{key:02x} is cut short, unknown or comes twice", at)
        if key == _LINK:
            links += 1
            found += max(length, _LIGHTEST)
        else:
            data = block[at : at + length]
        at += length
    if not links:
        return Outline(0, 0, block)
    return Outline(links, found, b"" if data is None else dagpb.encode_data(data))


def weight(block: bytes) -> int:
    """Return the weight of a node's links, as `outline` does.  Raises Malformed."""
    return outline(block).weight


def file_size(cid: CID, block: bytes) -> int:
    """Return the length of the file whose first block is `block`; its links are counted, not read.

    Raises Malformed where it is none.
    """
    if cid.codec == RAW:
        return len(block)
    seen = outline(block)
    if seen.weight > MOST_IDLE:
        raise Malformed("UnixFS file", f"{cid} has more than {MOST_IDLE} bytes of links")
    return _checked_size(cid, seen.links, load_unixfs(cid, lambda _: seen.bare)[1])


def visit(cid: CID, blocks: Blocks, span: Span, seen: Seen | None = None, whole: Seen | None = None) -> Iterator[Visit]:
    """Yield the blocks that hold bytes of `span`, the root always, parents before children.

    With `seen` and `whole` each block comes once: what `seen` knows is not yielded, and what `whole` knows is
    not entered, since all below it has come.  Raises Malformed, and what the store raises.
    """
    pending = [_Place(cid, 0, None, 0)]
    idle = 0
    while pending:
        place = pending.pop()
        if place.depth > MAX_DEPTH:
            raise Malformed("UnixFS file", f"is deeper than {MAX_DEPTH} levels")
        raw = place.cid.codec == RAW
        if raw and seen is not None and not seen.add(place.cid):
            continue
        inside = span.start <= place.start and place.size is not None and place.start + place.size <= span.end
        if not raw and inside and whole is not None and not whole.add(place.cid):
            continue
        blocks.expect(one.cid for one in islice(reversed(pending), _AHEAD))
        block = blocks.part(place.cid)
        links = 0 if raw else weight(block)
        if idle + links > MOST_IDLE:
            raise Malformed("UnixFS file", f"more than {MOST_IDLE} bytes of inner nodes in a row")
        node = _Node(block, len(block), ()) if raw else _node(place.cid, block)
        if place.size is not None and place.size != node.size:
            raise Malformed("UnixFS file", f"{place.cid} holds {node.size} bytes, its parent promised {place.size}")
        data = _cut(node.data, place.start, span)
        idle = 0 if data else idle + max(links, len(block) - len(node.data))
        pending += _children(node, place, span)
        found = [Visit(place.cid, block, data)] if raw or seen is None or seen.add(place.cid) else []
        # What is handed on is held by nobody here: a block of 8 MiB would stand behind each slow reader twice.
        del block, node, data
        while found:
            yield found.pop()
        if len(pending) > MAX_PENDING:
            raise Malformed("UnixFS file", f"more than {MAX_PENDING} links wait at once")


def _node(cid: CID, block: bytes) -> _Node:
    node, message = load_unixfs(cid, lambda _: block)
    size = _checked_size(cid, len(node.links), message)
    if any(link.name for link in node.links):
        raise Malformed("UnixFS file", "a link of a file has a name")
    children = zip((link.cid for link in node.links), message.blocksizes, strict=True)
    return _Node(message.data or b"", size, tuple(children))


def _checked_size(cid: CID, links: int, message: unixfs.Data) -> int:
    if message.kind not in {unixfs.Kind.FILE, unixfs.Kind.RAW}:
        raise Malformed("UnixFS file", f"{cid} is a {message.kind.name.lower()}")
    if links != len(message.blocksizes):
        raise Malformed("UnixFS file", f"{links} links, but {len(message.blocksizes)} block sizes")
    size = len(message.data or b"") + sum(message.blocksizes)
    if size != (message.filesize or 0):
        raise Malformed("UnixFS file", f"{size} bytes in its parts, {message.filesize or 0} announced")
    return size


def _children(node: _Node, place: _Place, span: Span) -> list[_Place]:
    """Return those with bytes in `span`, the last first."""
    found: list[_Place] = []
    at = place.start + len(node.data)
    for cid, size in node.children:
        if at >= span.end:
            break
        if size and at + size > span.start:
            found.append(_Place(cid, at, size, place.depth + 1))
        at += size
    found.reverse()
    return found


def _cut(data: bytes, start: int, span: Span) -> bytes | memoryview:
    first, last = max(0, span.start - start), max(0, span.end - start)
    return data if first == 0 and last >= len(data) else memoryview(data)[first:last]
