"""Putting blocks into a Kubo node: batches, passing pins, and garbage collections in between."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from lab.proxy import Proxy
from pinfold.clock import SystemClock
from pinfold.errors import Incomplete
from pinfold.ipld.cid import CID
from pinfold.store import Pin
from pinfold.store.address import Address
from pinfold.store.kubo import KuboStore
from store.dags import folder, noise
from store.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from lab.kubo import Node
    from pinfold.store.kubo.proof import Proof
    from store.dags import Block

PASSING = re.compile(r"pinfold-passing/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/[0-9a-f]{16}")
MIB = 1 << 20


class LaterClock(SystemClock):
    """A clock that is ahead."""

    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        """The moment that much later."""
        return super().now() + self._ahead


class KilledError(Exception):
    """What ends a session before its pin."""


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    """A way to the node that counts."""
    with Proxy(node.api) as made:
        yield made


@pytest.fixture
def opened(proxy: Proxy) -> Iterator[Callable[..., KuboStore]]:
    """Opens the node as a store, as often as wanted."""
    made: list[KuboStore] = []

    def opening(ahead: timedelta = timedelta()) -> KuboStore:
        made.append(KuboStore(Address("kubo", (proxy.url,)), clock=LaterClock(ahead)))
        return made[-1]

    yield opening
    for store in made:
        store.close()


@pytest.fixture
def store(opened: Callable[..., KuboStore]) -> KuboStore:
    """The node as a store."""
    return opened()


def passing(node: Node) -> list[str]:
    """The names of passing pins."""
    return [name for name in node.pins().values() if name.startswith("pinfold-passing")]


def blocks_of(seed: int, count: int) -> Iterator[Block]:
    """Blocks of one MiB, one after another."""
    for number in range(count):
        yield from noise(seed * 1000 + number, 1, MIB)


def put_and_fail(store: KuboStore, blocks: Iterable[Block]) -> None:
    """A session that ends before its pin."""

    def work() -> None:
        with store.session():
            store.put(blocks)
            raise KilledError

    with pytest.raises(KilledError):
        work()


def test_blocks_go_in_cars_and_never_one_by_one(proxy: Proxy, store: KuboStore) -> None:
    """70 MiB take five imports, however many blocks they are, and are not asked for block by block again."""
    with store.session():
        assert 70 * MIB == store.put(blocks_of(1, 70))
        assert proxy.counts.requests["/api/v0/dag/import"] == 5
        watch = Watch(proxy)
        assert store.put(blocks_of(1, 70)) == 0
        assert [] == watch.calls


def test_what_has_answered_is_not_asked_again(proxy: Proxy, store: KuboStore) -> None:
    """A put after a has sends what was not there and asks nothing."""
    blocks = noise(2, 50)
    store.put(blocks[:10])
    with store.session():
        assert {cid for cid, _ in blocks[:10]} == store.has(cid for cid, _ in blocks)
        watch = Watch(proxy)
        assert 40 * 200 == store.put(blocks[10:])
        assert {cid for cid, _ in blocks} == store.has(cid for cid, _ in blocks)
        assert ["add", "dag/import"] == [call for call in watch.calls if call != "version"]


def test_passing_pins_keep_what_was_put(node: Node, store: KuboStore) -> None:
    """A collection of Kubo's own between put and pin takes nothing; afterwards no passing pin is left."""
    before = node.pins()
    dag = folder(noise(3, 100))
    with store.session():
        store.put(dag.blocks[:50])
        node.gc()
        store.put(dag.blocks[50:])
        node.gc()
        names = passing(node)
        assert [True, True] == [PASSING.fullmatch(name) is not None for name in names]
        assert [] == list(store.pins())
        store.pin(dag.root, "one")
    assert before | {str(dag.root): "one"} == node.pins()
    node.gc()
    assert dag.cids == store.has(dag.cids)


def test_what_was_there_is_kept_by_a_later_put(node: Node, store: KuboStore) -> None:
    """Blocks that somebody else's pin keeps are pinned in passing, too, when they are put again."""
    dag = folder(noise(4, 20))
    store.put(dag.blocks)
    node.rpc("pin/add", arg=str(dag.root))
    with store.session():
        assert store.put(dag.blocks) == 0
        node.rpc("pin/rm", arg=str(dag.root))
        node.gc()
        store.pin(dag.root, "one")
    assert [Pin(dag.root, "one")] == list(store.pins())


def test_many_blocks_that_were_seen_are_kept(node: Node, store: KuboStore) -> None:
    """What `has` confirmed is pinned in passing, 512 at a time, so that even strangers' unpinning takes none of it."""
    blocks = noise(5, 600)
    store.put(blocks)
    with store.session():
        assert len(blocks) == len(store.has(cid for cid, _ in blocks))
        node.gc()
        assert all(node.has(cid) for cid, _ in blocks[::40])


def test_a_block_seen_and_then_taken_is_told_by_the_pin(node: Node, store: KuboStore) -> None:
    """Some blocks that were seen and then unpinned and collected make the pin say which; put again, it holds."""
    dag = folder(noise(6, 20))
    store.put(dag.blocks)
    with store.session():
        assert dag.cids == store.has(dag.cids)
        node.gc()
        store.put([dag.blocks[-1]])
        with pytest.raises(Incomplete) as caught:
            store.pin(dag.root, "one")
        assert set(dag.leaves) == set(caught.value.missing)
        store.put(dag.blocks)
        store.pin(dag.root, "one")
    assert [Pin(dag.root, "one")] == list(store.pins())


def test_a_block_that_vanishes_under_a_put_is_sent_after_all(
    node: Node, store: KuboStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection between the question and the import is noticed by Kubo's own pin, and the blocks are sent."""
    blocks = noise(7, 20)
    store.put(blocks)
    ask = store._presence.ask

    def meddled(digests: list[bytes]) -> set[bytes]:
        there = ask(digests)
        monkeypatch.undo()
        node.gc()
        return there

    monkeypatch.setattr(store._presence, "ask", meddled)
    with store.session():
        assert 20 * 200 == store.put(blocks)
        node.gc()
        assert {cid for cid, _ in blocks} == store.has(cid for cid, _ in blocks)


def test_a_session_that_failed_leaves_its_work_to_the_next(
    node: Node, proxy: Proxy, opened: Callable[..., KuboStore]
) -> None:
    """What a killed run sent outlives collections for a day, and the next run sends nothing of it again."""
    dag = folder(list(blocks_of(8, 8)))
    killed = opened()
    put_and_fail(killed, dag.blocks)
    assert len(passing(node)) == 1
    opened().collect()
    node.gc()
    watch = Watch(proxy)
    again = opened()
    with again.session():
        assert again.put(dag.blocks) == 0
        again.pin(dag.root, "one")
    assert watch.sent < MIB
    assert len(passing(node)) == 1
    opened(timedelta(hours=25)).collect()
    assert [] == passing(node)
    assert dag.cids == again.has(dag.cids)


def test_passing_pins_end_with_the_day(node: Node, opened: Callable[..., KuboStore]) -> None:
    """A collection drops passing pins that are older than a day, and frees what they held."""
    before = node.pins()
    store = opened()
    blocks = noise(9, 30)
    put_and_fail(store, blocks)
    early = opened(timedelta(hours=23)).collect()
    assert 30 * 200 < early.waiting_bytes
    assert {cid for cid, _ in blocks} == store.has(cid for cid, _ in blocks)
    late = opened(timedelta(hours=25)).collect()
    assert late.waiting_bytes == 0
    assert late.freed_blocks >= 31
    assert set() == store.has(cid for cid, _ in blocks)
    assert before == node.pins()


@pytest.mark.parametrize("ahead", [timedelta(days=-400), timedelta(days=400)])
def test_wrong_clocks_lose_nothing(node: Node, opened: Callable[..., KuboStore], ahead: timedelta) -> None:
    """A collection by a wrong clock takes a running session's blocks: its pin says so, and put again it holds."""
    store, wrong = opened(), opened(ahead)
    dag = folder(noise(14, 30))
    with store.session():
        store.put(dag.blocks)
        wrong.collect()
        assert [] == passing(node)
        with pytest.raises(Incomplete):
            store.pin(dag.root, "one")
        store.put(dag.blocks)
        store.pin(dag.root, "one")
    assert [Pin(dag.root, "one")] == list(store.pins())


@pytest.mark.parametrize("size", [0, 256 * MIB])
def test_blocks_taken_at_the_last_moment_hang_nothing(
    node_factory: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Kubo, online, waits for blocks that went between the proof and its own walk: that is noticed and told."""
    for module, name in (("pins", "STALL"), ("pins", "PATIENCE")):
        monkeypatch.setattr(f"pinfold.store.kubo.{module}.{name}", 1.0)
    monkeypatch.setattr("pinfold.store.kubo.keep.NAMED_BYTES", size)
    online = node_factory(offline=False)
    old, new = folder(noise(15, 30), fanout=8, threshold=100), folder(noise(15, 40), fanout=8, threshold=100)
    with closing(KuboStore(Address("kubo", (online.api,)))) as store, store.session():
        store.put(old.blocks)
        store.pin(old.root, "a/b/c/d/1")
        store.put(new.blocks)
        prove = store._keeper._prove

        def meddled(root: CID, base: CID | None) -> Proof:
            monkeypatch.undo()
            monkeypatch.setattr("pinfold.store.kubo.pins.STALL", 1.0)
            monkeypatch.setattr("pinfold.store.kubo.pins.PATIENCE", 1.0)
            monkeypatch.setattr("pinfold.store.kubo.keep.NAMED_BYTES", size)
            proof = prove(root, base)
            for cid, name in online.pins().items():
                if name.startswith("pinfold-passing"):
                    online.rpc("pin/rm", arg=str(CID.dag_pb(CID.parse(cid).digest)))
            online.gc()
            return proof

        monkeypatch.setattr(store._keeper, "_prove", meddled)
        with pytest.raises(Incomplete):
            store.pin(new.root, "a/b/c/d/2")
        assert ["a/b/c/d/1"] == [pin.name for pin in store.pins()]
        store.put(new.blocks)
        store.pin(new.root, "a/b/c/d/2")


def test_a_session_without_a_pin_leaves_nothing(node: Node, store: KuboStore) -> None:
    """A session that ends in peace lets go of its passing pins, whether it pinned or not."""
    before = node.pins()
    with store.session():
        store.put(noise(10, 30))
    assert before == node.pins()


def test_a_put_outside_a_session_pins_nothing(node: Node, store: KuboStore) -> None:
    """Without a session nothing is promised, and nothing is left."""
    before = node.pins()
    store.put(noise(11, 30))
    assert before == node.pins()


def test_the_same_blocks_are_kept_for_each_session(node: Node, opened: Callable[..., KuboStore]) -> None:
    """Two sessions put the same blocks; when the first ends, the other's are still kept."""
    one, two = opened(), opened()
    dag = folder(noise(13, 30))
    with two.session():
        with one.session():
            one.put(dag.blocks)
            two.put(dag.blocks)
        node.gc()
        two.pin(dag.root, "one")
    assert dag.cids == two.has(dag.cids)


def test_two_agents_share_a_node(node: Node, opened: Callable[..., KuboStore]) -> None:
    """Two sessions with common blocks, a collection in each, both pin, and neither's end takes the other's blocks."""
    one, two = opened(), opened()
    blocks = noise(12, 90)
    first, second = folder(blocks[:60]), folder(blocks[30:])
    with one.session():
        one.put(first.blocks)
        with two.session():
            two.put(second.blocks)
            one.collect()
            one.pin(first.root, "first")
            node.gc()
            two.pin(second.root, "second")
        two.collect()
    node.gc()
    assert ["first", "second"] == [pin.name for pin in one.pins()]
    assert first.cids | second.cids == one.has(first.cids | second.cids)
    with closing(opened()) as third:
        third.unpin([first.root])
        third.collect()
        assert second.cids == third.has(second.cids)
        assert CID.raw(first.root.digest) not in third.has([CID.raw(first.root.digest)])
