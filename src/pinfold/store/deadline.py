"""Ends of answers that will not end: a socket is shut when its answer has taken too long.

Time-outs of sockets begin anew with every byte, and http.client reads heads and the lines between chunks to
their end: one byte every few seconds would hold a caller for days.  One thread looks at all answers under way.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import urllib3
    from urllib3.connectionpool import HTTPConnectionPool

_LOOKS: Final = 0.5
_mine = threading.local()


class Deadline:
    """When an answer must be there.  `passed`: whether its socket was shut for it."""

    def __init__(self, seconds: float) -> None:
        """`seconds` from now; the clock runs once a socket is given."""
        self.at = time.monotonic() + seconds
        self.passed = False
        self._socket: socket.socket | None = None

    def begin(self, seconds: float, watched: socket.socket) -> None:
        """The request is sent: shut `watched` unless `end` is called in time."""
        self.at = time.monotonic() + seconds
        self._socket = watched
        _watch.add(self)

    def extend(self, seconds: float) -> None:
        """From now on there are so many seconds."""
        self.at = time.monotonic() + seconds

    def end(self) -> None:
        """The answer is there, or nobody wants it any more.  Idempotent."""
        _watch.remove(self)
        self._socket = None

    def shut(self) -> None:
        """Shut the socket: whoever reads from it sees an end.  Called by the watching thread."""
        self.passed = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own, which takes the state away that another thread is reading with.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Watch:
    """The thread that looks, and what it looks at."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._under_way: set[Deadline] = set()
        self._thread: threading.Thread | None = None

    def add(self, one: Deadline) -> None:
        with self._news:
            self._under_way.add(one)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="pinfold-deadline", daemon=True)
                self._thread.start()
            self._news.notify()

    def remove(self, one: Deadline) -> None:
        with self._news:
            self._under_way.discard(one)

    def _look(self) -> None:
        while True:
            with self._news:
                while not self._under_way:
                    self._news.wait()
                now = time.monotonic()
                for late in [one for one in self._under_way if one.at < now]:
                    self._under_way.discard(late)
                    late.shut()
            time.sleep(_LOOKS)


_watch: Final = _Watch()


@contextlib.contextmanager
def within(seconds: float) -> Iterator[Deadline]:
    """Give this thread's next request so many seconds from its last byte to the end of the answer's head."""
    _mine.deadline, _mine.seconds = deadline, _ = Deadline(seconds), seconds
    try:
        yield deadline
    finally:
        _mine.deadline = None


def watch(pool: HTTPConnectionPool) -> None:
    """Let the connections of a pool heed the deadlines of their threads."""
    pool.ConnectionCls = _Watched[pool.scheme or "http"]


def _begin(connection: HTTPConnection) -> None:
    deadline: Deadline | None = getattr(_mine, "deadline", None)
    if deadline is not None and connection.sock is not None:
        deadline.begin(_mine.seconds, connection.sock)


class _HTTP(HTTPConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as its parent
        _begin(self)
        return super().getresponse()


class _HTTPS(HTTPSConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as its parent
        _begin(self)
        return super().getresponse()


_Watched: Final = {"http": _HTTP, "https": _HTTPS}
