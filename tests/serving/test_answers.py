"""What clients get: whole answers, honest statuses, and a cut that looks like one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import urllib3

from lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.conftest import Running


@pytest.mark.parametrize(
    ("target", "status", "line"),
    [
        ("/boom?how=missing", 404, "not found: a block is missing: bafy-one"),
        ("/boom?after=0", 404, "not found: a block is missing: bafy-one"),
        ("/boom?how=unavailable", 503, "the store does not answer; try again"),
        ("/boom?how=bad", 418, "no coffee"),
        ("/boom?how=other", 500, "internal error; the server's log says more"),
        ("/odd?how=header", 500, "internal error; the server's log says more"),
        ("/stream?size=100&length=50", 500, "internal error; the server's log says more"),
    ],
)
def test_errors_become_statuses(server: Running, target: str, status: int, line: str) -> None:
    """An error before the first byte, also of an iterator, is an answer of one line that tells no secret."""
    answer = server.ask(target)
    assert (status, line + "\n") == (answer.status, answer.data.decode())
    assert "no-store" == answer.headers["cache-control"]
    assert ("5" if status == 503 else None) == answer.headers.get("retry-after")


def test_what_nobody_expected_is_told_to_the_log_alone(server: Running) -> None:
    """A trace goes to the log, one line of it, and not to the client."""
    assert "secret" not in server.ask("/boom?how=other").data.decode()
    assert "ValueError: a secret" in server.logged(event="unexpected")["trace"]
    assert "trace" not in server.logged(event="request", status=500)


@pytest.mark.parametrize("target", ["/boom?after=3", "/boom?after=3000", "/stream?size=100&length=150"])
def test_a_broken_answer_looks_broken(server: Running, target: str) -> None:
    """An iterator that raises, or ends before the promised length, ends the connection: nobody takes it for whole."""
    with pytest.raises(urllib3.exceptions.ProtocolError):
        server.ask(target)
    line = server.logged(path=target.partition("?")[0])
    assert (200, True) == (line["status"], line["cut"].startswith("the door "))


def test_a_long_answer_is_whole(server: Running) -> None:
    """Streams arrive whole, with and without a promised length, in pieces of any size."""
    for piece in (100, 5000, 65536, 3 << 20):
        assert b"x" * (7 << 20) == server.ask(f"/stream?size={7 << 20}&piece={piece}").data
    assert b"x" * (1 << 20) == server.ask(f"/stream?size={1 << 20}&length={1 << 20}").data
    assert b"x" * (1 << 20) == server.ask("/odd?how=large").data
    assert b"" == server.ask("/stream?size=0").data


def test_head_has_no_body(server: Running) -> None:
    """HEAD has the headers of GET and no body; iterators are not read; the connection stays in step."""
    assert "1048576" == server.ask("/odd?how=large", "HEAD").headers["content-length"]
    assert "77" == server.ask("/stream?size=77&length=77", "HEAD").headers["content-length"]
    assert "content-length" not in server.ask("/stream?size=77", "HEAD").headers
    with server.wire() as wire:
        wire.ask("/odd?how=large", "HEAD").ask("/stream?size=5", "HEAD").ask("/odd?how=nothing").ask(
            "/odd?how=unchanged"
        )
        wire.send(b"GET /echo/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        statuses = [line[9:12] for line in wire.rest().split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert [b"200", b"200", b"204", b"304", b"200"] == statuses


def test_http_1_0(server: Running) -> None:
    """HTTP/1.0 gets whole bodies, ended by the end of the connection, and a cut is seen by its missing bytes."""
    with server.wire() as wire:
        head, _, body = wire.send(b"GET /stream?size=200000 HTTP/1.0\r\n\r\n").rest().partition(b"\r\n\r\n")
    assert (200_000, False) == (len(body), b"chunked" in head.lower())


def test_a_client_that_leaves_closes_the_iterator(server: Running) -> None:
    """When the client goes away the iterator is closed, long before its end, and the log says so."""
    with server.wire() as wire:
        wire.ask("/stream?size=100000000000").until(b"xxx")
    line = server.logged(path="/stream")
    assert "the client went away" == line["cut"]
    assert line["bytes"] < 10_000_000
    wait_until(lambda: json.loads(server.ask("/closed").data)[0] == 1, what="the iterator to be closed")


def test_a_client_that_stops_reading_is_dropped(start: Callable[..., Running]) -> None:
    """Whoever takes nothing for the time of `stall` is cut off, and the iterator closed."""
    server = start(stall=1.0)
    with server.wire(4096) as wire:
        wire.ask("/stream?size=100000000000").until(b"xxx")
        assert "the client took nothing for 1 seconds" == server.logged(path="/stream")["cut"]
        assert 1.0 == server.figure('pinfold_answers_cut_total{door="stream",reason="stalled"}')
        wire.rest()
    assert 0.0 == server.figure("pinfold_requests_in_flight")


def test_short_answers_that_nobody_reads_end_too(start: Callable[..., Running]) -> None:
    """Whoever asks again and again and never reads is dropped by the system after the same time."""
    server = start(stall=1.0)
    with server.wire(4096) as wire:
        wire.socket.settimeout(0.5)
        request = b"GET /echo/unread HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000 + b"\r\n\r\n"

        def is_dropped() -> bool:
            try:
                wire.send(request * 20)
            except TimeoutError:
                return False
            except ConnectionError:
                return True
            return False

        wait_until(is_dropped, what="the connection to be dropped")


def test_too_many_at_once(start: Callable[..., Running]) -> None:
    """Beyond the limit of requests the answer is 503 with a time to wait; the server's own doors still answer."""
    server = start(requests=2, threads=2)
    with server.wire() as first, server.wire() as second:
        first.ask("/slow")
        second.ask("/slow")
        wait_until(lambda: server.figure("pinfold_requests_in_flight") == 2, what="two under way")
        refused = server.ask("/echo/")
        assert (503, "5") == (refused.status, refused.headers["retry-after"])
        assert [200, 200, 200] == [server.ask(one).status for one in ("/healthz", "/readyz", "/")]
        server.ask("/letgo")
        assert b"200 OK" in first.until(b"at last")
    wait_until(lambda: server.figure("pinfold_requests_in_flight") == 0, what="none under way")
    assert 200 == server.ask("/echo/").status


def test_more_than_there_are_threads_wait_in_line(start: Callable[..., Running]) -> None:
    """Requests beyond the threads are answered when a thread is free."""
    server = start(threads=2)
    wires = [server.wire().ask("/slow?seconds=0.05") for _ in range(20)]
    assert [True] * 20 == [b"at last" in one.until(b"at last") for one in wires]
    for one in wires:
        one.close()
