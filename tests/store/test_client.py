"""The HTTP client: whatever a server does, a call ends, with the bytes, or with an error of stores."""

from __future__ import annotations

import datetime as dt
import http.server
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest
import urllib3.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pinfold.errors import Full, Refused, StoreError, Unavailable, UsageError
from pinfold.seal.secret import Secret
from pinfold.store.client import Client
from pinfold.store.layers import NobodyListens, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[[http.server.BaseHTTPRequestHandler], None]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    serve: Serve

    def do_POST(self) -> None:
        """Whatever the test wants."""
        try:
            type(self).serve(self)
        except OSError:
            self.close_connection = True

    do_GET = do_POST  # noqa: N815  # the name that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def serving() -> Iterator[Callable[[Serve], str]]:
    """Starts a server that answers as it is told; gives its address."""
    started: list[http.server.ThreadingHTTPServer] = []

    def serve(how: Serve) -> str:
        handler = type("Handler", (_Handler,), {"serve": staticmethod(how)})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        started.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in started:
        server.shutdown()
        server.server_close()


def answer(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None) -> None:
    """A whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def _chunk(handler: http.server.BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def _endless(data: bytes) -> Serve:
    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            _chunk(handler, data)

    return serve


def _drip(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


def _drip_head(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


def _drip_line(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n4;")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


def test_what_is_sent(serving: Callable[[Serve], str]) -> None:
    """Path, query, token and a streamed body arrive as they were given, and connections are used again."""
    seen: list[tuple[str, str, bytes, object]] = []

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        body = b""
        while size := int(handler.rfile.readline(), 16):
            body += handler.rfile.read(size + 2)[:-2]
        handler.rfile.readline()
        seen.append((handler.path, handler.headers["Authorization"], body, handler.client_address))
        answer(handler, 200, b'{"a": 1}')

    client = Client(serving(serve) + "/base/", authorization=Secret(b"Bearer t"))
    for _ in range(2):
        found = client.json("POST", "/a b", [("name", "x/y&z"), ("name", "ü")], body=iter([b"one", b"two"]))
        assert {"a": 1} == found
    client.close()
    assert ("/base/a%20b?name=x%2Fy%26z&name=%C3%BC", "Bearer t", b"onetwo") == seen[0][:3]
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (403, b"no", Refused, "403: no; look at its token"),
        (404, b"", Refused, "answers 404$"),
        (500, b'{"Message": "it is\\nbroken"}', Unavailable, "500: it is broken"),
        (500, b'{"Message": "write x: no space left on device"}', Full, "no space left"),
        (507, b"", Full, "507"),
        (400, b'{"error": {"reason": "BAD", "details": "cid"}}', Refused, "BAD cid"),
        (302, b"elsewhere", Refused, "302"),
        (503, b"\x1b[31m\xff" * 5000, Unavailable, r"503: \?\[31m"),
    ],
)
def test_failures(serving: Callable[[Serve], str], status: int, body: bytes, kind: type[StoreError], told: str) -> None:
    """A status becomes the error it stands for, with what the server said on one printable line."""
    client = Client(serving(lambda handler: answer(handler, status, body)))
    with pytest.raises(kind, match=told) as failed:
        client.call("GET", "/")
    client.close()
    assert len(str(failed.value)) < 700
    assert str(failed.value).isprintable()


def test_the_rules_of_a_kind(serving: Callable[[Serve], str]) -> None:
    """A store's own rules decide what a status stands for."""
    client = Client(
        serving(lambda handler: answer(handler, 500, b"not here")),
        failure=lambda status, text: Full(f"{status} {text}"),
    )
    with pytest.raises(Full, match=r"^500 not here$"):
        client.call("GET", "/")
    client.close()


@pytest.mark.parametrize(
    ("serve", "kind", "told"),
    [
        (_endless(b"x" * 1000), Refused, "more than the 5000 bytes"),
        (_drip, Unavailable, "too slowly"),
        (_drip_head, Unavailable, "too slowly"),
        (_drip_line, Unavailable, "too slowly"),
        (lambda _: time.sleep(2), Unavailable, "does not answer"),
        (lambda handler: handler.wfile.write(b"garbage\r\n\r\n"), Unavailable, "does not answer"),
        (lambda handler: answer(handler, 200, b"short", 1000), Unavailable, "broke off"),
    ],
)
def test_bad_answers(serving: Callable[[Serve], str], serve: Serve, kind: type[StoreError], told: str) -> None:
    """Endless, slow, silent, garbled and short answers end within their time."""

    def once(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        serve(handler)

    client = Client(serving(once), timeout=0.5)
    began = time.monotonic()
    with pytest.raises(kind, match=told):
        client.call("GET", "/", most=5000)
    client.close()
    assert time.monotonic() - began < 5


def test_lines(serving: Callable[[Serve], str]) -> None:
    """Values come as they arrive, one on each line; a line without end is refused."""

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        if handler.path == "/endless":
            _endless(b"x" * 100_000)(handler)
        answer(handler, 200, b'{"a": 1}\n\n[2]\n"three"')

    client = Client(serving(serve))
    with client.open("GET", "/") as stream:
        assert [{"a": 1}, [2], "three"] == list(stream.lines())
    with pytest.raises(Refused, match="a line longer than"), client.open("GET", "/endless") as stream:
        list(stream.lines())
    client.close()


@pytest.mark.parametrize("text", [b"<html>", b"[" * 100_000, b"\xff", b""])
def test_no_json(serving: Callable[[Serve], str], text: bytes) -> None:
    """What is no JSON is refused with a question."""
    client = Client(serving(lambda handler: answer(handler, 200, text)))
    with pytest.raises(Refused, match="is this the right address"):
        client.json("GET", "/")
    client.close()


def test_an_early_no(serving: Callable[[Serve], str]) -> None:
    """A server that refuses in the middle of an upload is understood."""

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.rfile.read(100)
        answer(handler, 403, b"not you")

    client = Client(serving(serve))
    with pytest.raises((Refused, Unavailable)):
        client.call("POST", "/", body=(b"x" * 65536 for _ in range(1000)))
    client.close()


def test_a_source_that_fails(serving: Callable[[Serve], str]) -> None:
    """An error of whatever gives the body passes as it is, even if it looks like one of the network."""

    def body() -> Iterator[bytes]:
        yield b"x"
        raise OSError(5, "the disk is broken")

    client = Client(serving(lambda handler: handler.rfile.read(10_000) and None))
    with pytest.raises(OSError, match="the disk is broken"):
        client.call("POST", "/", body=body())
    client.close()


def test_nobody_there() -> None:
    """A port where nobody listens is told with its address and the reason."""
    client = Client("http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"^http://127.0.0.1:9 does not answer \(Connection refused\)$"):
        client.call("GET", "/")
    client.close()


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the URL names no port, the usual one is asked about; where it does, it is not."""
    monkeypatch.setitem(urllib3.connection.port_by_scheme, "http", 9)
    for url, told in (
        ("http://127.0.0.1", r"refused\); no port given, 5001\?$"),
        ("http://127.0.0.1:9", r"refused\)$"),
    ):
        client = Client(url, usual_port=5001)
        with pytest.raises(NobodyListens, match=told):
            client.call("GET", "/")
        client.close()


@pytest.mark.parametrize(
    ("code", "lasting"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False), (socket.EAI_FAIL, False)]
)
def test_names_that_nobody_knows(monkeypatch: pytest.MonkeyPatch, code: int, *, lasting: bool) -> None:
    """A name that does not exist is refused for good; one that cannot be looked up now may be later."""

    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "what the resolver says")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client = Client("http://nosuch.invalid:5001")
    with pytest.raises(Unavailable, match=r"nosuch.invalid:5001 does not answer \(what the resolver says\)") as failed:
        client.call("GET", "/")
    client.close()
    assert lasting == isinstance(failed.value, Unreachable)
    assert lasting == isinstance(failed.value, Refused)
    assert lasting == str(failed.value).endswith("is its name right?")


def test_a_name_that_cannot_be() -> None:
    """A name that no resolver would take is refused for good."""
    client = Client("http://a..b:5001")
    with pytest.raises(Unreachable, match="is its name right"):
        client.call("GET", "/")
    client.close()


def test_no_tls(serving: Callable[[Serve], str]) -> None:
    """A server that speaks HTTP where HTTPS is asked for is refused for good, with a question."""
    client = Client(serving(lambda handler: answer(handler, 200, b"")).replace("http:", "https:"))
    with pytest.raises(Unreachable, match=r"speaks no TLS .*: is it http://\?$"):
        client.call("GET", "/")
    client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, plain[1], plain[0])
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls_port(certificate: Path) -> Iterator[int]:
    """A server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    handler = type("Handler", (_Handler,), {"serve": staticmethod(lambda one: answer(one, 200, b"well"))})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)])
def test_certificates(certificate: Path, tls_port: int, host: str, *, trusted: bool) -> None:
    """A certificate of an unknown authority, or for another name, is refused for good; `ca_file` is named."""
    client = Client(f"https://{host}:{tls_port}", ca_file=certificate if trusted else None)
    with pytest.raises(Unreachable, match=r"a certificate that is not trusted \(.*(self-signed|mismatch).*ca_file"):
        client.call("GET", "/")
    client.close()


def test_a_trusted_certificate(certificate: Path, tls_port: int) -> None:
    """With the authority in `ca_file` the server is trusted."""
    client = Client(f"https://localhost:{tls_port}", ca_file=certificate)
    assert b"well" == client.call("GET", "/")
    client.close()


@pytest.mark.parametrize(
    ("content", "told"), [(None, "cannot be read: No such file"), (b"words", "holds no certificates")]
)
def test_a_ca_file_without_certificates(tmp_path: Path, content: bytes | None, told: str) -> None:
    """A `ca_file` that is not there, or holds something else, is a mistake of the caller's, told before any request."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=f"^ca_file {path} {told}"):
        Client("https://127.0.0.1:9", ca_file=path)


def test_what_went_wrong_before_is_no_reason(tmp_path: Path) -> None:
    """A failure while another is handled is told by its own reason."""
    client = Client("http://127.0.0.1:9")
    try:
        (tmp_path / "gone").read_bytes()
    except OSError:
        with pytest.raises(NobodyListens, match="Connection refused"):
            client.call("GET", "/")
    client.close()
