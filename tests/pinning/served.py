"""A pinning service on a port, a client that speaks its API, and origins that hold blocks: for tests."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pinfold.door import Request, Response
from pinfold.errors import PinfoldError
from pinfold.pinning import Options, PinningService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinfold.store import Store

    Door = Callable[[Request], Response]

TESTS = Path(__file__).resolve().parent.parent
EVERY = "queued,pinning,pinned,failed"


class Answer(NamedTuple):
    """What a service answered."""

    status: int
    document: Any


class Client:
    """A client of the API, which knows no more than what it is told to send."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.token = token

    def call(self, method: str, path: str, body: object = None, **query: str) -> Answer:
        """Send a request; `body` as JSON."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        sent = None if body is None else json.dumps(body).encode()
        if sent is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, f"{where.path}{path}?{urlencode(query)}", sent, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return Answer(answer.status, json.loads(text) if text.strip() else None)

    def list(self, **query: str) -> Answer:
        """GET /pins."""
        return self.call("GET", "/pins", **query)

    def add(self, cid: object, **pin: object) -> Answer:
        """POST /pins."""
        return self.call("POST", "/pins", {"cid": str(cid), **pin})

    def get(self, identity: str) -> Answer:
        """GET /pins/ID."""
        return self.call("GET", f"/pins/{identity}")

    def replace(self, identity: str, cid: object, **pin: object) -> Answer:
        """POST /pins/ID."""
        return self.call("POST", f"/pins/{identity}", {"cid": str(cid), **pin})

    def delete(self, identity: str) -> Answer:
        """DELETE /pins/ID."""
        return self.call("DELETE", f"/pins/{identity}")


@contextmanager
def served(door: Door) -> Iterator[str]:
    """A door on a port of 127.0.0.1; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # heads and bodies in one packet: waiting for each other they take 40 ms

        def answer(self) -> None:
            where = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = tuple(parse_qsl(where.query, keep_blank_values=True))
            answer = door(Request(self.command, unquote(where.path), query, headers, body, self.client_address[0]))
            self.close_connection = not isinstance(answer.body, bytes)
            if isinstance(answer.body, bytes) and self.command != "HEAD":
                answer.headers.append(("Content-Length", str(len(answer.body))))
            self.send_response(answer.status)
            for name, value in dict(answer.headers).items():
                self.send_header(name, value)
            if not isinstance(answer.body, bytes):
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.send_body(answer.body)
            self.wfile.flush()

        def send_body(self, body: bytes | Iterator[bytes]) -> None:
            if isinstance(body, bytes):
                self.wfile.write(body)
                return
            with suppress(PinfoldError, OSError):  # the connection breaks off, as it does in the real server
                for piece in body:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_DELETE = do_HEAD = do_PUT = answer  # noqa: N815  # names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Alone(NamedTuple):
    """A service in a process of its own, behind the real server."""

    process: subprocess.Popen[str]
    client: Client


@contextmanager
def alone(folder: Path, *origins: str) -> Iterator[Alone]:
    """Such a service over a store in `folder`; `origins` are asked for every pin.  It is killed at the end."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    command = [
        sys.executable,
        str(Path(__file__).with_name("alone.py")),
        str(folder / "store"),
        str(folder / "service"),
    ]
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([*command, *origins], env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url, token = process.stdout.readline().split()
            yield Alone(process, Client(url, token))
        finally:
            process.kill()


@contextmanager
def running(store: Store, folder: Path, options: Options | None = None) -> Iterator[tuple[PinningService, Client]]:
    """A service over this store, and a client with a token that may do everything."""
    with PinningService(store, folder, options or Options()) as service, served(service) as url:
        _, token = service.tokens.add("test")
        yield service, Client(url, token.reveal().decode())
