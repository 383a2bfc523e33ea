"""From an ASGI scope to a `Request`: everything decoded once, strictly, within limits.

The path comes from `raw_path`: granian's own `path` replaces bytes that are no UTF-8, so that two different requests
would look alike.  Sources: ASGI 3.0, "HTTP Connection Scope"; RFC 3986 sections 2.1 and 3.3; RFC 9110 section 5.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from pinfold.door import BadRequest, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pinfold.serving.limits import Limits

    Scope = Mapping[str, Any]
    Receive = Callable[[], Awaitable[Mapping[str, Any]]]

_BROKEN: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_MOST_OPTIONS: Final = 100


class Gone(Exception):  # named for what happened
    """The client went away before its request was complete."""


def head(scope: Scope, limits: Limits) -> Request:
    """The request without its body.  Raises BadRequest: 400, 414, 431."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    if len(path) + len(query) > limits.url:
        raise BadRequest(414, f"the URL is longer than {limits.url} bytes")
    return Request(
        method=scope["method"],
        path=_path(path),
        query=_query(query),
        headers=_headers(scope["headers"], limits.headers),
        client=scope["client"][0],
    )


def _path(raw: bytes) -> str:
    if not raw.startswith(b"/"):
        raise BadRequest(400, "the path of the request does not begin with a slash")
    return _decoded(raw, "path")


def _decoded(raw: bytes, what: str) -> str:
    if _BROKEN.search(raw):
        raise BadRequest(400, f"the {what} holds a % that no two hexadecimal digits follow")
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRequest(400, f"the {what} is no UTF-8") from None
    if "\0" in text:
        raise BadRequest(400, f"the {what} holds a zero byte")
    return text


def _query(raw: bytes) -> tuple[tuple[str, str], ...]:
    if not raw:
        return ()
    fields = raw.split(b"&")
    if len(fields) > _MOST_OPTIONS:
        raise BadRequest(400, f"the query has more than {_MOST_OPTIONS} parameters")
    pairs = (field.replace(b"+", b" ").partition(b"=") for field in fields if field)
    return tuple((_decoded(name, "query"), _decoded(value, "query")) for name, _, value in pairs)


def _headers(raw: list[tuple[bytes, bytes]], most: int) -> dict[str, str]:
    size = 0
    found: dict[str, str] = {}
    for name, value in raw:
        size += len(name) + len(value)
        if size > most:
            raise BadRequest(431, f"the headers are longer than {most} bytes")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


async def body(request: Request, receive: Receive, limits: Limits) -> bytes:
    """The body, read to its end.  Raises BadRequest (400, 408, 413), or Gone when it was cut off."""
    length = request.header("content-length")
    if not request.header("transfer-encoding"):
        if not length:
            return b""
        if not (length.isascii() and length.isdigit()):
            raise BadRequest(400, "Content-Length is no number")
        if len(length) > 15 or int(length) > limits.body:
            raise BadRequest(413, f"the body is longer than {limits.body} bytes")
    try:
        async with asyncio.timeout(limits.sending):
            return await _all(receive, limits.body)
    except TimeoutError:
        raise BadRequest(408, f"the body did not come within {limits.sending:g} seconds") from None


async def _all(receive: Receive, most: int) -> bytes:
    pieces = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        pieces += message["body"]
        if len(pieces) > most:
            raise BadRequest(413, f"the body is longer than {most} bytes")
        if not message["more_body"]:
            return bytes(pieces)
