"""Pins in a real cluster of two: their names and factors, what is updated and not walked anew, what is dropped."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lab.process import wait_until
from pinfold.errors import Incomplete, Refused, UsageError
from pinfold.ipld.cid import CID
from pinfold.store import Far, Pin, PinState
from store.clusters import allocations, opened, repo
from store.dags import folder, noise, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.cluster import Cluster
    from pinfold.store.cluster import ClusterStore
    from store.dags import Dag

SOURCE = "pinfold/0011223344556677/8899aabbccddeeff"


@pytest.fixture
def store(cluster2: Cluster) -> Iterator[ClusterStore]:
    """A store over both peers, which other tests use too: names tell whose pins are whose."""
    with closing(opened(repo(cluster2.peers, wait=30))) as made:
        yield made


def stored(store: ClusterStore, seed: int, count: int = 20) -> Dag:
    """A sharded folder of the cluster."""
    dag = folder(noise(seed, count), fanout=8, threshold=100)
    store.put(dag.blocks)
    return dag


def test_both_peers_prove_a_pin(store: ClusterStore, cluster2: Cluster) -> None:
    """Each copy names its peer and since when, and each Kubo holds every block and the pin."""
    dag = stored(store, 100)
    status = store.pin(dag.root, f"{SOURCE}/full/2026-01-01")
    assert [f"{store.name} peer-1", f"{store.name} peer-2"] == [copy.where for copy in status.copies]
    assert [PinState.PINNED] * 2 == [copy.state for copy in status.copies]
    assert all(copy.since.endswith("Z") for copy in status.copies)
    for peer in cluster2.peers:
        assert str(dag.root) in peer.node.pins()
        assert all(peer.node.has(cid) for cid in dag.cids)


def test_names_and_metadata_are_the_clusters_own(store: ClusterStore, cluster2: Cluster) -> None:
    """Other tools of the cluster see the name, and can pick the pins of one source."""
    dag = stored(store, 101)
    name = f"{SOURCE}/full/é ü&x=1"
    store.pin(dag.root, name)
    (pin,) = [pin for pin in allocations(cluster2.peers[1]) if pin["cid"] == str(dag.root)]
    assert (name, "recursive", {"pinfold": SOURCE.partition("/")[2]}) == (pin["name"], pin["mode"], pin["metadata"])
    assert (-1, -1) == (pin["replication_factor_min"], pin["replication_factor_max"])


def test_the_next_snapshot_updates_the_last(store: ClusterStore, cluster2: Cluster) -> None:
    """A Kubo walks only what differs from the newest pin of the same source, which stays."""
    source = f"{SOURCE[:-1]}0"
    old = stored(store, 102)
    store.pin(old.root, f"{source}/full/1")
    new = folder([*noise(102, 20), *noise(103, 1)], fanout=8, threshold=100)
    store.put(new.blocks)
    store.pin(new.root, f"{source}/full/2")
    (pin,) = [pin for pin in allocations(cluster2.peers[0]) if pin["cid"] == str(new.root)]
    assert str(old.root) == pin["pin_update"]
    assert [f"{source}/full/1", f"{source}/full/2"] == [one.name for one in store.pins(source)]


def test_nothing_passing_is_left(store: ClusterStore, cluster2: Cluster) -> None:
    """After a session with its pin the cluster holds that pin, and none that was made for a CAR."""
    with store.session():
        dag = stored(store, 104, 200)
        store.pin(dag.root, "passing/none")
    assert [] == [pin for pin in allocations(cluster2.peers[0]) if pin["name"].startswith("pinfold-passing/")]


def test_a_session_that_fails_leaves_its_passing_pins(store: ClusterStore, cluster2: Cluster) -> None:
    """What was sent stays protected for the next run, but not for ever."""

    class Broken(Exception):
        pass

    dag = folder(noise(105, 20))

    def run() -> None:
        with store.session():
            store.put(dag.blocks)
            raise Broken

    with pytest.raises(Broken):
        run()
    left = [pin for pin in allocations(cluster2.peers[0]) if pin["name"].startswith("pinfold-passing/")]
    assert [] != left
    assert all(not pin["expire_at"].startswith("0001") for pin in left)
    store.pin(dag.root, "after/all")
    assert [] == [pin for pin in allocations(cluster2.peers[0]) if pin["name"].startswith("pinfold-passing/")]


def test_many_pins_go_at_once(store: ClusterStore) -> None:
    """A batch of roots, some of which were never pinned, is dropped, and no other."""
    dags = [stored(store, 200 + number, 2) for number in range(12)]
    for number, dag in enumerate(dags):
        store.pin(dag.root, f"many/{number:02}")
    store.unpin([*(dag.root for dag in dags[1:]), CID.raw(bytes(32))])
    assert [Pin(dags[0].root, "many/00")] == list(store.pins("many/"))
    assert PinState.ABSENT is store.status(dags[1].root).copies[0].state


def test_room_is_told(store: ClusterStore) -> None:
    """Bytes used are those of the Kubos; what is free the peers' metrics tell."""
    usage = store.usage()
    assert usage.used > 0
    assert usage.capacity is not None
    assert usage.capacity > usage.used


def test_it_is_far(store: ClusterStore) -> None:
    """Readers are told to ask for many blocks at once."""
    assert isinstance(store, Far)
    assert store.at_once >= 16


def test_a_gateway_is_a_way_to_read(cluster2: Cluster) -> None:
    """Blocks are put, proved, found and read with nothing but the REST interface and a gateway."""
    first = cluster2.peers[0]
    with closing(opened(repo([first], kubo="", gateway=first.node.gateway, wait=30))) as store:
        dag = stored(store, 300)
        assert 2 == store.pin(dag.root, "by/gateway").pinned
        other = raw(b"never put anywhere")[0]
        assert dag.cids == store.has([*dag.cids, other])
        assert all(block == store.get(cid) for cid, block in dag.blocks)


def test_the_ipfs_proxy_is_a_way_to_read(cluster2: Cluster) -> None:
    """So does the peer's own proxy, which hands block questions on to its Kubo."""
    first = cluster2.peers[0]
    with closing(opened(repo([first], kubo=first.proxy, wait=30))) as store:
        dag = stored(store, 301)
        assert 2 == store.pin(dag.root, "by/proxy").pinned
        assert all(block == store.get(cid) for cid, block in dag.blocks)
        lost = folder(noise(302, 3))
        store.put(lost.blocks[1:])
        with pytest.raises(Incomplete):
            store.pin(lost.root, "by/proxy")


def test_without_a_way_to_read_the_peers_prove(cluster2: Cluster) -> None:
    """Blocks can be put and pinned with the REST interface alone, which is told; reading is an error of usage."""
    with closing(opened(repo([cluster2.peers[0]], kubo="", wait=30))) as store:
        dag = stored(store, 303)
        assert 2 == store.pin(dag.root, "by/rest").pinned
        assert dag.cids == store.has(dag.cids)
        (line,) = store.warnings
        assert "cannot be read" in line
        assert "kubo=" in line
        with pytest.raises(UsageError):
            store.get(dag.root)


def test_what_is_no_pin_of_ours_is_left_alone(store: ClusterStore, cluster2: Cluster) -> None:
    """A pin that expires, as other tools make them, is nobody's snapshot."""
    block = raw(b"somebody else's")
    store.put([block])
    cluster2.peers[0].call("POST", f"/pins/{block[0]}", **{"name": "else/1", "expire-in": "1h"})
    assert [] == list(store.pins("else/"))
    cluster2.peers[0].call("DELETE", f"/pins/{block[0]}")
    with pytest.raises(Refused):
        store.put([(CID(1, 0x55, 0x1E, bytes(32)), b"")])
    wait_until(lambda: not store.status(block[0]).pinned, what="the pin to go")
