"""Others' programs at our service, and our store at theirs: Kubo as a client, IPFS Cluster as a service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lab.process import wait_until
from pinfold.ipld.cid import CID
from pinfold.store import Pin, PinState, address
from pinfold.store.pinning import PinningStore
from pinning.served import EVERY, alone
from store.dags import raw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.cluster import Cluster, Peer
    from lab.kubo import Node


def test_kubo_pins_at_our_service(node_factory: Callable[..., Node], tmp_path: Path) -> None:
    """`ipfs pin remote` adds, lists and removes a pin at our service, which fetches it from that node's gateway."""
    node = node_factory(offline=False)
    root = node.run("add", "--quieter", input=os.urandom(3 << 20)).decode().strip()
    with alone(tmp_path, node.gateway) as service:
        node.run("pin", "remote", "service", "add", "ours", service.client.url, service.client.token or "")
        node.run("pin", "remote", "add", "--service=ours", "--name=from-kubo", root)
        listed = node.run("pin", "remote", "ls", "--service=ours", "--name=from-kubo").decode().split()
        assert [root, "pinned", "from-kubo"] == listed
        node.run("pin", "remote", "rm", "--service=ours", "--name=from-kubo")
        assert 0 == service.client.list(status=EVERY).document["count"]


def at(peer: Peer, wait: str = "30") -> PinningStore:
    """A store that is a cluster's own pinning service port."""
    where = address.parse(f"psa+{peer.psa}?gateway={peer.node.gateway}&wait={wait}")
    assert where is not None
    return PinningStore(where)


def added(peer: Peer) -> CID:
    """A new file in a peer's Kubo, not pinned."""
    data = os.urandom(3 << 20)
    return CID.parse(peer.node.run("add", "--quieter", "--pin=false", input=data).decode().strip())


def test_cluster_as_a_pinning_service(cluster_factory: Callable[..., Cluster]) -> None:
    """Pins are made, proved, renamed, replaced, listed and dropped at the port of a real cluster."""
    peer = cluster_factory(2).peers[0]
    store, old, new = at(peer), added(peer), added(peer)
    status = store.pin(old, "pinfold/a")
    assert (1, store.name) == (status.pinned, status.copies[0].where)
    assert "fetched and checked" in status.copies[0].detail
    store.pin(old, "pinfold/b")
    wait_until(lambda: list(store.pins("pinfold/")) == [Pin(old, "pinfold/b")], what="the new name")
    assert 1 == store.pin(new, "pinfold/c", replaces=old).pinned
    wait_until(lambda: list(store.pins()) == [Pin(new, "pinfold/c")], what="the old pin to go")
    assert {"peer-1": "pinned", "peer-2": "pinned"} == peer.status(new)
    store.unpin([new, old])
    wait_until(lambda: store.status(new).copies[0].state is PinState.ABSENT, what="the pin to go")
    store.close()


def test_what_a_cluster_cannot_find_is_not_pinned(cluster_factory: Callable[..., Cluster]) -> None:
    """A pin of what nobody has is told as it stands when waiting is over."""
    store = at(cluster_factory(1).peers[0], wait="1")
    status = store.pin(raw(os.urandom(32))[0], "nobody has this")
    store.close()
    assert (0, PinState.PINNING, True) == (status.pinned, status.copies[0].state, status.short)
