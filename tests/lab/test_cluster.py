"""The laboratory's clusters: real peers find each other, hold pins together, die and come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.kubo import RpcError
from lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.cluster import Cluster, Peer

EVERYWHERE = {"peer-1": "pinned", "peer-2": "pinned"}


def pin(peer: Peer, data: bytes) -> str:
    """Put data into the peer's Kubo and have the cluster pin it; returns the CID."""
    cid = peer.node.run("add", "--quieter", "--pin=false", input=data).decode().strip()
    peer.call("POST", f"/pins/{cid}")
    return cid


def test_a_pin_comes_to_both_peers(cluster2: Cluster) -> None:
    """What one peer is told to pin both hold."""
    first, second = cluster2.peers
    cid = pin(first, b"on both")
    wait_until(lambda: first.status(cid) == EVERYWHERE, what="both pins")
    assert [True, True] == [cid in peer.node.pins() for peer in (first, second)]


def test_a_peer_that_comes_back_takes_part_again(cluster_factory: Callable[..., Cluster]) -> None:
    """A peer whose machine lost its power comes back under the same name and pins what it missed."""
    cluster = cluster_factory(2)
    first, second = cluster.peers
    second.lose_power()
    cid = pin(first, b"missed")
    wait_until(lambda: first.node.pins().get(cid) is not None, what="the survivor's pin")
    second.come_back()
    cluster.wait_ready()
    wait_until(lambda: EVERYWHERE == first.status(cid), what="the pin that was missed")


def test_three_peers_hold_two_copies(cluster_factory: Callable[..., Cluster]) -> None:
    """Of three peers two hold a pin that is to have two copies; the third says that it is elsewhere."""
    cluster = cluster_factory(3, replication_min=2, replication_max=2)
    cid = pin(cluster.peers[0], b"twice")
    wait_until(lambda: ["pinned", "pinned", "remote"] == sorted(cluster.peers[2].status(cid).values()), what="two pins")
    assert 2 == sum(cid in peer.node.pins() for peer in cluster.peers)


def test_a_password_is_asked_for(cluster_factory: Callable[..., Cluster]) -> None:
    """A cluster with a password refuses who has none."""
    (peer,) = cluster_factory(1, basic_auth=("agent", "secret")).peers
    assert peer.peer_id == peer.get("/id")["id"]
    peer.auth = None
    with pytest.raises(RpcError, match="401"):
        peer.get("/id")
