"""The laboratory's proxy: what it delays, cuts, stalls, refuses, answers and counts."""

from __future__ import annotations

import http.client
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lab.process import wait_until
from lab.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.kubo import Node

SIZE = 3_000_000


@pytest.fixture
def proxy(shared_node: Node) -> Iterator[Proxy]:
    """A proxy before a node's RPC."""
    with Proxy(shared_node.api) as proxy:
        yield proxy


@pytest.fixture
def blocks(shared_node: Node) -> list[str]:
    """The CIDs of 3 blocks of 1 MB."""
    files = [random.Random(seed).randbytes(SIZE // 3) for seed in range(3)]
    return [shared_node.run("block", "put", "--cid-codec=raw", input=file).decode().strip() for file in files]


def post(proxy: Proxy, target: str, body: bytes = b"") -> tuple[int, bytes]:
    """Ask on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    try:
        connection.request("POST", target, body=body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def upload(proxy: Proxy, size: int = SIZE) -> tuple[int, bytes]:
    """Upload one file."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    body = head + random.Random(9).randbytes(size) + b"\r\n--x--\r\n"
    try:
        connection.request("POST", "/api/v0/add", body, {"Content-Type": "multipart/form-data; boundary=x"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_what_is_asked_is_answered_and_counted(proxy: Proxy, blocks: list[str]) -> None:
    """Bytes pass unchanged both ways, and are counted."""
    for seed, cid in enumerate(blocks):
        assert (200, random.Random(seed).randbytes(SIZE // 3)) == post(proxy, f"/api/v0/block/get?arg={cid}")
    assert 200 == upload(proxy)[0]
    assert {"/api/v0/block/get": 3, "/api/v0/add": 1} == proxy.counts.requests
    assert (4, 0, 1) == (proxy.counts.connections, proxy.counts.in_flight, proxy.counts.most_in_flight)
    assert proxy.counts.bytes_up > SIZE < proxy.counts.bytes_down


def test_latency_delays_but_does_not_narrow(proxy: Proxy, blocks: list[str]) -> None:
    """100 ms there and back: a new connection takes twice that, and a megabyte takes hardly longer than a byte."""
    proxy.latency = 0.05
    start = time.monotonic()
    post(proxy, "/api/v0/version")
    assert 0.2 <= time.monotonic() - start
    start = time.monotonic()
    post(proxy, f"/api/v0/block/get?arg={blocks[0]}")
    assert time.monotonic() - start < 1


def test_requests_in_flight_are_counted_at_once(proxy: Proxy) -> None:
    """Eight requests sent within one round trip are in flight together."""
    proxy.latency = 0.1
    with ThreadPoolExecutor(8) as pool:
        assert {200} == {status for status, _ in pool.map(lambda _: post(proxy, "/api/v0/version"), range(8))}
    assert 8 == proxy.counts.most_in_flight
    assert 0 == proxy.counts.in_flight


def test_bandwidth_is_shared(proxy: Proxy, blocks: list[str]) -> None:
    """3 MB over three connections take 0.3 s at 10 MB a second."""
    proxy.bandwidth = 10e6
    start = time.monotonic()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda cid: post(proxy, f"/api/v0/block/get?arg={cid}"), blocks))
    assert 0.3 <= time.monotonic() - start


def test_a_chosen_request_is_answered_in_place(proxy: Proxy) -> None:
    """The second request of a path is answered with 507, the others by the server."""
    proxy.fail("/version", 507, nth=2)
    assert [200, 507, 200] == [post(proxy, "/api/v0/version")[0] for _ in range(3)]


def test_an_upload_is_answered_in_its_middle(proxy: Proxy) -> None:
    """An error comes after a megabyte of an upload, and the server saw no more than that."""
    fault = proxy.fail("/add", 500, after=1_000_000)
    assert 500 == upload(proxy)[0]
    fault.wait()
    assert 1_000_000 <= proxy.counts.bytes_up < 1_001_000
    assert 200 == upload(proxy)[0]


@pytest.mark.parametrize("after", [0, 500_000])
def test_a_request_is_cut(proxy: Proxy, after: int) -> None:
    """The connection ends when so many bytes of an upload were sent."""
    fault = proxy.cut("/add", after=after)
    with pytest.raises((OSError, http.client.HTTPException)):
        upload(proxy)
    fault.wait()
    assert 0 == proxy.counts.in_flight


def test_a_response_is_cut(proxy: Proxy, blocks: list[str]) -> None:
    """The connection ends when so many bytes of an answer came."""
    proxy.cut("block/get", of="response", after=400_000)
    with pytest.raises(http.client.IncompleteRead) as cut:
        post(proxy, f"/api/v0/block/get?arg={blocks[0]}")
    assert 390_000 < len(cut.value.partial) <= 400_000


def test_a_stalled_response_goes_on_when_released(proxy: Proxy, blocks: list[str]) -> None:
    """An answer stops after so many bytes, and comes whole once it is let go."""
    fault = proxy.stall("block/get", of="response", after=400_000)
    got: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: got.append(post(proxy, f"/api/v0/block/get?arg={blocks[0]}")))
    asking.start()
    fault.wait()
    assert 1 == proxy.counts.in_flight
    fault.release()
    asking.join()
    assert [(200, random.Random(0).randbytes(SIZE // 3))] == got


def test_connections_are_refused_for_a_while(proxy: Proxy) -> None:
    """While it refuses, nobody listens on the port; afterwards all is well."""
    with proxy.refusing(), pytest.raises(ConnectionRefusedError):
        post(proxy, "/api/v0/version")
    assert 200 == post(proxy, "/api/v0/version")[0]


def test_nothing_stays_behind(shared_node: Node) -> None:
    """A proxy that is closed in the middle of a stalled answer ends all its threads."""
    before = threading.active_count()
    with Proxy(shared_node.api) as proxy:
        fault = proxy.stall("version")
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
        connection.request("POST", "/api/v0/version")
        fault.wait()
    connection.close()
    wait_until(lambda: before == threading.active_count(), what="the threads to end")
