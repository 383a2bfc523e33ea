"""Many clients, and slow ones: memory and threads stay bounded."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.conftest import Running

MOST_MEGABYTES = 100


def test_slow_readers_cost_little(start: Callable[..., Running]) -> None:
    """200 clients that stop reading a stream of 100 MB cost less than 100 MB of memory, and no thread."""
    server = start()
    server.ask("/stream?size=10000000")
    before, threads = server.megabytes, json.loads(server.ask("/closed").data)[1]
    wires = [server.wire(4096).ask("/stream?size=100000000&piece=65536") for _ in range(200)]
    try:
        for one in wires:
            one.until(b"xxx")
        wait_until(lambda: server.figure("pinfold_requests_in_flight") == 200, what="all to be under way")
        # A fast one beside them is served as ever; after it, all slow ones have got what their buffers take.
        assert 50_000_000 == len(server.ask("/stream?size=50000000").data)
        grown = server.megabytes - before
        assert grown < MOST_MEGABYTES, f"{grown} MB"
        assert json.loads(server.ask("/closed").data)[1] <= threads + 32
    finally:
        for one in wires:
            one.close()
    wait_until(lambda: server.figure("pinfold_requests_in_flight") == 0, what="all to be let go")
    wait_until(lambda: json.loads(server.ask("/closed").data)[0] == 202, what="iterators to be closed")


def test_idle_connections(server: Running) -> None:
    """2,000 connections that say nothing cost less than 100 MB, and others are served beside them."""
    before = server.megabytes
    wires = [server.wire() for _ in range(2000)]
    try:
        for one in wires[::100]:
            assert b"200 OK" in one.ask("/healthz").until(b"alive")
        assert 200 == server.ask("/echo/").status
        assert server.megabytes - before < MOST_MEGABYTES
    finally:
        for one in wires:
            one.close()
    assert 200 == server.ask("/echo/").status


def test_connections_are_counted(start: Callable[..., Running]) -> None:
    """Beyond the limit of connections nobody is let in until one leaves."""
    server = start(connections=2)
    with server.wire() as first, server.wire() as second:
        first.ask("/healthz").until(b"alive")
        second.ask("/healthz").until(b"alive")
        with server.wire() as third:
            third.ask("/healthz").socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                third.read(1)
            second.close()
            third.socket.settimeout(30)
            assert b"200 OK" in third.until(b"alive")


def test_many_at_once_are_all_served(server: Running) -> None:
    """Sixteen clients with a hundred requests each all get their own answer."""
    wrong: list[str] = []

    def client(number: int) -> None:
        with server.wire() as wire:
            for at in range(100):
                told = wire.ask(f"/echo/{number}-{at}").until(b'"client": "127.0.0.1"}')
                if f'"path": "/echo/{number}-{at}"'.encode() not in told:
                    wrong.append(f"{number}-{at}")

    clients = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert [] == wrong
    wait_until(lambda: server.figure('pinfold_requests_total{door="echo",method="GET",status="200"}') == 1600)
