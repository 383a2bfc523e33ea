"""The laboratory itself: real nodes start, keep their ports, die and come back."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lab.kubo import RpcError, new_swarm_key
from lab.process import accepts

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.kubo import Node


def add(node: Node, data: bytes) -> str:
    """Return the CID under which the node holds and pins the data."""
    return node.run("add", "--quieter", input=data).decode().strip()


def test_a_node_keeps_what_it_holds_over_a_kill(node: Node) -> None:
    """A killed node comes back on the same ports with what was pinned."""
    before = (node.api, node.gateway, node.peer_id)
    cid = add(node, b"kept")
    node.kill()
    assert node.has(cid)
    assert cid in node.pins()
    node.start()
    assert before == (node.api, node.gateway, node.peer_id)
    assert node.has(cid)
    assert cid in node.pins()


def test_collection_drops_what_no_pin_holds(shared_node: Node) -> None:
    """What nobody pinned is gone after a collection, and has() then answers at once."""
    cid = shared_node.run("add", "--quieter", "--pin=false", input=b"loose").decode().strip()
    assert shared_node.has(cid)
    shared_node.gc()
    assert not shared_node.has(cid)


def test_two_nodes_share_blocks_over_a_private_swarm(node_factory: Callable[..., Node]) -> None:
    """Nodes with one swarm key give each other blocks."""
    key = new_swarm_key()
    first, second = (node_factory(offline=False, swarm_key=key) for _ in range(2))
    second.connect(first)
    data = hashlib.sha256(b"shared").digest()
    cid = add(first, data)
    assert not second.has(cid)
    assert data == second.run("cat", cid)


def test_a_node_without_a_gateway_has_none(node_factory: Callable[..., Node]) -> None:
    """A node may do without a gateway, and chunk as Kubo does by default."""
    node = node_factory(gateway=False, profile=None)
    assert ("", False) == (node.gateway, accepts(node.gateway_port))
    assert add(node, b"default").startswith("Qm")


def test_a_paused_node_takes_requests_and_answers_later(node: Node) -> None:
    """A paused node answers nobody until it goes on."""
    node.pause()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(node.rpc, "version")
        with pytest.raises(TimeoutError):
            asked.result(timeout=0.2)
        node.resume()
        assert b"0.42.0" in asked.result()


def test_authorizations_hold(node_factory: Callable[..., Node]) -> None:
    """A node with authorizations refuses a stranger, and its own methods still work."""
    node = node_factory(authorizations={"agent": {"AuthSecret": "bearer:x", "AllowedPaths": ["/api/v0/version"]}})
    cid = add(node, b"guarded")
    assert cid in node.pins()
    node.token = "x"  # noqa: S105
    with pytest.raises(RpcError, match="403"):
        node.pins()
