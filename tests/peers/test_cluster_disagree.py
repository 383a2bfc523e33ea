"""Real clusters whose peers do not know the same, collect garbage, and are told of in words."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest

from crash.cli import CHEAP, Machine
from engine import noise as bytes_of
from engine import write
from lab.process import wait_until
from pinfold.errors import Refused, Unavailable
from pinfold.store import Collects, PinState
from store.clusters import allocations, opened, repo
from store.dags import folder, noise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.cluster import Cluster
    from pinfold.store import Collected
    from pinfold.store.cluster import ClusterStore

# As shipped a peer tells the others of its heads once a minute: one that was started learns of pins by that.
FORGETFUL = {"consensus.crdt.rebroadcast_interval": "30m"}


def test_a_pin_that_the_first_peer_has_not_heard_of(cluster_factory: Callable[..., Cluster]) -> None:
    """What was pinned while a peer was down is listed, short, and unpinned, though that peer is asked first."""
    cluster = cluster_factory(2, settings=FORGETFUL)
    first, second = cluster.peers
    dag = folder(noise(500, 10))
    first.kill()
    with closing(opened(repo(cluster.peers, min=1, wait=20))) as store:
        store.put(dag.blocks)
        store.pin(dag.root, "unheard/of")
    first.start()
    assert [] == allocations(first)
    with closing(opened(repo(cluster.peers, min=2, wait=20))) as store:
        assert ["unheard/of"] == [pin.name for pin in store.pins()]
        assert [] == store.warnings
        status = store.status(dag.root)
        assert 1 <= status.pinned
        assert status.short
    with closing(opened(repo(cluster.peers, min=2, wait=20))) as store:
        store.unpin([dag.root])
        assert [] == list(store.pins())
        assert PinState.ABSENT is store.status(dag.root).copies[0].state
    assert [] == allocations(second)


def _frees(store: ClusterStore, every: list[Collected], blocks: int) -> bool:
    """Whether all collections so far freed so many copies; if not, one more is made."""
    if sum(done.freed_blocks for done in every) >= blocks:
        return True
    every.append(store.collect())
    return False


def test_a_cluster_collects_what_no_pin_reaches(cluster_factory: Callable[..., Cluster]) -> None:
    """Every peer frees what was unpinned just now and keeps the rest; a dry run is refused in one line."""
    cluster = cluster_factory(2)
    kept, gone = folder(noise(501, 10)), folder(noise(502, 30))
    for through_proxy in (False, True):
        ways = {"kubo": cluster.peers[0].proxy} if through_proxy else {}
        with closing(opened(repo(cluster.peers, wait=20, **ways))) as store:
            with store.session():
                for dag in (kept, gone):
                    store.put(dag.blocks)
                    store.pin(dag.root, f"pins/{dag.root}")
            assert isinstance(store, Collects)
            with pytest.raises(Refused, match="cannot tell what it would free"):
                store.collect(dry_run=True)
            store.unpin([gone.root])
            # A peer that has not heard of it yet keeps its copy until it is asked again.
            every = [store.collect()]
            wait_until(partial(_frees, store, every, 2 * len(gone.cids)), what="both peers to have freed it")
            assert sum(done.freed_bytes for done in every) >= 2 * sum(len(block) for _, block in gone.blocks)
            assert (every[-1].live_blocks > 0) is not through_proxy
            assert every[-1].live_bytes > 0
            assert [] == store.warnings
        for peer in cluster.peers:
            assert all(peer.node.has(cid) for cid in kept.cids)
            assert not any(peer.node.has(cid) for cid in gone.cids)


def test_a_peer_that_cannot_collect_is_named(cluster_factory: Callable[..., Cluster]) -> None:
    """With one Kubo down the other collects, and the first is told of in words; with both down it is an error."""
    cluster = cluster_factory(2)
    first, second = cluster.peers
    with closing(opened(repo(cluster.peers, wait=5))) as store:
        second.node.kill()
        store.collect()
        assert [f"{store.name} peer-2 did not collect: its Kubo does not answer"] == store.warnings
        first.node.kill()
        with pytest.raises(Unavailable, match="peer-1 did not collect"):
            store.collect()


def test_the_command_line_collects_and_speaks_plainly(cluster_factory: Callable[..., Cluster], tmp_path: Path) -> None:
    """`gc` frees in a cluster; a peer that is gone is told once and briefly; min above the peers says how many."""
    cluster = cluster_factory(2)
    first, second = cluster.peers
    tree = write(tmp_path / "tree", {"file": bytes_of(20, 1 << 20)})
    machine = Machine(repo(cluster.peers, min=2, wait=8), tmp_path / "cache")  # type: ignore[arg-type]
    machine.call("init", *CHEAP)
    machine.call("backup", tree, "--name", "tree")
    freed = machine.run("gc")
    assert (0, "") == (freed.code, freed.err)
    assert freed.out.startswith("freed ")
    dry = machine.run("gc", "--dry-run")
    assert (1, 1) == (dry.code, len(dry.err.splitlines()))
    many = Machine(repo(cluster.peers, min=5, wait=1), tmp_path / "cache").run("status")  # type: ignore[arg-type]
    assert 3 == many.code
    assert "the cluster has 2 peers" in many.err
    second.node.kill()
    write(tree, {"more": bytes_of(21, 1 << 20)})
    ran = machine.run("backup", tree, "--name", "tree")
    assert 3 == ran.code, ran.err
    (line,) = [line for line in ran.err.splitlines() if "peer-2" in line]
    assert "its Kubo does not answer" in line
    assert "/api/v0" not in ran.err
    wait_until(lambda: first.running, what="the first peer")
    told = machine.run("status")
    assert "dial" not in told.out + told.err


def test_a_new_repository_that_cannot_be_read_is_told_of(cluster2: Cluster, tmp_path: Path) -> None:
    """`init` says at once that an address cannot be read, and which options mend it."""
    peer = cluster2.peers[0]
    machine = Machine(repo([peer], kubo=""), tmp_path / "cache")  # type: ignore[arg-type]
    ran = machine.run("init", *CHEAP)
    assert 1 == len(ran.err.splitlines()), ran.err
    assert "cannot be read" in ran.err
    assert "kubo=" in ran.err


def test_a_pinning_service_frees_by_itself(cluster2: Cluster, tmp_path: Path) -> None:
    """`gc` has nothing to do there, says so in one line and is no failure; a gateway is read-only, which is one."""
    peer = cluster2.peers[0]
    service = Machine(f"psa+{peer.psa}", tmp_path / "cache").run("gc")  # type: ignore[arg-type]
    assert (0, "", 1) == (service.code, service.err, len(service.out.splitlines()))
    assert "by itself" in service.out
    gateway = Machine(f"gateway+{peer.node.gateway}", tmp_path / "cache").run("gc")  # type: ignore[arg-type]
    assert (2, "") == (gateway.code, gateway.out)
    assert "read-only" in gateway.err
