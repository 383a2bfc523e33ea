"""Backups into real clusters while peers die, hang and come back: proved, or short of copies and said, or a cause."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from crash.cli import CHEAP, Machine
from engine import Rig, made, noise, rig, write
from lab.process import wait_until
from lab.proxy import Proxy
from pinfold.cli.backup_summary import made as told_of
from pinfold.config import SourceSettings
from pinfold.errors import Unavailable
from pinfold.store import PinState, Retry
from pinfold.store.layers import Layer
from store.clusters import allocations, opened, repo
from store.dags import folder
from store.dags import noise as blocks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lab.cluster import Cluster
    from pinfold.ipld import CID
    from pinfold.store import Block, PinStatus, Store

MEBI = 1 << 20
# As shipped, Cluster 1.1.6 keeps its pin list in Pebble and never syncs it: a peer killed forgets its last orders.
SYNCED = {"datastore": {"leveldb": {"leveldb_options": {"no_sync": False}}}}


class Striking(Layer):
    """Lets so many blocks through, and then strikes once."""

    def __init__(self, store: Store, strike: Callable[[], None], after: int) -> None:
        super().__init__(store)
        self.strike, self.after = strike, after

    def put(self, blocks: Iterable[Block]) -> int:
        """Struck in the middle of this."""

        def passing() -> Iterable[Block]:
            for block in blocks:
                self.after -= 1
                if self.after == 0:
                    self.strike()
                yield block

        return super().put(passing())


def states(status: PinStatus) -> dict[str, PinState]:
    """The state of each copy by the name of its peer."""
    return {copy.where.rpartition(" ")[2]: copy.state for copy in status.copies}


def proved(store: Store, root: CID) -> bool:
    """Whether as many copies as there must be prove the pin."""
    return not store.status(root).short


def test_a_peer_lost_in_a_backup_comes_back_and_serves_alone(
    cluster_factory: Callable[..., Cluster], tmp_path: Path
) -> None:
    """1 of 2 proved and the other named; then 2 of 2 once it is back; then a restore from the one that was lost."""
    cluster = cluster_factory(2)
    first, second = cluster.peers
    tree = write(tmp_path / "tree", {"large": noise(1, 12 * MEBI), "small": b"small"})
    with closing(opened(repo(cluster.peers, wait=30))) as store:
        layers = Striking(Retry(store, attempts=3, first=0.1, batch=4 * MEBI), second.lose_power, after=7)
        machine = rig(tmp_path / "cache", layers)
        result = machine.backup(tree)
        snapshot = made(result)
        assert result.status is not None
        assert (1, 2) == (result.status.pinned, result.status.due)
        assert {"peer-1": PinState.PINNED, "peer-2": PinState.FAILED} == states(result.status)
        assert told_of(SourceSettings("home", str(tree)), result)["short_of_copies"]
        assert not any("peer-2" in line for line in store.warnings)  # whoever made the snapshot tells of its copies
        second.come_back()
        cluster.wait_ready()
        wait_until(lambda: proved(store, snapshot.root), what="the peer to catch up by itself")
        status = store.pin(snapshot.root, snapshot.header.pin_name)
        assert {"peer-1": PinState.PINNED, "peer-2": PinState.PINNED} == states(status)
        assert not status.short
        first.lose_power()
        target = tmp_path / "restored"
        machine.restore(snapshot, target, store=Retry(store, attempts=2, first=0.1))
        assert (tree / "large").read_bytes() == (target / "large").read_bytes()


def test_the_command_line_names_the_peer_that_lacks_a_snapshot(
    cluster_factory: Callable[..., Cluster], tmp_path: Path
) -> None:
    """With one of two peers gone a backup ends with exit code 3 and the peer's name; nobody left is a failure."""
    cluster = cluster_factory(2)
    first, second = cluster.peers
    tree = write(tmp_path / "tree", {"file": noise(2, MEBI)})
    machine = Machine(repo(cluster.peers, min=2, wait=20), tmp_path / "cache")  # type: ignore[arg-type]
    machine.call("init", *CHEAP)
    done = machine.call("backup", tree, "--name", "tree")
    assert (2, False) == (done["sources"][0]["copies"], done["sources"][0]["short_of_copies"])
    second.lose_power()
    write(tree, {"more": noise(3, MEBI)})
    ran = machine.run("backup", tree, "--name", "tree")
    assert 3 == ran.code, ran.err
    assert "peer-2" in ran.err
    assert "only 1 copy" in ran.err
    assert "Traceback" not in ran.err
    assert first.running


def test_three_peers_of_which_two_must_prove(cluster_factory: Callable[..., Cluster], tmp_path: Path) -> None:
    """min=2 and max=3: one peer less is no shortage, two less is; what is read lies with any of them."""
    cluster = cluster_factory(3)
    one, two, three = cluster.peers
    tree = write(tmp_path / "tree", {"file": noise(4, 3 * MEBI)})
    with closing(opened(repo(cluster.peers, min=2, max=3, wait=20))) as store:
        machine = rig(tmp_path / "cache", Retry(store, attempts=2, first=0.1))
        whole = machine.backup(tree)
        assert whole.status is not None
        assert not whole.status.short
        assert 3 == len(whole.status.copies)
        three.lose_power()
        write(tree, {"more": noise(5, MEBI)})
        less = machine.backup(tree)
        assert less.status is not None
        assert (2, False) == (less.status.pinned, less.status.short)
        two.lose_power()
        write(tree, {"yet more": noise(6, MEBI)})
        least = machine.backup(tree)
        assert least.status is not None
        assert (1, True) == (least.status.pinned, least.status.short)
        assert one.node.has(made(least).root)


def test_blocks_on_peers_that_are_not_asked_are_found_by_those_that_are(
    cluster_factory: Callable[..., Cluster],
) -> None:
    """Two of three peers hold a pin; the Kubo that is read from, which holds nothing, finds the blocks at theirs."""
    cluster = cluster_factory(3)
    for reader in cluster.peers:
        with closing(opened(repo(cluster.peers, reading=[reader], min=2, max=2, wait=20))) as store:
            dag = folder(blocks_of(reader.rest_port, 5))
            store.put(dag.blocks)
            status = store.pin(dag.root, "partly/here")
            assert (2, 2) == (status.pinned, len(status.copies))
            assert all(block == store.get(cid) for cid, block in dag.blocks)


def test_another_peer_answers_for_one_that_is_gone(cluster_factory: Callable[..., Cluster]) -> None:
    """With the first REST interface down all is asked of the second; killed at once, both know of the pin again."""
    cluster = cluster_factory(2, settings=SYNCED)
    first, second = cluster.peers
    dag = folder(blocks_of(7, 20))
    with closing(opened(repo(cluster.peers, min=1, wait=20))) as store:
        first.kill()
        store.put(dag.blocks)
        status = store.pin(dag.root, "over/there")
        assert PinState.PINNED is states(status)["peer-2"]
        second.kill()
        with pytest.raises(Unavailable) as caught:
            list(store.pins())
        assert first.rest in str(caught.value)
        assert second.rest in str(caught.value)
        first.start()
        second.start()
        wait_until(lambda: proved(store, dag.root), what="the peers, back with their pins")


def test_a_peer_that_hangs_is_not_waited_for_in_vain(cluster_factory: Callable[..., Cluster], tmp_path: Path) -> None:
    """A paused peer costs the time allowed and no more; the rest is proved, and it catches up when it goes on."""
    cluster = cluster_factory(2)
    first, second = cluster.peers
    tree = write(tmp_path / "tree", {"file": noise(8, 2 * MEBI)})
    with closing(opened(repo([first], reading=[first], min=2, wait=8))) as store:
        machine = rig(tmp_path / "cache", Retry(store, attempts=4, first=0.5))
        second.process.pause()
        started = time.monotonic()
        result = machine.backup(tree)
        assert time.monotonic() - started < 90
        assert result.status is not None
        assert (1, True) == (result.status.pinned, result.status.short)
        second.process.resume()
        wait_until(lambda: proved(store, made(result).root), seconds=60, what="the peer that hung to catch up")


def test_a_dead_kubo_below_a_living_peer_is_told_and_recovered(cluster_factory: Callable[..., Cluster]) -> None:
    """A peer without its Kubo says so; a pin once more, after Kubo is back, makes it try again."""
    cluster = cluster_factory(2)
    first, second = cluster.peers
    dag = folder(blocks_of(9, 20))
    with closing(opened(repo([first], reading=[first], min=2, wait=6))) as store:
        second.node.kill()
        store.put(dag.blocks)
        status = store.pin(dag.root, "one/kubo")
        assert (1, True) == (status.pinned, status.short)
        assert {"peer-1": PinState.PINNED} == {
            name: state for name, state in states(status).items() if name == "peer-1"
        }
        assert all(copy.detail for copy in status.copies if copy.state is not PinState.PINNED)
        second.node.start()
        first.node.connect(second.node)
    with closing(opened(repo([first], reading=[first], min=2, wait=60))) as store:
        assert not store.pin(dag.root, "one/kubo").short


def test_an_error_in_the_middle_of_a_car_is_tried_again(cluster2: Cluster, tmp_path: Path) -> None:
    """Answers of 500, and connections cut, in the middle of an upload cost time and no block."""
    first, second = cluster2.peers
    tree = write(tmp_path / "tree", {"file": noise(10, 9 * MEBI)})
    with Proxy(first.rest) as proxy, closing(opened(repo(cluster2.peers).replace(first.rest, proxy.url))) as store:
        proxy.fail("/add", 500, after=MEBI)
        proxy.cut("/add", after=2 * MEBI, nth=2)
        machine = rig(tmp_path / "cache", Retry(store, attempts=4, first=0.1))
        result = machine.backup(tree)
        assert result.status is not None
        assert not result.status.short
        machine.restore(made(result), tmp_path / "restored")
        assert (tree / "file").read_bytes() == (tmp_path / "restored" / "file").read_bytes()
    assert second.running


def test_garbage_collected_during_a_backup_takes_nothing_from_it(cluster_factory: Callable[..., Cluster]) -> None:
    """Passing pins hold what was put; they are gone once the session ends with its pin, and are never listed."""
    cluster = cluster_factory(2)
    dag = folder(blocks_of(11, 30))
    with closing(opened(repo(cluster.peers, wait=20))) as store:
        with store.session():
            store.put(dag.blocks)
            (passing,) = allocations(cluster.peers[0])
            assert passing["name"].startswith("pinfold-passing/")
            assert not passing["expire_at"].startswith("0001")
            assert [] == list(store.pins())
            for peer in cluster.peers:
                wait_until(lambda peer=peer: passing["cid"] in peer.node.pins(), what="the passing pin")  # type: ignore[misc]
                peer.node.gc()
            store.pin(dag.root, "final")
        assert [str(dag.root)] == [pin["cid"] for pin in allocations(cluster.peers[0])]
        for peer in cluster.peers:
            wait_until(lambda peer=peer: passing["cid"] not in peer.node.pins(), what="the passing pin to go")  # type: ignore[misc]
            peer.node.gc()
        assert all(peer.node.has(cid) for peer in cluster.peers for cid in dag.cids)


def test_blocks_lost_before_the_pin_are_put_again(cluster2: Cluster, tmp_path: Path) -> None:
    """Somebody drops the passing pins and collects garbage in the middle of a run: it puts again what is gone."""

    def rob() -> None:
        first = cluster2.peers[0]
        gone = [pin["cid"] for pin in allocations(first) if pin["name"].startswith("pinfold-passing/")]
        for cid in gone:
            first.call("DELETE", f"/pins/{cid}")
        for peer in cluster2.peers:
            wait_until(lambda peer=peer: not peer.node.pins().keys() & set(gone), what="no passing pin")  # type: ignore[misc]
            peer.node.gc()

    tree = write(tmp_path / "tree", {"file": noise(12, 8 * MEBI)})
    with closing(opened(repo(cluster2.peers, wait=20))) as store:
        machine = rig(tmp_path / "cache", Striking(Retry(store, batch=2 * MEBI), rob, after=8), seed=21)
        result = machine.backup(tree)
        assert result.status is not None
        assert not result.status.short
        machine.restore(made(result), tmp_path / "restored")
        assert (tree / "file").read_bytes() == (tmp_path / "restored" / "file").read_bytes()


def test_two_agents_write_at_once(cluster2: Cluster, tmp_path: Path) -> None:
    """Two repositories in one cluster, each with its own store: neither takes the other's passing pins."""
    with (
        closing(opened(repo(cluster2.peers, wait=30))) as one,
        closing(opened(repo(list(reversed(cluster2.peers)), wait=30))) as two,
    ):
        rigs: list[Rig] = [rig(tmp_path / f"cache {n}", Retry(store), seed=n) for n, store in enumerate((one, two), 31)]
        tree = write(tmp_path / "tree", {"file": noise(13, 3 * MEBI)})
        mid = Striking(rigs[0].store, lambda: bool(made(rigs[1].backup(tree))), after=3)  # type: ignore[arg-type, return-value]
        rigs[0].store = mid
        for machine, result in ((rigs[0], rigs[0].backup(tree)), (rigs[1], rigs[1].backup(tree))):
            machine.restore(made(result), tmp_path / f"back {machine.agent.repository}")
        assert [] == [pin for pin in allocations(cluster2.peers[0]) if pin["name"].startswith("pinfold-passing/")]


def test_a_pin_made_short_is_made_whole_by_the_next(cluster_factory: Callable[..., Cluster]) -> None:
    """With fewer peers than min and max ask for, Cluster allots what there is; pinning again allots the rest."""
    cluster = cluster_factory(2)
    first, second = cluster.peers
    dag = folder(blocks_of(14, 20))
    with closing(opened(repo([first], reading=[first], min=2, max=2, wait=30))) as store:
        second.lose_power()
        wait_until(lambda: first.sees([first]) and not first.sees([first, second]), what="the peer to be missed")
        store.put(dag.blocks)
        status = store.pin(dag.root, "short/first")
        assert (1, 2, True) == (status.pinned, status.due, status.short)
        second.come_back()
        cluster.wait_ready()
        status = store.pin(dag.root, "short/first")
        assert (2, False) == (status.pinned, status.short)
        assert all(second.node.has(cid) for cid in dag.cids)


def test_an_agent_that_may_not_unpin_makes_backups(cluster2: Cluster, tmp_path: Path) -> None:
    """A proxy that lets no DELETE through costs warnings, no snapshot; passing pins are left to end by themselves."""
    tree = write(tmp_path / "tree", {"file": noise(15, MEBI)})
    first = cluster2.peers[0]
    with Proxy(first.rest) as proxy, closing(opened(repo(cluster2.peers).replace(first.rest, proxy.url))) as store:
        proxy.fail("^DELETE ", 403, times=None)
        old, new = folder(blocks_of(16, 3)), folder(blocks_of(17, 3))
        result = rig(tmp_path / "cache", Retry(store, attempts=2, first=0.1), seed=41).backup(tree)
        assert result.status is not None
        assert not result.status.short
        for dag, replaces in ((old, None), (new, old.root)):
            store.put(dag.blocks)
            store.pin(dag.root, "no/delete", replaces=replaces)
        assert {old.root, new.root} == {pin.root for pin in store.pins("no/delete")}
        assert any("which was replaced" in line for line in store.warnings)
        assert any("passing pins" in line for line in store.warnings)
        proxy.heal()
        left = [pin["cid"] for pin in allocations(first) if pin["name"].startswith("pinfold-passing/")]
        for cid in left:
            first.call("DELETE", f"/pins/{cid}")
        assert [] != left
