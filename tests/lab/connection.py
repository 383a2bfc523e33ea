"""One connection through the proxy: two readers, two pipes, and the faults that hit its requests."""

from __future__ import annotations

import socket
import threading
from collections import deque
from typing import TYPE_CHECKING

from lab.link import Pipe, hang_up
from lab.messages import Messages, Piece

if TYPE_CHECKING:
    from lab.faults import Fault
    from lab.proxy import Proxy

READ = 256 << 10


class Connection(threading.Thread):
    """Passes bytes on both ways till one side ends or a fault strikes; the thread itself reads the client."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket, *, opened: float) -> None:
        super().__init__(daemon=True)
        self._proxy = proxy
        self._counts = proxy.counts
        self._client = client
        self._server = server
        self._up = Pipe(proxy.up, server, self._server_deaf)
        self._down = Pipe(proxy.down, client, self.abort)
        self._ready_at = opened + 3 * proxy.latency  # two ways for TCP to greet, one for the request itself
        self._requests = Messages(responses=False)
        self._responses = Messages(responses=True)
        self._reading = threading.Thread(target=self._read_server, daemon=True)
        self._faults: deque[Fault | None] = deque()
        self._lock = threading.Lock()
        self._pending = 0
        self._ended = threading.Event()
        self._answered = False

    def run(self) -> None:
        """Serve the connection to its end."""
        for thread in (self._up, self._down, self._reading):
            thread.start()
        try:
            self._read_client()
        finally:
            for thread in (self._reading, self._up, self._down):
                thread.join()
            self._settle(None)
            self._client.close()
            self._server.close()
            self._proxy.forget(self)

    def abort(self) -> None:
        """Cut both sides now; what is underway is lost."""
        self._ended.set()
        self._up.close()
        self._down.close()
        self._settle(None)
        hang_up(self._client, socket.SHUT_RDWR)
        hang_up(self._server, socket.SHUT_RDWR)

    def _read_client(self) -> None:
        hit: _Hit | None = None
        while data := read(self._client):
            for piece in self._requests.feed(data):
                if piece.head is not None:
                    hit = self._begin(piece)
                if hit is not None and hit.fault.of == "request":
                    self._pass_hit(self._up, piece, hit)
                    if self._over:
                        self._drain(piece)
                        return
                else:
                    self._pass(self._up, piece)
        # Half closed: the server may still answer what it was asked.
        self._up.put(b"", lambda: hang_up(self._server, socket.SHUT_WR))

    def _read_server(self) -> None:
        hit: _Hit | None = None
        while data := read(self._server):
            for piece in self._responses.feed(data):
                if self._answered:
                    return
                if piece.head is not None and piece.head.status // 100 != 1:
                    hit = _Hit.of(self._faults.popleft() if self._faults else None)
                if hit is not None and hit.fault.of == "response":
                    self._pass_hit(self._down, piece, hit)
                    if self._over:
                        return
                else:
                    self._pass(self._down, piece)
        if not self._answered:
            self._down.put(b"", self.abort)

    @property
    def _over(self) -> bool:
        """Whether nothing more of the server is to reach the client."""
        return self._answered or self._ended.is_set()

    def _server_deaf(self) -> None:
        """The server reads no more: lose the rest of the request, but let its answer through."""
        self._up.close()

    def _begin(self, piece: Piece) -> _Hit | None:
        """Count a request; returns the fault that is to hit it."""
        head = piece.head
        if head is None or not head.line:
            return None
        fault = self._proxy.fault_for(head)
        with self._lock:
            self._pending += 1
        self._counts.began(head)
        self._responses.expect(head.method)
        self._faults.append(fault)
        return _Hit.of(fault)

    def _pass(self, pipe: Pipe, piece: Piece) -> None:
        if pipe is self._up:
            self._counts.moved(up=len(piece.data))
            pipe.put(piece.data, not_before=self._ready_at)
        else:
            self._counts.moved(down=len(piece.data))
            pipe.put(piece.data, self._settle if piece.ends else None)

    def _pass_hit(self, pipe: Pipe, piece: Piece, hit: _Hit) -> None:
        """Pass on what comes before the fault, let it strike, and pass on the rest if there is still somebody there."""
        head_passes = piece.head is not None and (hit.left > 0 or hit.fault.of == "response")
        if not hit.struck and not head_passes:
            size = min(len(piece.data), hit.left)
            whole = size == len(piece.data)
            if size:
                self._pass(pipe, Piece(piece.data[:size], piece.head, whole and piece.ends))
                hit.left -= size
            if whole:
                return
            hit.struck = True
            self._strike(pipe, hit.fault)
            if self._over:
                return
            piece = Piece(piece.data[size:], piece.head, piece.ends)
        self._pass(pipe, piece)

    def _strike(self, pipe: Pipe, fault: Fault) -> None:
        if fault.action == "status":
            self._answered = True
            self._up.put(b"", lambda: hang_up(self._server, socket.SHUT_RDWR))
            self._down.put(fault.answer(), self._settle)
        fault.struck.set()
        if fault.action == "cut":
            if not pipe.put(b"", self.abort):
                self.abort()
            self._ended.wait()
        elif fault.action == "stall":
            while not (fault.released.wait(0.02) or self._ended.is_set()):
                pass

    def _drain(self, piece: Piece) -> None:
        """Read the rest of a request that was answered early, so that the client comes to read the answer."""
        ends = piece.ends
        while not ends and not self._ended.is_set() and (data := read(self._client)):
            ends = any(rest.ends for rest in self._requests.feed(data))
        self._down.put(b"", self.abort)

    def _settle(self, count: int | None = 1) -> None:
        """Count requests as answered; None for all that never will be."""
        with self._lock:
            settled = self._pending if count is None else min(count, self._pending)
            self._pending -= settled
        self._counts.ended(settled)


class _Hit:
    """A request's fault, and how many bytes are left till it strikes."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.left = fault.after
        self.struck = False

    @classmethod
    def of(cls, fault: Fault | None) -> _Hit | None:
        return None if fault is None else cls(fault)


def read(sock: socket.socket) -> bytes:
    """Return the next bytes, none at the end, whichever way it ended."""
    try:
        return sock.recv(READ)
    except OSError:
        return b""
