"""One direction of a link: bytes arrive late and no faster than it allows, but many may be underway at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

# What a connection may have on its way: at 25 ms that allows 640 MB/s, far more than the proxy itself moves.
UNDERWAY = 16 << 20
# Under a limited bandwidth, the buffer before the bottleneck: a sender is to feel the limit.
BUFFER = 256 << 10


class Link:
    """The latency (seconds, one way) and bandwidth (bytes a second, None for any) that all connections share."""

    def __init__(self, latency: float, bandwidth: float | None) -> None:
        self.latency = latency
        self.bandwidth = bandwidth
        self._lock = threading.Lock()
        self._free_at = 0.0

    def due(self, size: int) -> float:
        """Take the link for so many bytes; returns when the last of them arrives (monotonic clock)."""
        with self._lock:
            now = time.monotonic()
            if self.bandwidth is None:
                return now + self.latency
            self._free_at = max(now, self._free_at) + size / self.bandwidth
            return self._free_at + self.latency

    @property
    def room(self) -> int:
        """How many bytes of one connection may be underway."""
        return UNDERWAY if self.bandwidth is None else BUFFER + int(self.bandwidth * self.latency)


class Pipe(threading.Thread):
    """Bytes underway to a socket, and a thread that delivers each part when it is due."""

    def __init__(self, link: Link, to: socket.socket, failed: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._link = link
        self._to = to
        self._failed = failed
        self._parts: deque[tuple[float, bytes, Callable[[], None] | None]] = deque()
        self._underway = 0
        self._changed = threading.Condition()
        self._closed = False

    def put(self, data: bytes, due: Callable[[], None] | None = None, *, not_before: float = 0.0) -> bool:
        """Send bytes on their way, waiting while too many are; returns False when the pipe is closed and they are lost.

        due() is called when they have come the whole way, before the other side can see it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._underway < self._link.room)
            if self._closed:
                return False
            self._underway += len(data)
            self._parts.append((max(self._link.due(len(data)), not_before), data, due))
            self._changed.notify_all()
            return True

    def close(self) -> None:
        """Lose what is underway and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def run(self) -> None:
        """Deliver part after part."""
        while (part := self._next()) is not None:
            data, due = part
            if due is not None:
                due()
            try:
                self._to.sendall(data)
            except OSError:
                self._failed()
                return

    def _next(self) -> tuple[bytes, Callable[[], None] | None] | None:
        with self._changed:
            while not self._closed:
                wait = self._parts[0][0] - time.monotonic() if self._parts else None
                if wait is not None and wait <= 0:
                    _, data, due = self._parts.popleft()
                    self._underway -= len(data)
                    self._changed.notify_all()
                    return data, due
                self._changed.wait(wait)
        return None


def hang_up(sock: socket.socket, how: int) -> None:
    """Shut a socket down, whatever state it is in."""
    with contextlib.suppress(OSError):
        sock.shutdown(how)
