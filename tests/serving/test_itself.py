"""What a server says of itself: readiness, metrics, the log; and TLS."""

from __future__ import annotations

import io
import json
import logging
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from lab.process import wait_until
from pinfold.errors import PinfoldError, UsageError
from pinfold.serving import Address
from pinfold.serving.address import bind
from pinfold.serving.app import Outcome
from pinfold.serving.logs import Log, shown
from pinfold.serving.server import TLS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from serving.conftest import Running


def test_readiness_follows_the_store(start: Callable[..., Running], tmp_path: Path) -> None:
    """/readyz is 503 while the store is ill or hangs, and says so; /healthz is 200 all the while."""
    ill = tmp_path / "ill"
    server = start({"ill": str(ill)})
    assert (200, b"ready\n") == (server.ask("/readyz").status, server.ask("/readyz").data)
    ill.touch()
    wait_until(lambda: server.ask("/readyz").status == 503, what="unreadiness")
    assert b"not ready: the store does not answer (PinfoldError)\n" == server.ask("/readyz").data
    assert 200 == server.ask("/healthz").status
    ill.unlink()
    wait_until(lambda: server.ask("/readyz").status == 200, what="readiness")
    ill.write_text("hangs")
    wait_until(lambda: b"has not answered for 1 s" in server.ask("/readyz").data, what="a hanging store")
    assert 200 == server.ask("/healthz").status


def test_metrics_take_few_labels(server: Running) -> None:
    """Requests are counted by door, method and status; what clients make up has no label of its own."""
    for method, target in (("GET", "/echo/a"), ("GET", "/echo/b"), ("MADEUP", "/echo/c"), ("GET", "/made/up")):
        server.ask(target, method)
    assert 2.0 == server.figure('pinfold_requests_total{door="echo",method="GET",status="200"}')
    assert 1.0 == server.figure('pinfold_requests_total{door="echo",method="other",status="200"}')
    assert 1.0 == server.figure('pinfold_requests_total{door="none",method="GET",status="404"}')
    assert 3.0 == server.figure('pinfold_request_seconds_count{door="echo"}')
    assert 0.0 < server.figure('pinfold_sent_bytes_total{door="echo"}')
    assert 1e6 < server.figure("process_resident_memory_bytes")
    page = server.ask("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"made" not in page.data.lower()


def test_one_line_for_each_request(server: Running) -> None:
    """The log has one JSON line for each request, with what the door adds, and neither queries nor headers."""
    server.ask("/stream?size=1000&token=secret", headers={"Authorization": "Bearer secret"})
    line = server.logged(path="/stream")
    assert {"level": "info", "event": "request", "client": "127.0.0.1", "method": "GET", "status": 200} == {
        name: line[name] for name in ("level", "event", "client", "method", "status")
    }
    assert (1000, 1000, "stream") == (line["bytes"], line["size"], line["door"])
    assert 0 <= line["seconds"] < 30
    assert datetime.now(UTC) - datetime.fromisoformat(line["time"]) < timedelta(minutes=1)
    server.ask("/healthz")
    server.ask("/echo/%0aGET%20/x%1b[2J%E2%80%AE?")
    assert "/echo/\\nGET /x\\x1b[2J\\u202e" == server.logged(door="echo")["path"]
    assert "secret" not in server.log_file.read_text()
    assert 2 == len(server.log)


def test_words_for_people() -> None:
    """At a terminal a request is a line of words, also with a path that would be another line."""
    stream = io.StringIO()
    log = Log(as_json=False, level="info", stream=stream)
    log.observe(Outcome("::1", "GET", "/a b\n", door="gateway", status=206, sent=7, seconds=0.25, more={"cid": "bafy"}))
    log.say("warning", "something", why="reasons")
    log.say("debug", "nothing")
    log.say("info", "listening", listening=["http://a", "http://b"])
    first, second, third = stream.getvalue().splitlines()
    assert "info listening listening=http://a,http://b" == third.partition(" ")[2]
    assert "info request ::1 GET /a b\\n 206 bytes=7 seconds=0.25 door=gateway cid=bafy" == first.partition(" ")[2]
    assert "warning something why=reasons" == second.partition(" ")[2]


def test_a_door_cannot_forge_what_the_log_says() -> None:
    """What a door adds does not replace what the server itself knows."""
    stream = io.StringIO()
    log = Log(as_json=True, level="info", stream=stream)
    log.observe(Outcome("::1", "GET", "/", status=200, more={"status": 500, "client": "x", "level": "error"}))
    line = json.loads(stream.getvalue())
    assert (200, "::1", "info") == (line["status"], line["client"], line["level"])


def test_other_loggers_are_heard() -> None:
    """Warnings of Python's own loggers come out as lines of the same kind; less does not."""
    stream = io.StringIO()
    Log(as_json=True, level="info", stream=stream).take_over("pinfold.test")
    logging.getLogger("pinfold.test.below").info("nothing")
    logging.getLogger("pinfold.test.below").warning("a\nb %s", 1)
    line = json.loads(stream.getvalue())
    assert ("warning", "a\\nb 1", "pinfold.test.below") == (line["level"], line["event"], line["from"])
    logging.getLogger("pinfold.test").handlers = []


@given(st.text(max_size=2000))
def test_what_is_shown_is_one_line(text: str) -> None:
    """Whatever a client sends is shown in one printable line of bounded length."""
    line = shown(text)
    assert line.isprintable()
    assert len(line) <= 513 * 10


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8480", "127.0.0.1", 8480), ("[::1]:0", "::1", 0), ("localhost:1", "localhost", 1)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    """Addresses are read, and written as they were."""
    address = Address.parse(text)
    assert (host, port, text) == (address.host, address.port, str(address))


@pytest.mark.parametrize("text", ["", "8480", ":8480", "::1:80", "a:b", "a:99999", "http://a:80", "a:80/", "[x]:1"])
def test_addresses_that_are_none(text: str) -> None:
    """What is no address is refused with the form that is."""
    with pytest.raises(UsageError, match="give HOST:PORT"):
        Address.parse(text)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    for number, locked in enumerate((serialization.NoEncryption(), serialization.BestAvailableEncryption(b"x"))):
        encoded = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
        (folder / f"key{number}.pem").write_bytes(encoded)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "cert.pem", folder / "key0.pem"


def test_tls(start: Callable[..., Running], certificate: tuple[Path, Path]) -> None:
    """With a certificate it speaks TLS; a broken answer looks broken there too, and plain HTTP gets nothing."""
    server = start({"tls": [str(one) for one in certificate], "listen": ["localhost:0"]})
    assert server.urls[0].startswith("https://")
    with urllib3.PoolManager(
        retries=False,
        timeout=30,
        ca_certs=str(certificate[0]),
        server_hostname="localhost",
        assert_hostname="localhost",
    ) as pool:
        assert b"x" * 3_000_000 == pool.request("GET", server.urls[0] + "/stream?size=3000000").data
        with pytest.raises(urllib3.exceptions.ProtocolError):
            pool.request("GET", server.urls[0] + "/boom?after=3000")
    with server.wire() as wire:
        assert b"HTTP/1.1 200" not in wire.ask("/healthz").until(b"\r\n\r\n")
    context = ssl.create_default_context(cafile=certificate[0])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with server.wire() as wire, context.wrap_socket(wire.socket, server_hostname="localhost") as tls:
        assert "TLSv1.2" == tls.version()


def test_certificates_that_cannot_be_used(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """A missing, foreign or encrypted key is told in one line before anything is served."""
    cert, key = certificate
    (tmp_path / "empty").touch()
    for wrong in (tmp_path / "none", tmp_path / "empty", key.with_name("key1.pem"), cert):
        with pytest.raises(UsageError, match="cannot use the certificate") as caught:
            TLS(cert, wrong).check()
        assert "\n" not in str(caught.value)


def test_addresses_of_others() -> None:
    """An address this machine has not is told in one line."""
    with pytest.raises(PinfoldError, match=r"cannot listen on 192\.0\.2\.1:0: this machine has no such address"):
        bind(Address("192.0.2.1", 0), 1.0)
    with pytest.raises(UsageError, match="is no host of this machine"):
        bind(Address("no.such.host.invalid", 0), 1.0)
