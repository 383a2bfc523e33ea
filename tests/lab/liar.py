"""A server that lies: the one thing no real program can be made to do on demand.

`with LyingKubo() as liar:` or `with LyingGateway(truth=node.gateway) as liar:`, then `liar.lie("block/get", endless())`
(the lies stand in lab.lies). What no lie matches is answered by the server's own manner, else by the truth, a real
server behind, else with 404. Lies that never end do so when the client hangs up or the liar is closed.
"""

from __future__ import annotations

import http.client
import http.server
import re
import socket
import threading
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

PASSED_ON = {"accept", "authorization", "content-type", "if-none-match", "range", "cache-control"}
KEPT_BACK = {"connection", "content-length", "date", "server", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    """What was asked; its body, if any, is whole, chunks taken apart."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    closing: threading.Event

    @property
    def path(self) -> str:
        """The path without the query."""
        return urllib.parse.urlsplit(self.target).path

    def query(self, name: str) -> list[str]:
        """All values of a parameter."""
        return urllib.parse.parse_qs(urllib.parse.urlsplit(self.target).query, keep_blank_values=True).get(name, [])


@dataclass(frozen=True)
class Answer:
    """A response. length=None sends the parts as chunks; a wrong length is sent as it is. raw: no head of our own."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    parts: Iterable[bytes] = ()
    length: int | None = None
    raw: bool = False


class Liar:
    """A server on a port of its own; a context manager.

    `asked` lists "METHOD /path?query", `requests` all of each request; `sent` counts the bytes of bodies that went out.
    """

    def __init__(self, truth: str | None = None) -> None:
        self.truth = truth
        self.asked: list[str] = []
        self.requests: list[Request] = []
        self.sent = 0
        self.closing = threading.Event()
        self._lies: list[tuple[str, Callable[[Request], Answer]]] = []
        self._server = _Server(self)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._serving.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Hang up on all and end every thread."""
        self.closing.set()
        self._server.shutdown()
        self._serving.join()
        self._server.hang_up()
        self._server.server_close()

    def lie(self, path: str, answer: Callable[[Request], Answer]) -> None:
        """Answer so what matches the pattern, searched in "METHOD /path?query"; the newest lie goes first."""
        self._lies.insert(0, (path, answer))

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request."""
        asked = f"{request.method} {request.target}"
        self.asked.append(asked)
        self.requests.append(request)
        for path, answer in self._lies:
            if re.search(path, asked):
                return answer(request)
        return self.manner(request) or self._tell_truth(request)

    def manner(self, request: Request) -> Answer | None:  # noqa: ARG002  for those who have one
        """Return this kind of server's own answer, None for the truth."""
        return None

    def _tell_truth(self, request: Request) -> Answer:
        if self.truth is None:
            return Answer(404, parts=[b"404 page not found\n"], length=19)
        host = urllib.parse.urlsplit(self.truth)
        connection = http.client.HTTPConnection(host.hostname or "", host.port, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() in PASSED_ON}
        try:
            connection.request(request.method, request.target, request.body or None, headers)
            told = connection.getresponse()
            body = told.read()
        finally:
            connection.close()
        kept = {name: value for name, value in told.getheaders() if name.lower() not in KEPT_BACK}
        length = told.headers.get("Content-Length")
        return Answer(told.status, kept, [body], int(length) if length is not None else len(body))


class _Server(http.server.ThreadingHTTPServer):
    """Remembers its connections, so that it can end them."""

    daemon_threads = False
    request_queue_size = 256

    def __init__(self, liar: Liar) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.liar = liar
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as socketserver has it
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401  as socketserver has it
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections."""
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Reads requests and sends answers, on connections that stay open."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        """Serve the connection; a client that hangs up is what most lies end with."""
        with suppress(OSError):
            super().handle()

    def finish(self) -> None:
        """Close the files."""
        with suppress(OSError):
            super().finish()

    def _serve(self) -> None:
        liar = self.server.liar
        request = Request(self.command, self.path, dict(self.headers.items()), self._read_body(), liar.closing)
        answer = liar.answer(request)
        bare = self.command == "HEAD" or answer.status in {204, 304}
        chunked = answer.length is None and not bare
        if not answer.raw:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.length is None:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(answer.length))
            self.end_headers()
        sent = 0
        for part in () if bare else answer.parts:
            if liar.closing.is_set():
                break
            if part:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked and not answer.raw else part)
                sent += len(part)
                liar.sent += len(part)
        if answer.raw or liar.closing.is_set() or (not bare and answer.length not in {None, sent}):
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815  as http.server calls them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as http.server has it
        """Say nothing."""

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = bytearray()
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return bytes(body)
