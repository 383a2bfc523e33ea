"""Answers of one block as it lies, and of one whole document in its own codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinfold.door import BadRequest, Response
from pinfold.gateway.formats import DOCUMENTS, RAW_TYPE
from pinfold.gateway.ranges import http_range

if TYPE_CHECKING:
    from pinfold.door import Request
    from pinfold.ipld.cid import CID


def document_type(cid: CID, name: str) -> str:
    """Return the content type of format `name` for the block `cid`.

    Raises BadRequest 406 where the block is in another codec: nothing is converted.
    """
    if name == "raw":
        return RAW_TYPE
    own, kind = DOCUMENTS.get(cid.codec, ("", ""))
    if name != own:
        raise BadRequest(406, f"{cid} is no {name}, and nothing is converted here: ask for format=raw")
    return kind


def sliced(request: Request, block: bytes, etag: str) -> Response:
    """Return `block`, or the range of it that is asked for.  Raises BadRequest 400, 416."""
    span = None
    header = request.header("range")
    if header and request.method == "GET" and request.header("if-range") in {"", etag}:
        span = http_range(header, len(block))
    headers = [("Accept-Ranges", "bytes")]
    if span is None:
        return Response(200, [*headers, ("Content-Length", str(len(block)))], block)
    body = block[span.start : span.end]
    headers += [
        ("Content-Range", f"bytes {span.start}-{span.end - 1}/{len(block)}"),
        ("Content-Length", str(len(body))),
    ]
    return Response(206, headers, body)
