"""Pins in a Kubo node: their names, what it costs to pin the next root, and that no pin goes before its time."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lab.proxy import Proxy
from pinfold.errors import Incomplete, Refused
from pinfold.ipld.cid import CID
from pinfold.store import Pin, PinState
from pinfold.store.address import Address
from pinfold.store.kubo import KuboStore, keep
from store.dags import folder, noise, raw
from store.watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.kubo import Node
    from store.dags import Dag

SOURCE = "pinfold/0011/2233/full"


def trie_of(seed: int, count: int) -> Dag:
    """A sharded folder; those of one seed share what they have in common."""
    return folder(noise(seed, count), fanout=8, threshold=100)


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    """A way to the node that counts."""
    with Proxy(node.api) as made:
        yield made


@pytest.fixture
def store(proxy: Proxy) -> Iterator[KuboStore]:
    """The node as a store."""
    with closing(KuboStore(Address("kubo", (proxy.url,)))) as made:
        yield made


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every root is too large to be named by walking it."""
    monkeypatch.setattr(keep, "NAMED_BYTES", 0)


def pinned(store: KuboStore, dag: Dag, name: str) -> CID:
    """Put and pin a DAG."""
    with store.session():
        store.put(dag.blocks)
        store.pin(dag.root, name)
    return dag.root


def test_a_small_root_bears_its_name_itself(node: Node, store: KuboStore) -> None:
    """`ipfs pin ls --names` shows the root of a small snapshot under its name, and nothing else is left."""
    before = node.pins()
    root = pinned(store, trie_of(1, 30), f"{SOURCE}/2026-01-01")
    assert before | {str(root): f"{SOURCE}/2026-01-01"} == node.pins()


@pytest.mark.usefixtures("large")
def test_the_name_of_a_large_root_stands_on_its_twin(node: Node, store: KuboStore) -> None:
    """A large root is pinned as `pinfold`; its block, as a raw one, bears the name; both go together."""
    before = node.pins()
    dag = trie_of(1, 30)
    root = pinned(store, dag, f"{SOURCE}/2026-01-01")
    twin = CID.raw(root.digest)
    assert before | {str(root): "pinfold", str(twin): f"{SOURCE}/2026-01-01"} == node.pins()
    assert [Pin(root, f"{SOURCE}/2026-01-01")] == list(store.pins())
    assert [PinState.PINNED] == [copy.state for copy in store.status(root).copies]
    store.unpin([root])
    assert before == node.pins()


@pytest.mark.usefixtures("large")
def test_the_next_snapshot_is_pinned_by_its_difference(node: Node, proxy: Proxy, store: KuboStore) -> None:
    """Kubo is told to update from the newest pin of the source, which stays, and only the difference is read."""
    for day in (1, 2):
        pinned(store, trie_of(1, 400 + day), f"{SOURCE}/2026-01-0{day}")
    pinned(store, trie_of(2, 5), "pinfold/0011/9999/full/2026-01-09")
    dag = trie_of(1, 403)
    with store.session():
        store.put(dag.blocks)
        watch = Watch(proxy)
        store.pin(dag.root, f"{SOURCE}/2026-01-03")
    newest = trie_of(1, 402).root
    assert [f"pin/update?arg={newest}&arg={dag.root}&unpin=false"] == [
        query for query in watch.queries if query.startswith("pin/update")
    ]
    assert watch.calls.count("block/get") < 60
    assert watch.calls.count("block/stat") == 0
    names = [f"{SOURCE}/2026-01-0{day}" for day in (1, 2, 3)]
    assert names == [pin.name for pin in store.pins(SOURCE)]
    node.gc()
    assert dag.cids == store.has(dag.cids)


@pytest.mark.usefixtures("large")
def test_renaming_leaves_the_root_pinned(proxy: Proxy, store: KuboStore) -> None:
    """A second name is put on the twin: Kubo is never told to pin again what is pinned."""
    dag = trie_of(3, 30)
    pinned(store, dag, "one")
    watch = Watch(proxy)
    store.pin(dag.root, "two")
    assert [CID.raw(dag.root.digest)] == [
        CID.parse(query.split("arg=")[1].split("&")[0]) for query in watch.queries if query.startswith("pin/add")
    ]
    assert [Pin(dag.root, "two")] == list(store.pins())


def test_pinning_again_changes_nothing(proxy: Proxy, store: KuboStore) -> None:
    """A root that has its name is proved again and otherwise let be."""
    dag = trie_of(4, 30)
    pinned(store, dag, "one")
    watch = Watch(proxy)
    store.pin(dag.root, "one")
    assert {"pin/add", "pin/update"}.isdisjoint(watch.calls)


def test_the_replaced_pin_goes_last(node: Node, proxy: Proxy, store: KuboStore) -> None:
    """The old pin is dropped once the new one stands and has been proved; a refused pin replaces nothing."""
    old, new = trie_of(5, 40), trie_of(5, 41)
    pinned(store, old, "pinfold/checkpoint")
    with store.session():
        store.put(new.blocks[:-1])
        with pytest.raises(Incomplete):
            store.pin(new.root, "pinfold/checkpoint", replaces=old.root)
        assert str(old.root) in node.pins()
        store.put(new.blocks)
        watch = Watch(proxy)
        store.pin(new.root, "pinfold/checkpoint", replaces=old.root)
    added = watch.calls.index("pin/add")
    assert added < watch.calls.index("block/get", added) < watch.calls.index("pin/rm")
    assert [Pin(new.root, "pinfold/checkpoint")] == list(store.pins())


def test_many_pins_go_in_few_calls(node: Node, proxy: Proxy, store: KuboStore) -> None:
    """250 roots are unpinned by three calls, and roots that nobody pinned stop none of the others."""
    before = node.pins()
    roots = [raw(b"root %d" % number) for number in range(250)]
    store.put(roots)
    for cid, _ in roots:
        node.rpc("pin/add", arg=str(cid), name="many")
    watch = Watch(proxy)
    store.unpin([CID.raw(bytes(32)), *(cid for cid, _ in roots), CID.raw(bytes(31) + b"1")])
    assert watch.calls.count("pin/rm") == 3
    assert before == node.pins()


def test_pins_without_a_name_are_not_ours(node: Node, store: KuboStore) -> None:
    """What others pinned without a name is not listed, and is not taken for lost either."""
    cid = CID.parse(node.run("add", "--quieter", input=b"theirs").decode().strip())
    assert [] == list(store.pins())
    assert [PinState.PINNED] == [copy.state for copy in store.status(cid).copies]


@pytest.mark.parametrize("size", [0, 256 << 20])
def test_a_missing_block_is_an_answer(
    node_factory: Callable[..., Node], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A node that is online would wait for a missing block for ever; pinfold says at once which it is."""
    monkeypatch.setattr(keep, "NAMED_BYTES", size)
    online = node_factory(offline=False)
    dag = trie_of(6, 200)
    lost = {dag.leaves[7], dag.leaves[70]}
    with closing(KuboStore(Address("kubo", (online.api,)))) as store, store.session():
        store.put(block for block in dag.blocks if block[0] not in lost)
        began = time.monotonic()
        with pytest.raises(Incomplete) as caught:
            store.pin(dag.root, "one")
        assert time.monotonic() < began + 10
        assert lost == set(caught.value.missing)
        assert [] == list(store.pins())
        store.put(dag.blocks)
        assert store.pin(dag.root, "one").pinned == 1


def test_a_node_that_cannot_name_pins_is_refused(node: Node) -> None:
    """Kubo 0.36 is told apart before anything is written."""
    with Proxy(node.api) as proxy:
        proxy.fail("/version", 404, times=None)
        with closing(KuboStore(Address("kubo", (proxy.url,)))) as store, pytest.raises(Refused, match="RPC of a Kubo"):
            store.put([raw(b"block")])
        assert {"/api/v0/version": 1} == dict(proxy.counts.requests)
