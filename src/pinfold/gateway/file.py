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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.door import Request
    from pinfold.gateway.blocks import Blocks
    from pinfold.ipld.cid import CID

# As in car.py.
_PIECE: Final = 64 << 10
_PARTS: Final = 128
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
        kind = mediatypes.by_content(_head(cid, size, blocks)) if span.start == 0 else mediatypes.UNKNOWN
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


def _head(cid: CID, size: int, blocks: Blocks) -> bytes:
    return b"".join(read_file(cid, blocks.meet, 0, min(size, mediatypes.SNIFFED)))


def _pieces(cid: CID, span: Span, blocks: Blocks) -> Iterator[bytes]:
    """Yield the bytes of `span`, those of small blocks together."""
    with closing(blocks):
        parts: list[bytes | memoryview] = []
        size = 0
        for one in filetree.visit(cid, blocks, span):
            if not parts and len(one.data) >= _PIECE:
                yield bytes(one.data)  # no copy where the data are a whole block
                continue
            parts.append(one.data)
            size += len(one.data)
            if size >= _PIECE or len(parts) >= _PARTS:
                yield b"".join(parts)
                parts, size = [], 0
        if size:
            yield b"".join(parts)
