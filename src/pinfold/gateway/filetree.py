"""Files block by block: which blocks hold a range of a file, and which bytes of it each one holds.

What `pinfold.ipld.read_file` is for readers of bytes, this is for those who need the blocks too, each as its CID.
The same rules hold: every child is as long as its parent says, empty children are not fetched.

Source: https://specs.ipfs.tech/unixfs/.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.errors import Malformed
from pinfold.ipld import unixfs
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
# Bytes of inner nodes in a row: a file as Kubo writes it has 60 kB of them at most between two leaves.
MOST_IDLE: Final = 4 << 20
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


def file_size(cid: CID, block: bytes) -> int:
    """Return the length of the file whose first block is `block`.  Raises Malformed where it is none."""
    return len(block) if cid.codec == RAW else _node(cid, block).size


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
        node = _Node(block, len(block), ()) if raw else _node(place.cid, block)
        if place.size is not None and place.size != node.size:
            raise Malformed("UnixFS file", f"{place.cid} holds {node.size} bytes, its parent promised {place.size}")
        idle = 0 if node.data else idle + len(block)
        if idle > MOST_IDLE:
            raise Malformed("UnixFS file", f"more than {MOST_IDLE} bytes of inner nodes in a row")
        if raw or seen is None or seen.add(place.cid):
            yield Visit(place.cid, block, _cut(node.data, place.start, span))
        pending += _children(node, place, span)
        if len(pending) > MAX_PENDING:
            raise Malformed("UnixFS file", f"more than {MAX_PENDING} links wait at once")


def _node(cid: CID, block: bytes) -> _Node:
    node, message = load_unixfs(cid, lambda _: block)
    if message.kind not in {unixfs.Kind.FILE, unixfs.Kind.RAW}:
        raise Malformed("UnixFS file", f"{cid} is a {message.kind.name.lower()}")
    if len(node.links) != len(message.blocksizes):
        raise Malformed("UnixFS file", f"{len(node.links)} links, but {len(message.blocksizes)} block sizes")
    if any(link.name for link in node.links):
        raise Malformed("UnixFS file", "a link of a file has a name")
    data = message.data or b""
    size = len(data) + sum(message.blocksizes)
    if size != (message.filesize or 0):
        raise Malformed("UnixFS file", f"{size} bytes in its parts, {message.filesize or 0} announced")
    children = zip((link.cid for link in node.links), message.blocksizes, strict=True)
    return _Node(data, size, tuple(children))


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
