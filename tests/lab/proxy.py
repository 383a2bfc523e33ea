"""A proxy before a real server that makes its network bad: late, narrow, cut, silent, answering in the server's place.

`with Proxy(node.api, latency=0.025) as proxy:` and talk to `proxy.url`. All can be changed while it runs. It counts
what passes: connections, requests by path, bytes, and the greatest number of requests in flight at once, as the client
sees it (from a request's arrival here to the delivery of its response's last byte).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from lab.connection import Connection
from lab.faults import Fault
from lab.link import Link
from lab.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from lab.messages import Head

# As a machine answers on whose port nobody listens: closing with no wait for what is underway.
RESET = struct.pack("ii", 1, 0)


class Counts:
    """What passed so far; safe to read at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.connections = 0
        self.requests: Counter[str] = Counter()
        self.targets: list[str] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.bytes_up = 0
        self.bytes_down = 0

    def connected(self) -> None:
        """One more connection."""
        with self._lock:
            self.connections += 1

    def moved(self, *, up: int = 0, down: int = 0) -> None:
        """So many bytes more, heads included."""
        with self._lock:
            self.bytes_up += up
            self.bytes_down += down

    def began(self, head: Head) -> None:
        """A request came in."""
        with self._lock:
            self.requests[urllib.parse.urlsplit(head.target).path] += 1
            self.targets.append(f"{head.method} {head.target}")
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def ended(self, count: int = 1) -> None:
        """So many requests are answered, or never will be."""
        with self._lock:
            self.in_flight -= count


class Proxy:
    """A server on a port of its own that passes everything on to another; a context manager.

    latency: seconds one way, so that 0.025 makes a round trip of 50 ms; a new connection costs one more round trip, as
    with TCP. bandwidth: bytes a second each way, shared by all connections. Neither limits how much is underway.
    """

    def __init__(self, upstream: str, *, latency: float = 0.0, bandwidth: float | None = None) -> None:
        parts = urllib.parse.urlsplit(upstream)
        self.upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.counts = Counts()
        self.up = Link(latency, bandwidth)
        self.down = Link(latency, bandwidth)
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._connections: set[Connection] = set()

    def __enter__(self) -> Self:
        """Begin to accept connections."""
        self.accept()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Cut everything and end every thread."""
        self.refuse()
        self.cut_all()

    @property
    def latency(self) -> float:
        """Seconds one way."""
        return self.up.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self.up.latency = self.down.latency = seconds

    @property
    def bandwidth(self) -> float | None:
        """Bytes a second each way, None for any."""
        return self.up.bandwidth

    @bandwidth.setter
    def bandwidth(self, bytes_per_second: float | None) -> None:
        self.up.bandwidth = self.down.bandwidth = bytes_per_second

    def reset_counts(self) -> None:
        """Count from zero; call it when nothing is in flight."""
        self.counts = Counts()

    def fail(self, path: str = "", status: int = 500, **settings: Any) -> Fault:  # noqa: ANN401  as Fault has them
        """Answer matching requests with a status; after=N does it in the middle of an upload. See Fault."""
        return self._add(Fault("status", path, status=status, **settings))

    def cut(self, path: str = "", **settings: Any) -> Fault:  # noqa: ANN401  as Fault has them
        """Cut the connection of matching requests, after=N bytes of="request" or "response". See Fault."""
        return self._add(Fault("cut", path, **settings))

    def stall(self, path: str = "", **settings: Any) -> Fault:  # noqa: ANN401  as Fault has them
        """Pass on no more after=N bytes of="request" or "response", till the fault's release(). See Fault."""
        return self._add(Fault("stall", path, **settings))

    def heal(self) -> None:
        """Forget all faults, and let go of what was stalled."""
        with self._lock:
            faults, self.faults = self.faults, []
        for fault in faults:
            fault.release()

    def refuse(self) -> None:
        """Refuse new connections, as a machine does where no server runs; those that are open go on."""
        listener, self._listener = self._listener, None
        if listener is not None and self._accepting is not None:
            listener.shutdown(socket.SHUT_RDWR)
            self._accepting.join()
            listener.close()

    def accept(self) -> None:
        """Accept connections, on the same port as ever."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._accepting = threading.Thread(target=self._serve, args=(self._listener,), daemon=True)
        self._accepting.start()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse new connections and cut the open ones for the length of a block."""
        self.refuse()
        self.cut_all()
        try:
            yield
        finally:
            self.accept()

    def cut_all(self) -> None:
        """Cut every open connection."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.abort()
        for connection in connections:
            connection.join()

    def fault_for(self, head: Head) -> Fault | None:
        """Return the first fault that is to hit this request."""
        with self._lock:
            return next((fault for fault in self.faults if fault.meets(f"{head.method} {head.target}")), None)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that has ended."""
        with self._lock:
            self._connections.discard(connection)

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self.faults.append(fault)
        return fault

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.counts.connected()
            try:
                server = socket.create_connection(self.upstream)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, client, server, opened=time.monotonic())
            with self._lock:
                self._connections.add(connection)
                connection.start()
