"""From a `Response` to ASGI messages: one slow client costs a few small pieces and no thread.

An answer that cannot be completed ends in an exception, on which granian breaks the connection off: neither a chunked
nor a counted body then looks whole.  Sources: ASGI 3.0, "HTTP"; RFC 9110 sections 6.4 and 9.3.2; RFC 9112 section 8.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING, Any, Final

from pinfold.serving.asking import Gone
from pinfold.serving.limits import AT_HAND, LARGE_PIECE, PIECE, PROVEN, QUICKLY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from pinfold.door import Request, Response
    from pinfold.serving.asking import Receive
    from pinfold.serving.pieces import Pieces
    from pinfold.serving.threads import Threads

    Send = Callable[[Mapping[str, Any]], Awaitable[None]]

# RFC 9110, section 5.5; a line break would be a second header.
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_BODILESS: Final = frozenset({204, 304})


class Cut(Exception):  # named for what happened
    """The answer was broken off; the text says why."""


class Answer:
    """One response on its way.  `status`: what was answered, 0 before; `sent`: bytes of the body so far."""

    def __init__(self, send: Send, receive: Receive, stall: float) -> None:
        """`stall`: seconds in which the client must take a piece."""
        self._send = send
        self._receive = receive
        self._stall = stall
        self.sent = 0
        self._small_until = PROVEN
        self.status = 0

    async def whole(self, request: Request, response: Response, body: bytes) -> None:
        """Send a body that is at hand.  Raises Gone, Cut, and ValueError for headers that are none."""
        if request.method == "HEAD" or response.status in _BODILESS:
            headers = response.headers if response.status in _BODILESS else _sized(response.headers, len(body))
            await self._start(response.status, headers)
            await self._piece(b"", more=False)
            return
        await self._start(response.status, _sized(response.headers, len(body)))
        if len(body) <= AT_HAND:
            await self._piece(body, more=False)
            return
        async with self._watched() as gone:
            await self._slices(body, gone)
            await self._piece(b"", more=False)

    async def streamed(self, request: Request, response: Response, pieces: Pieces, threads: Threads) -> None:
        """Send a body as it is made.  Raises Gone, Cut, ValueError, and whatever `pieces` raises."""
        if request.method == "HEAD" or response.status in _BODILESS:
            await self._start(response.status, response.headers)
            await self._piece(b"", more=False)
            return
        length = _length(response.headers)
        taken = await threads.run(pieces.take)  # before the head goes out: an early error gets its own status
        if length is not None and sum(map(len, taken)) > length:
            raise ValueError(f"the door promised {length} bytes and began with more")
        await self._start(response.status, response.headers)
        async with self._watched() as gone:
            while taken:
                if length is not None and self.sent + sum(map(len, taken)) > length:
                    raise Cut(f"the door made more than the {length} bytes it had promised")
                while taken:
                    await self._slices(taken.pop(0), gone)  # nothing that was sent is held
                taken = await threads.run(pieces.take)
            if length is not None and self.sent != length:
                raise Cut(f"the door made {self.sent} of the {length} bytes it had promised")
            await self._piece(b"", more=False)

    async def _start(self, status: int, headers: list[tuple[str, str]]) -> None:
        encoded = [_encoded(name, value) for name, value in headers]
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": [_SERVER, *encoded]})

    async def _slices(self, body: bytes, gone: asyncio.Task[None]) -> None:
        """Send `body` in small pieces, each when the one before it was taken."""
        at = 0
        while at < len(body):
            if gone.done():
                raise Gone
            size = PIECE if self.sent < self._small_until else LARGE_PIECE
            await self._piece(body if at == 0 and len(body) <= size else body[at : at + size], more=True)
            at += size

    async def _piece(self, piece: bytes, *, more: bool) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._stall):
                await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        except TimeoutError:
            raise Cut(f"the client took nothing for {self._stall:g} seconds") from None
        self.sent += len(piece)
        if time.monotonic() - began > QUICKLY:
            self._small_until = self.sent + PROVEN

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[asyncio.Task[None]]:
        """A task that ends when the client is gone: granian's `send` does not tell."""
        task = asyncio.create_task(self._departure())
        try:
            yield task
        finally:
            task.cancel()

    async def _departure(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


_SERVER: Final = (b"server", b"pinfold")


def _encoded(name: str, value: str) -> tuple[bytes, bytes]:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"the door gave a header that is none: {name!r}: {value!r}")
    return name.lower().encode(), value.encode("latin-1")


def _length(headers: list[tuple[str, str]]) -> int | None:
    return next((int(value) for name, value in headers if name.lower() == "content-length"), None)


def _sized(headers: list[tuple[str, str]], size: int) -> list[tuple[str, str]]:
    return headers if _length(headers) is not None else [*headers, ("Content-Length", str(size))]
