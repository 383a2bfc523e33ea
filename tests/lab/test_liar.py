"""The laboratory's liars: they look well, and their lies end when they are closed."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from typing import TYPE_CHECKING

import pytest

from lab.lies import (
    bomb,
    drip,
    endless,
    endless_headers,
    endless_line,
    endless_lines,
    never,
    no_http,
    redirects,
    refuses,
)
from lab.lying import OTHER, LyingGateway, LyingKubo
from lab.program import Kubo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.kubo import Node
    from lab.liar import Liar
    from lab.lies import Lie

NOBODY = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"


@pytest.fixture
def kubo_liar() -> Iterator[LyingKubo]:
    """A Kubo that keeps nothing."""
    with LyingKubo() as liar:
        yield liar


def ask(liar: Liar, target: str, method: str = "POST") -> tuple[int, bytes]:
    """Ask on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", liar.port, timeout=10)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_says_pinned_and_has_nothing(kubo_liar: LyingKubo, shared_node: Node, tmp_path: Path) -> None:
    """The program `ipfs` believes it: a CAR is imported, counted and pinned, and reading gives other bytes."""
    kubo = Kubo(shared_node.binary, shared_node.home)
    root = shared_node.run("add", "-Q", "--cid-version=1", input=b"some data").decode().strip()
    car = tmp_path / "a.car"
    car.write_bytes(shared_node.run("dag", "export", "--progress=false", root))
    api = f"--api=/ip4/127.0.0.1/tcp/{kubo_liar.port}"
    told = kubo.run(api, "dag", "import", "--stats", "--enc=json", car).decode().splitlines()
    assert {"Root": {"Cid": {"/": root}, "PinErrorMsg": ""}} == json.loads(told[0])
    assert {"BlockCount": 1, "BlockBytesCount": len(b"some data")} == json.loads(told[-1])["Stats"]
    assert root in kubo.run(api, "pin", "ls", "--type=recursive").decode()
    assert OTHER == kubo.run(api, "block", "get", root)


@pytest.mark.parametrize("lie", [endless, endless_lines, endless_line, bomb, endless_headers])
def test_an_endless_answer_ends_with_its_liar(lie: Callable[[], Lie]) -> None:
    """A client that reads on is let go when the liar is closed, and no thread stays behind."""
    before = threading.active_count()
    with LyingKubo() as liar:
        liar.lie("block/get", lie())
        connection = http.client.HTTPConnection("127.0.0.1", liar.port, timeout=10)
        connection.request("POST", "/api/v0/block/get?arg=x")
        assert b"HTTP/1.1 " == connection.sock.recv(9)
    connection.close()
    assert before == threading.active_count()


def test_silence_is_silent(kubo_liar: LyingKubo) -> None:
    """Who never answers takes the request, and says nothing."""
    kubo_liar.lie("version", never())
    connection = http.client.HTTPConnection("127.0.0.1", kubo_liar.port, timeout=0.2)
    connection.request("POST", "/api/v0/version")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert ["POST /api/v0/version"] == kubo_liar.asked


def test_lies_of_every_kind(kubo_liar: LyingKubo) -> None:
    """The newest lie that matches is told."""
    kubo_liar.lie("block", refuses(401))
    kubo_liar.lie("block/get", redirects("http://127.0.0.1:1{target}"))
    assert [302, 401] == [ask(kubo_liar, f"/api/v0/{call}?arg=x")[0] for call in ("block/get", "block/stat")]
    kubo_liar.lie("block", drip(b"slow", seconds=0.001))
    assert (200, b"slow") == ask(kubo_liar, "/api/v0/block/get?arg=x")
    kubo_liar.lie("block", no_http())
    with pytest.raises(http.client.BadStatusLine):
        ask(kubo_liar, "/api/v0/block/get?arg=x")


def test_a_gateway_lies_of_one_block_alone(shared_node: Node) -> None:
    """A gateway with a truth behind it lies only where it is told to."""
    data = hashlib.sha256(b"true").digest()
    cid = shared_node.run("block", "put", "--cid-codec=raw", input=data).decode().strip()
    with LyingGateway(truth=shared_node.gateway) as liar:
        assert (200, data) == ask(liar, f"/ipfs/{cid}?format=raw", "GET")
        liar.lie(cid, refuses(500))
        assert 500 == ask(liar, f"/ipfs/{cid}?format=raw", "GET")[0]
    with LyingGateway() as liar:
        assert (200, OTHER) == ask(liar, f"/ipfs/{NOBODY}?format=raw", "GET")
