"""Backups into a Kubo node on bad days: whatever happens, done and proved, or failed with a cause and nothing lost.

After each failure the snapshots before it are whole, and the next run ends well without sending again what the
node took: the bytes are counted on their way.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine import listing, made, noise, rig, write
from lab.process import wait_until
from lab.proxy import Proxy
from pinfold.errors import Full, Refused, StoreError, Unavailable
from pinfold.store import Retry
from pinfold.store.address import Address
from pinfold.store.kubo import KuboStore, cars
from pinfold.store.layers import Layer
from store.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from lab.kubo import Node
    from pinfold.store import Block, Store

MIB = 1 << 20
FILES = 12


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    """The way to the node."""
    with Proxy(node.api) as made_here:
        yield made_here


class Bench:
    """A machine whose first backup went well, and a tree that has grown by 12 MiB since."""

    def __init__(self, proxy: Proxy, folder: Path) -> None:
        self.proxy = proxy
        self.folder = folder
        self.tree = write(folder / "tree", {"before": noise(0, MIB)})
        self.store = KuboStore(Address("kubo", (proxy.url,)))
        self.machine = rig(folder / "cache", Retry(self.store, attempts=1, batch=2 * MIB))
        self.first = made(self.machine.backup(self.tree))
        write(self.tree, {f"file {number}": noise(number, MIB) for number in range(1, FILES + 1)})

    def patient(self, attempts: int = 5, pause: Callable[[float], None] = lambda _: None) -> None:
        """Try again from now on."""
        self.machine.store = Retry(self.store, attempts=attempts, batch=2 * MIB, sleep=pause)

    def fails(self, kind: type[StoreError], match: str) -> None:
        """A backup that fails for this reason; the first one is whole afterwards, once the node answers."""
        with pytest.raises(kind, match=match) as caught:
            self.machine.backup(self.tree)
        assert "\n" not in str(caught.value)

    def ends_well(self, most: float = FILES + 2, *, heal: bool = True) -> None:
        """The next backup sends at most so many MiB, and all snapshots restore.  `heal`: with no more faults."""
        if heal:
            self.proxy.heal()
        watch = Watch(self.proxy)
        second = made(self.machine.backup(self.tree))
        assert watch.sent < most * MIB
        assert [self.first.root, second.root] == [one.root for one in self.machine.listed()]
        report = self.machine.verify()
        assert (2, []) == (report.snapshots, list(report.damage))
        self.machine.restore(second, self.folder / "out")
        assert listing(self.tree) == listing(self.folder / "out")


@pytest.fixture
def bench(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The machine, with CARs of two MiB, so that a run takes several, and a store that is soon out of patience."""
    monkeypatch.setattr(cars, "BATCH_BYTES", 2 * MIB)
    monkeypatch.setattr("pinfold.store.kubo.upload.PATIENCE", 2.0)
    monkeypatch.setattr("pinfold.store.kubo.rpc.SILENCE", 2.0)
    made_here = Bench(proxy, tmp_path)
    with closing(made_here.store):
        yield made_here


def in_the_middle(bench: Bench, act: Callable[[], object], nth: int = 3) -> threading.Thread:
    """Do something when the node is in the middle of a CAR, on a thread of its own."""
    fault = bench.proxy.stall("dag/import", after=MIB, nth=nth)

    def wait_and_act() -> None:
        fault.wait()
        act()
        fault.release()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_a_node_that_is_killed_in_the_middle_of_a_car(bench: Bench, node: Node) -> None:
    """The run fails for want of the node; started again, the node still has what it took, and the next run goes on."""
    thread = in_the_middle(bench, node.kill, nth=5)
    bench.fails(Unavailable, "does not answer|broke off")
    thread.join()
    node.start()
    bench.ends_well(most=FILES - 4)


def test_a_node_that_is_stopped_in_the_middle_of_a_car(bench: Bench, node: Node) -> None:
    """A node that is told to stop takes what is under way or not; the run fails, and the next one goes on."""
    thread = in_the_middle(bench, lambda: os.kill(node.process.pid, signal.SIGTERM), nth=5)
    bench.fails(Unavailable, "does not answer|broke off|answers 5")
    thread.join()
    node.stop()
    node.start()
    bench.ends_well(most=FILES - 4)


def test_a_node_that_is_restarted_in_the_middle_of_a_car(bench: Bench, node: Node) -> None:
    """A run that tries again outlives a kill and a new start of the node, and sends only the broken CAR twice."""
    back = threading.Event()

    def restart() -> None:
        node.kill()
        node.start()
        back.set()

    thread = in_the_middle(bench, restart)
    bench.patient(pause=lambda _: wait_until(back.is_set, what="the node"))
    bench.ends_well(most=FILES + 4, heal=False)
    thread.join()


def test_a_node_that_hangs_in_the_middle_of_a_car(bench: Bench, node: Node) -> None:
    """A paused node is given up in time; when it goes on, so does the next run."""
    thread = in_the_middle(bench, node.pause, nth=5)
    bench.fails(Unavailable, "does not answer|broke off|too slowly")
    thread.join()
    node.resume()
    bench.ends_well(most=FILES - 4)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_an_error_in_the_middle_of_a_car_is_tried_again(bench: Bench, status: int) -> None:
    """One failed CAR among several is sent again, and the run ends well."""
    bench.patient()
    bench.proxy.fail("dag/import", status, after=MIB, nth=3)
    second = made(bench.machine.backup(bench.tree))
    assert [bench.first.root, second.root] == [one.root for one in bench.machine.listed()]
    assert (2, []) == ((report := bench.machine.verify()).snapshots, list(report.damage))


@pytest.mark.parametrize(
    ("call", "how"),
    [
        ("dag/import", {"nth": 4, "times": None, "after": MIB}),
        ("/add", {"nth": 4, "times": None}),
        ("pin/add", {"times": None}),
        ("pin/ls", {"nth": 3, "times": None}),
        ("block/stat", {"nth": 6, "times": None}),
    ],
)
def test_a_call_that_goes_on_failing(bench: Bench, call: str, how: dict[str, int | None]) -> None:
    """Whichever call fails from some moment on, the run ends with a cause, and the next one goes on."""
    bench.patient(attempts=3)
    bench.proxy.fail(call, 500, **how)
    bench.fails(Unavailable, "answers 500|broke off|does not answer")
    bench.ends_well()


@pytest.mark.parametrize("of", ["request", "response"])
@pytest.mark.parametrize("call", ["dag/import", "pin/add", "pin/ls", "/add", "block/get"])
def test_a_connection_that_breaks_anywhere(bench: Bench, call: str, of: str) -> None:
    """A cut request or answer is tried again; half an answer is never taken for a whole one."""
    bench.patient()
    bench.proxy.cut(call, of=of, nth=2, after=MIB if (call, of) == ("dag/import", "request") else 0)
    bench.ends_well(most=FILES + 4, heal=False)


def test_a_token_that_is_refused_in_the_middle(bench: Bench) -> None:
    """A right that is taken away ends the run at once, with the name of the call; given back, the next run goes on."""
    bench.patient()
    bench.proxy.fail("dag/import", 403, nth=5, times=None, after=MIB)
    bench.fails(Refused, "refuses dag/import")
    bench.ends_well(most=FILES - 4)


def test_a_node_that_is_full(bench: Bench) -> None:
    """A full disk is told as such and is not tried again."""
    bench.patient()
    bench.proxy.fail("dag/import", 507, nth=5, times=None, after=MIB)
    bench.fails(Full, "507")
    bench.ends_well(most=FILES - 4)


class Collecting(Layer):
    """Runs the node's own collection before and after every put."""

    def __init__(self, store: Store, node: Node) -> None:
        super().__init__(store)
        self._node = node

    def put(self, blocks: Iterable[Block]) -> int:
        """Put between two collections."""
        self._node.gc()
        new = self._store.put(blocks)
        self._node.gc()
        return new


def test_collections_while_a_backup_runs(bench: Bench, node: Node) -> None:
    """Kubo's collection, run around every CAR, takes nothing that the snapshot needs."""
    bench.machine.store = Retry(Collecting(bench.store, node), attempts=1, batch=2 * MIB)
    bench.ends_well()
    node.gc()
    assert [] == list(bench.machine.verify().damage)


def test_old_blocks_that_are_collected_while_a_backup_runs(bench: Bench, node: Node) -> None:
    """The last snapshot is unpinned and collected under a run that goes on from it: it stores all anew."""

    class Meddling(Layer):
        done = False

        def put(self, blocks: Iterable[Block]) -> int:
            if not self.done:
                self.done = True
                node.rpc("pin/rm", arg=str(bench.first.root))
                node.gc()
            return self._store.put(blocks)

    bench.machine.store = Retry(Meddling(bench.store), attempts=1, batch=2 * MIB)
    second = made(bench.machine.backup(bench.tree))
    assert [second.root] == [one.root for one in bench.machine.listed()]
    assert (1, []) == ((report := bench.machine.verify()).snapshots, list(report.damage))


def test_two_agents_write_to_one_node(bench: Bench, node: Node) -> None:
    """Two machines back up the same files at once while the node collects; both snapshots are whole."""
    with closing(KuboStore(Address("kubo", (node.api,)))) as store:
        other = bench.machine.other_agent(bench.folder / "other cache", owner=True)
        other.store = Retry(store, attempts=3, batch=2 * MIB)
        ended = threading.Event()
        errors: list[BaseException] = []

        def work() -> None:
            try:
                made(other.backup(bench.tree, "elsewhere"))
            except BaseException as error:  # noqa: BLE001 (told after the join)
                errors.append(error)
            ended.set()

        def collect() -> None:
            while not ended.is_set():
                node.gc()

        threads = [threading.Thread(target=work), threading.Thread(target=collect)]
        for thread in threads:
            thread.start()
        made(bench.machine.backup(bench.tree))
        for thread in threads:
            thread.join()
        assert [] == errors
        node.gc()
        assert (3, []) == ((report := bench.machine.verify()).snapshots, list(report.damage))


def test_a_far_node_is_asked_many_things_at_once(bench: Bench) -> None:
    """Over 50 ms of delay questions and blocks go side by side."""
    bench.proxy.latency = 0.025
    bench.ends_well(heal=False)
    assert bench.proxy.counts.most_in_flight >= 8
