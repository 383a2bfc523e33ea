"""`pinfold serve` before a Kubo node that is dead, stopped, or comes back: clients hear soon, and doors stay free."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from lab.process import free_port, wait_until
from serving.conftest import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.kubo import Node

AWAY = "/ipfs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku?format=raw"
# What a door may take before anything is known, with time to spare on a machine that does other things.
SOON = 10.0
AT_ONCE = 1.0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    """Start `pinfold serve` on a store."""
    started: list[Running] = []

    def run(where: str) -> Running:
        words = ["serve", "-r", where, "--listen", "127.0.0.1:0"]
        started.append(Running(tmp_path, [sys.executable, "-m", "pinfold", *words]))
        return started[-1]

    yield run
    for one in started:
        one.close()


def timed(server: Running, target: str) -> tuple[int, float]:
    """The status of an answer, and seconds."""
    began = time.monotonic()
    return server.ask(target).status, time.monotonic() - began


def test_a_dead_node_is_told(serve: Callable[[str], Running]) -> None:
    """The log has the cause at once, /readyz a reason without the address, and clients get 503 to try again later."""
    where = f"http://127.0.0.1:{free_port()}"
    server = serve(f"kubo+{where}")
    line = server.logged(event="not ready")
    assert ("warning", True) == (line["level"], where in line["cause"])
    assert "refused" in line["reason"]
    answer = server.ask("/readyz")
    assert (503, True, False) == (answer.status, b"refused" in answer.data, b"127.0.0.1" in answer.data)
    answer = server.ask(AWAY)
    assert (503, True) == (answer.status, "retry-after" in answer.headers)
    assert timed(server, AWAY) < (503, AT_ONCE)


def test_a_stopped_node_holds_no_door(serve: Callable[[str], Running], node: Node) -> None:
    """Of 64 clients of a node that hangs each gets 503 soon, the next ones at once, and all is well when it goes on."""
    cid = node.run("add", "--quieter", "--raw-leaves", input=b"x" * 1000).decode().strip()
    server = serve(f"kubo+{node.api}")
    assert 200 == server.ask(f"/ipfs/{cid}?format=raw").status
    node.pause()
    found: list[tuple[int, float]] = []
    clients = [threading.Thread(target=lambda: found.append(timed(server, AWAY))) for _ in range(64)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert {503} == {status for status, _ in found}
    assert max(seconds for _, seconds in found) < SOON
    assert timed(server, f"/ipfs/{cid}?format=raw") < (503, AT_ONCE)
    assert b"has not answered for 4 seconds" in server.ask("/readyz").data
    node.resume()
    wait_until(lambda: server.ask(f"/ipfs/{cid}?format=raw").status == 200, what="the node to be asked again")
    assert [("warning", "not ready"), ("info", "ready again")] == [
        (line["level"], line["event"]) for line in server.log if line["event"].startswith(("not ready", "ready"))
    ]
