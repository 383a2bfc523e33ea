"""What HTTP doors are made of: a request in, a response out, both plain data.

A door is a synchronous function `Door`.  It runs on a thread; a body that is an iterator is asked for its next
piece on a thread, and only when the client has taken the last one: a slow client costs one piece of memory and
no thread.  Nothing here knows of sockets, event loops or stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pinfold.errors import PinfoldError

MOST_BODY: Final = 1 << 20


class BadRequest(PinfoldError):
    """A request that cannot be served; `status` is the HTTP status, the text one line for whoever sent it."""

    def __init__(self, status: int, text: str) -> None:
        """`status`: 400 to 599."""
        self.status = status
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Request:
    """A request, its body read.

    `path`: percent-decoded, valid UTF-8, as sent otherwise (`..` and `//` still in it), begins with a slash;
    `query`: decoded pairs in order; `headers`: names in lower case, values of repeated ones joined by ", ";
    `body`: at most the bytes the server allows, MOST_BODY by default; `client`: the address it came from.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    client: str = ""

    def header(self, name: str) -> str:
        """A header's value, empty where there is none.  `name` in lower case."""
        return self.headers.get(name, "")

    def option(self, name: str) -> str | None:
        """The first value of a query parameter; None where it is not given."""
        return next((value for key, value in self.query if key == name), None)


@dataclass(slots=True)
class Response:
    """A response.  A body that is an iterator is streamed, and closed whatever happens.

    An iterator that raises breaks the connection off, so that nobody takes what came for the whole.
    `log`: what the access log tells beside the usual.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | Iterator[bytes] = b""
    log: dict[str, str | int] = field(default_factory=dict)


Door = Callable[[Request], Response]


def text(status: int, line: str, *headers: tuple[str, str]) -> Response:
    """A response of one line of plain text."""
    kept = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff"), *headers]
    return Response(status, kept, (line + "\n").encode())
