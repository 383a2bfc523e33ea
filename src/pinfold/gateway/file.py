"""Answers for people: files, ranges of them, and symlinks.

Source: https://specs.ipfs.tech/http-gateways/path-gateway/.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

from pinfold.door import Response
from pinfold.gateway import filetree, mediatypes
from pinfold.gateway.asked import disposition, filename
from pinfold.gateway.ranges import Span, http_range
from pinfold.ipld import read_file
from pinfold.ipld.cid import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.door import Request
    from pinfold.gateway.blocks import Blocks
    from pinfold.ipld.cid import CID

# As in car.py.
_PIECE: Final = 64 << 10
_PARTS: Final = 128
# Bytes of inner nodes read for one piece, 0.1 s: a client that has left is noticed between pieces.
_READ: Final = 1 << 20
# To tell the type of a file at most this many links are read, in bytes; each block counts as 64 KiB at least, so that
# it is eight blocks at most.  A file as pinfold and Kubo write it takes five, and less than 300 KiB.
_SNIFF: Final = 512 << 10
_SNIFF_BLOCK: Final = 64 << 10
# Scripts of content must not pass for scripts of whatever else this host serves.
_SANDBOX: Final = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"


def file(request: Request, cid: CID, name: str, etag: str, blocks: Blocks) -> Response:
    """Answer with the file `cid`, which people call `name`.

    Raises BadRequest 400, OutsideError, Malformed, and what the store raises.
    """
    size = filetree.file_size(cid, blocks.meet(cid))
    headers = [("Accept-Ranges", "bytes")]
    span, status = Span(0, size), 200
    header = request.header("range")
    if header and request.method == "GET" and request.header("if-range") in {"", etag}:
        part = http_range(header, size)
        if part is not None:
            span, status = part, 206
            headers.append(("Content-Range", f"bytes {span.start}-{span.end - 1}/{size}"))
    kind = mediatypes.by_name(filename(request) or name)
    if not kind:
        # A range further in is not worth reading the beginning for.
        kind = _sniffed(cid, size, blocks) if span.start == 0 else mediatypes.UNKNOWN
    headers += [("Content-Type", kind), ("Content-Length", str(span.end - span.start))]
    headers += _shown(request, name or str(cid))
    if kind.partition(";")[0] in mediatypes.ACTIVE:
        headers.append(("Content-Security-Policy", _SANDBOX))
    return Response(status, headers, b"" if request.method == "HEAD" else _pieces(cid, span, blocks))


def symlink(request: Request, cid: CID, target: bytes, name: str) -> Response:
    """Answer with where a symlink points, as Kubo does: it is not followed."""
    headers = [("Content-Type", mediatypes.SYMLINK), ("Content-Length", str(len(target)))]
    return Response(200, headers + _shown(request, name or str(cid)), target)


def _shown(request: Request, name: str) -> list[tuple[str, str]]:
    download = request.option("download") == "true"
    if not download and not filename(request):
        return []
    return [disposition("attachment" if download else "inline", filename(request) or name)]


class _TooFar(Exception):
    """The beginning of a file lies behind more nodes than its type is worth."""


def _sniffed(cid: CID, size: int, blocks: Blocks) -> str:
    """Return the type that the first bytes tell, from the first block alone that has such."""
    room = _SNIFF

    def near(cid: CID) -> bytes:
        nonlocal room
        block = blocks.meet(cid)
        room -= max(_SNIFF_BLOCK, 0 if cid.codec == RAW else filetree.weight(block))
        if room < 0:
            raise _TooFar
        return block

    try:
        head = next(read_file(cid, near, 0, min(size, mediatypes.SNIFFED)), b"")
    except _TooFar:
        return mediatypes.UNKNOWN
    return mediatypes.by_content(head, cut=len(head) < size)


def _pieces(cid: CID, span: Span, blocks: Blocks) -> Iterator[bytes]:
    """Yield the bytes of `span`, those of small blocks together."""
    with closing(blocks):
        parts: list[bytes | memoryview] = []
        size = read = 0
        for one in filetree.visit(cid, blocks, span):
            if one.data:  # else the block after it would be copied
                parts.append(one.data)
            size += len(one.data)
            read += 0 if one.cid.codec == RAW else len(one.block) - len(one.data)
            del one  # the block is held by `parts` alone, and while a client takes it by nobody here
            if size >= _PIECE or len(parts) >= _PARTS or (size and read >= _READ):
                yield _joined(parts)
                size = read = 0
        if size:
            yield _joined(parts)


def _joined(parts: list[bytes | memoryview]) -> bytes:
    """Return the bytes of `parts`, without a copy where they are a whole block, and let go of them."""
    joined = b"".join(parts)
    parts.clear()
    return joined
