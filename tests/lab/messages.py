"""HTTP/1.1 messages in a stream of bytes, cut where they begin and end, for the proxy; nothing is changed or held back.

Source: RFC 9112 section 6 (which body a message has). The pieces given out are the bytes taken in, in their order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from email.parser import BytesParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

HEAD_LIMIT = 1 << 20
UNTIL_THE_END = 1 << 62


@dataclass(frozen=True)
class Head:
    """The first line of a message and its headers; what is no HTTP has an empty first line."""

    line: str
    headers: Message

    @property
    def method(self) -> str:
        """A request's method."""
        return self.line.partition(" ")[0]

    @property
    def target(self) -> str:
        """A request's path and query."""
        return self.line.split(" ")[1] if self.line else ""

    @property
    def status(self) -> int:
        """A response's status, 0 for what is no HTTP."""
        return int(self.line.split(" ")[1]) if self.line else 0


@dataclass(frozen=True)
class Piece:
    """Some bytes: a message's whole head, or a part of its body; `ends` when the message ends with them."""

    data: bytes
    head: Head | None
    ends: bool


class Messages:
    """The requests of a connection, or its responses; to these, expect() tells the methods of their requests."""

    def __init__(self, *, responses: bool) -> None:
        self._responses = responses
        self._methods: deque[str] = deque()
        self._head = bytearray()
        self._body: _Length | _Chunks | None = None

    def expect(self, method: str) -> None:
        """Say which method the next response answers: one to HEAD has no body."""
        self._methods.append(method)

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Give the pieces of the next bytes; a head comes once it is whole."""
        while data:
            if self._body is not None:
                size, ends = self._body.take(data)
                if ends:
                    self._body = None
                yield Piece(data[:size], None, ends)
                data = data[size:]
                continue
            self._head += data
            end = self._head.find(b"\r\n\r\n") + 4
            if end == 3 and len(self._head) < HEAD_LIMIT:
                return
            raw, data = bytes(self._head[:end]), bytes(self._head[end:])
            self._head.clear()
            head = parse_head(raw)
            self._body = self._body_of(head)
            yield Piece(raw, head, self._body is None and not (self._responses and head.status // 100 == 1))

    def _body_of(self, head: Head) -> _Length | _Chunks | None:
        if not head.line or (self._responses and head.status == 101):
            return _Length(UNTIL_THE_END)
        if self._responses and self._is_bare(head):
            return None
        if "chunked" in head.headers.get("Transfer-Encoding", ""):
            return _Chunks()
        length = int(head.headers.get("Content-Length", UNTIL_THE_END if self._responses else 0))
        return _Length(length) if length else None

    def _is_bare(self, head: Head) -> bool:
        """Whether a response has no body whatever its headers say."""
        if head.status // 100 == 1:
            return True
        method = self._methods.popleft() if self._methods else "GET"
        return method == "HEAD" or head.status in {204, 304}


def parse_head(raw: bytes) -> Head:
    """Return the head of a message, or an empty one for what is no HTTP/1."""
    line, _, rest = raw.partition(b"\r\n")
    if b"HTTP/1." not in line or line.count(b" ") < 2 - line.startswith(b"HTTP/1."):
        return Head("", BytesParser().parsebytes(b"", headersonly=True))
    return Head(line.decode("latin-1"), BytesParser().parsebytes(rest, headersonly=True))


class _Length:
    """A body of so many bytes."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, data: bytes) -> tuple[int, bool]:
        """Return how many of these bytes are the body's, and whether it ends with them."""
        size = min(self._left, len(data))
        self._left -= size
        return size, self._left == 0


class _Chunks:
    """A chunked body, trailers included."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._left = 0
        self._last = False

    def take(self, data: bytes) -> tuple[int, bool]:
        """Return how many of these bytes are the body's, and whether it ends with them."""
        at = 0
        while at < len(data):
            if self._left:
                size = min(self._left, len(data) - at)
                self._left -= size
                at += size
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or None]
            if not end:
                break
            at = end
            line = bytes(self._line).strip()
            self._line.clear()
            if self._last and not line:
                return at, True
            if not self._last:
                size = int(line.partition(b";")[0], 16)
                self._last = size == 0
                self._left = size + 2 if size else 0  # the line end behind the chunk is skipped with it
        return len(data), False
