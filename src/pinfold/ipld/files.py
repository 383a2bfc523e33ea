"""Files: written as balanced trees of raw leaves, read in whatever shape they come.

Writer: profile unixfs-v1-2025 by default (1 MiB chunks, 1024 links).  A file of one chunk is that raw
block.  Else nodes are gathered `width` at a time, level by level, and even a lone last child gets its
parent, so all leaves lie at one depth.  Memory: at most width link records for each level.

Reader: balanced and trickle trees, raw and dag-pb leaves, bytes in inner nodes, identity CIDs.  Each
child must be as long as its parent says, so a damaged tree cannot shift bytes.  Children said to be
empty are not fetched: every visited node then yields at least one byte, and a small graph that
refers to itself many times over cannot keep a reader busy for nothing.

Source: https://specs.ipfs.tech/unixfs/ and IPIP-499.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.errors import Malformed
from pinfold.ipld import unixfs
from pinfold.ipld.cid import CID, RAW
from pinfold.ipld.dagpb import Link
from pinfold.ipld.nodes import MAX_DEPTH, Emit, Get, emit_node, load, load_unixfs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK_SIZE: Final = 1 << 20
WIDTH: Final = 1024
# Children waiting on the reader's stack: 64 levels of Kubo's widest nodes are 65,536.
MAX_PENDING: Final = 1 << 18
_MIN_WIDTH: Final = 2


class File(NamedTuple):
    """A written file: its CID, its length in bytes, and the bytes of all its blocks."""

    cid: CID
    size: int
    tsize: int


def split(pieces: Iterable[bytes], size: int = CHUNK_SIZE) -> Iterator[bytes]:
    """Yield the bytes of `pieces`, whatever their lengths, in chunks of `size`; the last may be shorter.

    Holds at most one chunk and one piece.
    """
    if size < 1:
        raise ValueError(size)
    rest = bytearray()
    for piece in pieces:
        if not rest and len(piece) == size:
            yield bytes(piece)  # the usual case, without a copy
            continue
        view = memoryview(piece)
        at = 0
        while len(rest) + len(view) - at >= size:
            end = at + size - len(rest)
            yield bytes(rest) + bytes(view[at:end])
            rest.clear()
            at = end
        rest += view[at:]
    if rest:
        yield bytes(rest)


class FileBuilder:
    """Builds the tree above leaves that are written already, from left to right."""

    def __init__(self, emit: Emit, width: int = WIDTH) -> None:
        """`emit` is given every inner node; `width` is the most links a node has, 2 or more."""
        if width < _MIN_WIDTH:
            raise ValueError(width)
        self._emit = emit
        self._width = width
        self._levels: list[list[File]] = [[]]

    def add(self, cid: CID, size: int) -> None:
        """Append the raw leaf `cid` of `size` bytes."""
        self._push(0, File(cid, size, size))

    def finish(self) -> File:
        """Write what is still open and return the file; one without leaves is the empty raw block."""
        levels = self._levels
        if levels == [[]]:
            cid = CID.of(RAW, b"")
            self._emit(cid, b"")
            return File(cid, 0, 0)
        depth = 0
        while depth + 1 < len(levels) or len(levels[depth]) > 1:
            if levels[depth]:
                self._close(depth)
            depth += 1
        return levels[depth][0]

    def _push(self, depth: int, child: File) -> None:
        if depth == len(self._levels):
            self._levels.append([])
        # A full level closes when the next child comes, not before: the last level may be the root.
        if len(self._levels[depth]) == self._width:
            self._close(depth)
        self._levels[depth].append(child)

    def _close(self, depth: int) -> None:
        children = self._levels[depth]
        sizes = tuple(child.size for child in children)
        data = unixfs.Data(unixfs.Kind.FILE, filesize=sum(sizes), blocksizes=sizes)
        cid, _, tsize = emit_node((Link(child.cid, b"", child.tsize) for child in children), data, self._emit)
        children.clear()
        self._push(depth + 1, File(cid, sum(sizes), tsize))


def add_file(chunks: Iterable[bytes], emit: Emit, *, chunk_size: int = CHUNK_SIZE, width: int = WIDTH) -> File:
    """Write a file of the bytes in `chunks`, cut anew every `chunk_size` bytes, and return it.

    `emit` is given each block once it is known, children before parents, equal blocks each time.
    """
    builder = FileBuilder(emit, width)
    for chunk in split(chunks, chunk_size):
        cid = CID.of(RAW, chunk)
        emit(cid, chunk)
        builder.add(cid, len(chunk))
    return builder.finish()


def file_size(cid: CID, get: Get) -> int:
    """Return the length of the file in bytes, as its first block says.

    Raises Malformed when `cid` names no file, and what `get` raises.
    """
    if cid.codec == RAW:
        return len(load(cid, get))
    return _FileNode(cid, get).size


def read_file(cid: CID, get: Get, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of the file from `start` up to `end` (its end when None), piece by piece.

    Only blocks that hold bytes of the range are fetched.  A range beyond the end is cut off there.
    Raises ValueError for a range that is no range, Malformed for a tree that contradicts itself or is
    deeper than 64, and what `get` raises.
    """
    if start < 0 or (end is not None and end < start):
        raise ValueError((start, end))
    # (child, offset of its first byte in the file, length its parent promises, depth)
    pending: list[tuple[CID, int, int | None, int]] = [(cid, 0, None, 0)]
    while pending:
        child, offset, size, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise Malformed("UnixFS file", f"is deeper than {MAX_DEPTH} levels")
        if child.codec == RAW:
            data = load(child, get)
            _check_size(child, len(data), size)
            children: list[tuple[CID, int, int | None, int]] = []
        else:
            node = _FileNode(child, get)
            _check_size(child, node.size, size)
            data = node.data
            children = node.children(offset, depth + 1, start, end)
        piece = data[max(0, start - offset) : None if end is None else max(0, end - offset)]
        if piece:
            yield piece
        children.reverse()
        pending += children
        if len(pending) > MAX_PENDING:
            raise Malformed("UnixFS file", f"more than {MAX_PENDING} links wait at once")


class _FileNode:
    """A checked dag-pb node of a file."""

    __slots__ = ("_links", "_sizes", "data", "size")

    def __init__(self, cid: CID, get: Get) -> None:
        node, message = load_unixfs(cid, get)
        if message.kind not in {unixfs.Kind.FILE, unixfs.Kind.RAW}:
            raise Malformed("UnixFS file", f"{cid} is a {message.kind.name.lower()}")
        if len(node.links) != len(message.blocksizes):
            raise Malformed("UnixFS file", f"{len(node.links)} links, but {len(message.blocksizes)} block sizes")
        if any(link.name for link in node.links):
            raise Malformed("UnixFS file", "a link of a file has a name")
        self.data = message.data or b""
        self._links = node.links
        self._sizes = message.blocksizes
        self.size = len(self.data) + sum(self._sizes)
        if self.size != (message.filesize or 0):
            raise Malformed("UnixFS file", f"{self.size} bytes in its parts, {message.filesize or 0} announced")

    def children(self, offset: int, depth: int, start: int, end: int | None) -> list[tuple[CID, int, int | None, int]]:
        found: list[tuple[CID, int, int | None, int]] = []
        at = offset + len(self.data)
        for link, size in zip(self._links, self._sizes, strict=True):
            if end is not None and at >= end:
                break
            if size and at + size > start:
                found.append((link.cid, at, size, depth))
            at += size
        return found


def _check_size(cid: CID, size: int, promised: int | None) -> None:
    if promised is not None and size != promised:
        raise Malformed("UnixFS file", f"{cid} holds {size} bytes, its parent promised {promised}")
