"""How a server ends, and begins again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.process import free_port, wait_until
from serving.conftest import DEMO, Running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def refused(port: int) -> bool:
    """Whether nobody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_answers_are_finished(start: Callable[..., Running], number: signal.Signals) -> None:
    """Told to stop, the server lets nobody in, closes idle connections, finishes what runs, and ends with 0."""
    server = start()
    with server.wire() as idle, server.wire() as waiting, server.wire() as reading:
        idle.ask("/echo/").until(b"}")
        waiting.ask("/slow?seconds=2")
        reading.ask("/stream?size=50000000").until(b"xxx")
        server.signal(number)
        assert b"" == idle.rest()
        wait_until(lambda: refused(server.port), what="the door to close")
        assert 49_000_000 < len(reading.rest())
        assert b"200 OK" in waiting.until(b"at last")
    assert (0, "0") == server.ended()


def test_what_takes_too_long_is_cut(start: Callable[..., Running]) -> None:
    """After the time of `grace` the rest is cut off, its iterators closed, the log says so, and the end is 0."""
    server = start(grace=0.5)
    with server.wire() as asleep, server.wire(4096) as stuck:
        asleep.ask("/slow")
        stuck.ask("/stream?size=1000000000").until(b"xxx")
        server.signal()
        assert (0, "2") == server.ended()
        asleep.rest()
    assert {"the server was stopped"} == {line["cut"] for line in server.log if line["door"] != "own"}


def test_a_second_signal_hurries(start: Callable[..., Running]) -> None:
    """A second signal cuts off at once whatever is being waited for."""
    server = start(grace=600, drain=600)
    with server.wire() as asleep:
        asleep.ask("/slow")
        wait_until(lambda: server.figure("pinfold_requests_in_flight") == 1)
        server.signal()
        wait_until(lambda: server.ask("/readyz").status == 503, what="stopping")
        server.signal()
        assert (9, "1") == server.ended()


def test_a_signal_is_heard_under_load(start: Callable[..., Running]) -> None:
    """SIGTERM is heard also while the event loop is being woken from all sides, when a byte more finds no room."""
    server = start(grace=5)
    with server.wire() as wire:
        wire.ask("/storm").rest()
    assert (0, "0") == server.ended()


def test_many_leave_while_it_stops(start: Callable[..., Running]) -> None:
    """A server that is told to stop while 200 clients hang up ends with 0, and every request is in its log."""
    server = start(grace=20)
    wires = [server.wire(4096).ask("/stream?size=100000000") for _ in range(200)]
    for one in wires:
        one.until(b"xxx")
    for one in wires:
        one.close()
    server.signal()
    code, _cut = server.ended()  # how many had left before they could be cut is a race
    assert 0 == code
    assert 200 == len(server.log)


def test_readiness_goes_first(start: Callable[..., Running]) -> None:
    """While it drains, the server answers everything, but says it is not ready."""
    server = start(drain=1.0)
    assert 200 == server.ask("/readyz").status
    server.signal()
    wait_until(lambda: server.ask("/readyz").status == 503, what="stopping")
    assert b"not ready: stopping\n" == server.ask("/readyz").data
    assert 200 == server.ask("/echo/").status
    assert (0, "0") == server.ended()


def test_killed_and_started_again(start: Callable[..., Running]) -> None:
    """After kill -9 the next one has the port at once, though connections of the last still linger."""
    port = free_port()
    first = start({"listen": [f"127.0.0.1:{port}"]})
    with first.wire(4096) as wire:
        wire.ask("/stream?size=1000000000").until(b"xxx")
        first.process.kill()
        wire.rest()
    first.ended()
    second = start({"listen": [f"127.0.0.1:{port}"]})
    assert (port, 200) == (second.port, second.ask("/echo/").status)


def test_a_port_in_use_is_no_second_door(start: Callable[..., Running], tmp_path: Path) -> None:
    """A second server on the same port fails with one clear line instead of sharing the requests."""
    server = start()
    settings = json.dumps({"listen": [f"127.0.0.1:{server.port}"]})
    ran = subprocess.run(
        [sys.executable, str(DEMO), settings], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert 1 == ran.returncode
    assert f"cannot listen on 127.0.0.1:{server.port}: another program listens there" in ran.stderr


def test_several_addresses(start: Callable[..., Running]) -> None:
    """One server listens on several addresses, and on both kinds of IP."""
    server = start({"listen": ["127.0.0.1:0", "[::1]:0"]})
    assert 2 == len(server.urls)
    assert [200, 200] == [server.pool.request("GET", url + "/echo/").status for url in server.urls]
