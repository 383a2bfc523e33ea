"""What doors are asked: decoding, limits, and requests that are none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.conftest import Running


def test_a_request_arrives_decoded(server: Running) -> None:
    """Path and query are decoded once, header names are lower case, repeated headers joined, the body is whole."""
    with server.wire() as wire:
        wire.send(
            b"POST /echo/a%2Fb/../%25c3//%C3%A9?x=1&y=a%26+b&x=2&z HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\n"
            b"Content-Length: 4\r\nConnection: close\r\n\r\nbody"
        )
        told = json.loads(wire.rest().partition(b"\r\n\r\n")[2])
    assert "/echo/a/b/../%c3//é" == told["path"]
    assert [["x", "1"], ["y", "a& b"], ["x", "2"], ["z", ""]] == told["query"]
    assert ("POST", "body", "127.0.0.1") == (told["method"], told["body"], told["client"])
    assert ("h", "1, 2") == (told["headers"]["host"], told["headers"]["x-a"])


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/echo/%", 400),
        ("/echo/%4", 400),
        ("/echo/%zz", 400),
        ("/echo/%ff", 400),
        ("/echo/%c3%28", 400),
        ("/echo/%ed%a0%80", 400),
        ("/echo/%00", 400),
        ("/echo/?a=%ff", 400),
        ("/echo/?%=1", 400),
        ("/echo/?" + "a&" * 101, 400),
        ("/echo/" + "a" * 9000, 414),
        ("/echo/?" + "a" * 9000, 414),
        ("/echo/?" + "a" * 70000, 414),
        ("*", 400),
        ("/echo/%2e%2e/x", 200),
        ("http://elsewhere/echo/", 200),
        ("/none", 404),
        ("/echonot", 404),
        ("/echo", 404),
        ("/healthz/x", 404),
    ],
)
def test_targets(server: Running, target: str, status: int) -> None:
    """A target that is broken, too long or nowhere gets the status that says so, and the server lives on."""
    with server.wire() as wire:
        answer = wire.ask(target).until(b"\r\n\r\n")
    assert f"HTTP/1.1 {status} " == answer[:13].decode()
    assert 200 == server.ask("/healthz").status


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /echo/ HTTP/1.1\r\nHost: a\r\n" + b"X: %s\r\n" % (b"a" * 40000) + b"\r\n", 431),
        (b"GET /echo/ HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"GET /echo/ HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 500_000 + b"\r\n\r\n", 431),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST /echo/ HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /echo/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /echo/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /echo/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n", 413),
        (b"POST /echo/ HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
        (b"BREW /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ],
)
def test_hostile_heads(server: Running, request_: bytes, status: int) -> None:
    """Heads that are too large or broken are answered with the status that says so, or at worst thrown out."""
    with server.wire() as wire:
        try:
            wire.send(request_)
        except ConnectionError:
            answer = b""
        else:
            answer = wire.until(b"\r\n\r\n")
    assert answer[9:12].decode() in {str(status), ""}
    assert 200 == server.ask("/healthz").status


def test_a_chunked_body_is_bounded(start: Callable[..., Running]) -> None:
    """A body whose length nobody told is cut at the limit, with 413; one below it arrives whole."""
    server = start(body=1000)
    with server.wire() as wire:
        wire.send(b"POST /echo/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        wire.send(b"200\r\n" + b"x" * 512 + b"\r\n")
        wire.send(b"200\r\n" + b"x" * 512 + b"\r\n")
        assert b"HTTP/1.1 413 " == wire.until(b"\r\n")[:13]
    with server.wire() as wire:
        wire.send(b"POST /echo/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        wire.send(b"200\r\n" + b"x" * 512 + b"\r\n0\r\n\r\n")
        assert "x" * 512 == json.loads(wire.rest().partition(b"\r\n\r\n")[2])["body"]


@pytest.mark.parametrize("kind", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_a_truncated_body_reaches_no_door(server: Running, kind: bytes) -> None:
    """A body that breaks off is never handed to a door; the log says that the client left."""
    with server.wire() as wire:
        wire.send(b"POST /echo/cut HTTP/1.1\r\nHost: a\r\n" + kind + b"\r\n\r\n5\r\nabcde\r\n")
    line = server.logged(path="/echo/cut")
    assert (499, "the client went away") == (line["status"], line["cut"])


def test_bodies_are_asked_for_where_wanted(server: Running) -> None:
    """`Expect: 100-continue` is answered before the body, and not when the body will be refused."""
    with server.wire() as wire:
        wire.send(b"POST /echo/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert b"HTTP/1.1 100 " == wire.until(b"\r\n\r\n")[:13]
        assert b'"body": "ab"' in wire.send(b"ab").until(b"}")
    with server.wire() as wire:
        wire.send(b"POST /echo/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        assert b"HTTP/1.1 413 " == wire.until(b"\r\n\r\n")[:13]


def test_pipelined_requests_are_answered_in_order(server: Running) -> None:
    """Requests sent in one go are answered one after the other, also after one with a body."""
    with server.wire() as wire:
        heads = [f"/echo/{number}" for number in range(20)]
        wire.send(b"".join(f"GET {one} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for one in heads))
        wire.send(b"POST /echo/p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        wire.send(b"GET /echo/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        told = [
            json.loads(line) for line in wire.rest().replace(b"HTTP/1.1", b"\nHTTP").split(b"\n") if line[:1] == b"{"
        ]
    assert [*heads, "/echo/p", "/echo/last"] == [one["path"] for one in told]


def test_slow_senders_are_shown_out(start: Callable[..., Running]) -> None:
    """Half a head, or a body that does not come, costs no more than the time given for it."""
    server = start(idle=1.0, sending=1.0)
    with server.wire() as silent, server.wire() as head, server.wire() as body, server.wire() as second:
        head.send(b"GET /echo/ HTTP/1.1\r\nHost: ")
        body.send(b"POST /echo/body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        second.ask("/echo/").until(b"}")
        assert [b"", b"", b""] == [one.rest() for one in (silent, head, second)]
        assert b"HTTP/1.1 408 " == body.until(b"\r\n\r\n")[:13]
        body.rest()
    assert 408 == server.logged(path="/echo/body")["status"]


def test_a_drop_at_a_time_gains_nothing(start: Callable[..., Running]) -> None:
    """Whoever sends a byte now and then is not given more time."""
    server = start(idle=1.0)
    with server.wire() as wire:
        wire.send(b"GET /echo/ HTTP/1.1\r\nHost: a\r\nX: ")
        wire.socket.settimeout(0.1)
        ended = False
        for _ in range(60):
            try:
                wire.send(b"a")
                ended = wire.socket.recv(100) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
            if ended:
                break
        assert ended
