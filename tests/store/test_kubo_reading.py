"""Reading from a Kubo node, checking and healing it, and what it tells of itself."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import urllib3.connection

from lab.kubo import new_swarm_key
from lab.liar import Answer, Liar
from lab.lies import endless, endless_line, endless_lines, never, says_json, says_lines
from lab.lying import LyingKubo
from lab.proxy import Proxy
from pinfold.errors import Corrupt, Incomplete, Missing, Refused, StoreError, Unavailable, UsageError
from pinfold.ipld.cid import CID, RAW
from pinfold.store import ChecksAtRest, Collects, Far, Heals
from pinfold.store.address import Address
from pinfold.store.kubo import KuboStore
from pinfold.store.kubo.rpc import failure
from store.dags import folder, noise, raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.kubo import Node
    from lab.liar import Request


def opened(url: str, **options: str) -> closing[KuboStore]:
    """A node as a store."""
    return closing(KuboStore(Address("kubo", (url,), options)))


@pytest.fixture
def store(node: Node) -> Iterator[KuboStore]:
    """A fresh node as a store."""
    with opened(node.api) as made:
        yield made


def block_file(node: Node, cid: CID) -> Path:
    """Where flatfs keeps a block."""
    name = CID.raw(cid.digest)
    (found,) = node.home.glob(f"blocks/*/{_key(name)}.data")
    return found


def _key(cid: CID) -> str:
    return base64.b32encode(bytes(cid)[2:]).decode().rstrip("=")


def added(request: Request) -> Answer:
    """What an honest node says to a small file."""
    content = request.body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    told = {"Name": "blocks", "Hash": str(CID.of(RAW, content)), "Size": str(len(content))}
    return Answer(200, {"Content-Type": "application/json"}, [json.dumps(told).encode()])


def test_it_has_the_powers_of_a_far_store_that_collects_checks_and_heals(store: KuboStore) -> None:
    """The optional powers are those that Kubo's RPC gives."""
    powers = (Collects, ChecksAtRest, Heals, Far)
    assert [True] * 4 == [isinstance(store, power) for power in powers]


def test_blocks_are_read_over_the_gateway(node: Node) -> None:
    """With `gateway` blocks come from there, and what is not local is missing at once."""
    blocks = noise(1, 5, 5000)
    with opened(node.api, gateway=node.gateway) as store:
        store.put(blocks)
        assert [block for _, block in blocks] == [store.get(cid) for cid, _ in blocks]
        with pytest.raises(Missing):
            store.get(CID.raw(bytes(32)))


@pytest.mark.parametrize("way", ["rpc", "gateway"])
def test_connections_are_kept_for_all_who_read(node: Node, way: str) -> None:
    """As many blocks as should be asked for together come side by side, twice over the same connections."""
    blocks = noise(3, 300, 500)
    with Proxy(node.api, latency=0.01) as rpc, Proxy(node.gateway, latency=0.01) as gateway:
        proxy = gateway if way == "gateway" else rpc
        with opened(rpc.url, **({"gateway": gateway.url} if way == "gateway" else {})) as store:
            store.put(blocks)
            with ThreadPoolExecutor(store.at_once) as pool:
                for _ in range(2):
                    assert [block for _, block in blocks] == list(pool.map(store.get, [cid for cid, _ in blocks]))
        counts = proxy.counts
    assert 64 == store.at_once
    assert counts.most_in_flight > 32
    assert counts.connections <= store.at_once + 4


def test_a_node_without_a_port_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens on the port of HTTP, that of Kubo's RPC was probably meant."""
    monkeypatch.setitem(urllib3.connection.port_by_scheme, "http", 9)
    with opened("http://127.0.0.1") as store, pytest.raises(Unavailable, match=r"no port given, 5001\?"):
        list(store.pins())


@pytest.mark.parametrize("way", ["rpc", "gateway"])
def test_what_is_not_local_is_missing_at_once(node_factory: Callable[..., Node], way: str) -> None:
    """A node that is online is not made to look for a block in the network."""
    node = node_factory(offline=False)
    began = time.monotonic()
    with opened(node.api, **({"gateway": node.gateway} if way == "gateway" else {})) as store:
        with pytest.raises(Missing):
            store.get(CID.raw(bytes(32)))
        assert set() == store.has([CID.raw(bytes(32))])
    assert time.monotonic() < began + 5


def test_a_block_of_another_node_is_fetched_when_asked_for(node_factory: Callable[..., Node]) -> None:
    """With `network` a block that is not local is taken from a peer; one that nobody has is missing in time."""
    key = new_swarm_key()
    near, far = (node_factory(offline=False, swarm_key=key) for _ in range(2))
    cid, block = raw(b"elsewhere")
    with opened(far.api) as there, opened(near.api) as here, opened(near.api, network="2") as asking:
        there.put([(cid, block)])
        near.connect(far)
        with pytest.raises(Missing):
            here.get(cid)
        assert block == asking.get(cid)
        with pytest.raises(Missing):
            asking.get(CID.raw(bytes(32)))


def test_a_damaged_block_is_found_and_after_a_restart_healed(node: Node, store: KuboStore) -> None:
    """Bytes changed on the node's disk are told by get and by check; a node that was started anew takes a good copy."""
    dag = folder(noise(2, 5, 5000))
    with store.session():
        store.put(dag.blocks)
        store.pin(dag.root, "one")
    cid, block = dag.blocks[0]
    assert [] == list(store.check())
    file = block_file(node, cid)
    file.chmod(0o644)
    file.write_bytes(b"x" + block[1:])
    with pytest.raises(Corrupt):
        store.get(cid)
    steps: list[tuple[int, int]] = []
    assert [str(cid)] == [what for what, _ in store.check(lambda *step: steps.append(step))]
    assert steps[-1][0] == steps[-1][1]
    with pytest.raises(Corrupt):
        store.replace((cid, b"worse"))
    with pytest.raises(Refused, match="restart that node"):
        store.replace((cid, block))
    node.restart()
    store.replace((cid, block))
    assert block == store.get(cid)
    assert [] == list(store.check())


def test_a_lost_block_is_healed(node: Node, store: KuboStore) -> None:
    """A file that vanished from the node's disk is missing, and `replace` brings it back."""
    cid, block = raw(b"lost")
    store.put([(cid, block)])
    block_file(node, cid).unlink()
    with pytest.raises(Missing):
        store.get(cid)
    store.replace((cid, block))
    assert block == store.get(cid)


def test_a_collection_does_not_touch_what_others_keep(node: Node, store: KuboStore) -> None:
    """What MFS and direct pins hold is neither freed nor counted as garbage."""
    kept = node.run("add", "--quieter", "--pin=false", input=b"in mfs" * 1000).decode().strip()
    node.run("files", "cp", f"/ipfs/{kept}", "/kept")
    direct = node.run("add", "--quieter", "--pin=false", input=b"direct").decode().strip()
    node.run("pin", "add", "--recursive=false", direct)
    dag = folder(noise(3, 10))
    store.put(dag.blocks)
    told = store.collect(dry_run=True)
    done = store.collect()
    assert (told.freed_blocks, told.freed_bytes) == (done.freed_blocks, done.freed_bytes)
    assert set() == store.has(dag.cids)
    assert [True, True] == [node.has(kept), node.has(direct)]
    assert done.live_blocks >= 3


def test_usage_is_the_nodes_own(node: Node, store: KuboStore) -> None:
    """Capacity is StorageMax."""
    node.config("Datastore.StorageMax", "3GB")
    node.restart()
    assert store.usage().capacity == 3_000_000_000


def test_a_node_that_is_down_is_unavailable(node: Node, store: KuboStore) -> None:
    """Every call to a node that is not there ends in Unavailable."""
    node.kill()
    cid, block = raw(b"x")
    calls: list[Callable[[], object]] = [
        lambda: store.put([(cid, block)]),
        lambda: store.get(cid),
        lambda: store.has([cid]),
        lambda: store.pin(cid, "x"),
        lambda: store.unpin([cid]),
        lambda: list(store.pins()),
        lambda: store.status(cid),
        store.usage,
        store.collect,
        lambda: list(store.check()),
        lambda: store.replace((cid, block)),
    ]
    for call in calls:
        with pytest.raises(Unavailable):
            call()


def test_a_store_is_one_node() -> None:
    """Several nodes are mirrors, not one store."""
    with pytest.raises(UsageError, match="mirrors"):
        KuboStore(Address("kubo", ("http://a:5001", "http://b:5001")))


@pytest.mark.parametrize("version", ["0.36.0", "0.4.23", "0.9.1-rc1"])
def test_an_old_kubo_is_refused(version: str) -> None:
    """Before 0.37 pins had no names over import and add: nothing is sent to such a node."""
    with LyingKubo() as liar:
        liar.lie("/version", says_json({"Version": version}))
        with opened(liar.url) as store, pytest.raises(Refused, match=f"Kubo {version}"):
            store.put([raw(b"x")])
        assert ["POST /api/v0/version"] == liar.asked


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (500, "block was not found locally (offline): ipld: could not find bafkqaaa", "NotHere"),
        (500, "write /blocks/X: no space left on device", "Full"),
        (507, "", "Full"),
        (403, "Kubo RPC Access Denied", "_Forbidden"),
        (401, "", "_Forbidden"),
        (500, "path 'bafk' is not pinned", "NotPinned"),
        (500, "not pinned or pinned indirectly", "NotPinned"),
        (500, "block in storage has different hash than requested", "Broken"),
        (500, "context deadline exceeded", "Unavailable"),
        (429, "slow down", "Unavailable"),
        (400, "unknown option", "Refused"),
        (404, "404 page not found", "Refused"),
    ],
)
def test_errors_are_told_apart_by_their_text(status: int, text: str, kind: str) -> None:
    """Kubo answers 500 for nearly everything: the text decides, and is repeated."""
    error = failure("http://node", status, text)
    assert kind == type(error).__name__
    assert text in str(error)


def test_a_node_that_only_says_so_is_caught() -> None:
    """A node that takes everything, says that it is pinned, and keeps nothing, gets no snapshot counted as safe."""
    dag = folder(noise(4, 30))
    with LyingKubo() as liar, opened(liar.url) as store, store.session():
        liar.lie("/api/v0/add", added)
        store.put(dag.blocks)
        with pytest.raises((Corrupt, Incomplete)):
            store.pin(dag.root, "one")
        assert str(dag.root) not in liar.pinned


def test_a_node_that_forgets_leaves_is_caught(node: Node) -> None:
    """Nodes that are true and leaves that are not: the sample that is read back after the pin finds them."""
    dag = folder(noise(5, 30))
    with Liar(truth=node.api) as liar, opened(liar.url) as store, store.session():
        store.put(dag.blocks)
        for cid in dag.leaves:
            liar.lie(f"block/get.*{cid}", says_json({"no": "block"}))
        with pytest.raises(Incomplete):
            store.pin(dag.root, "one")


@pytest.mark.parametrize("lie", [endless(), endless_line(), endless_lines({"Keys": {}}), says_lines([1], "x"), never()])
@pytest.mark.parametrize("call", ["block/get", "pin/ls", "dag/import", "version", "add", "repo/stat", "block/stat"])
def test_hostile_answers_end(lie: object, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server says for however long, a call ends with an error of stores, in bounded time and memory."""
    for module in ("pins", "upload"):
        monkeypatch.setattr(f"pinfold.store.kubo.{module}.PATIENCE", 1.0)
    monkeypatch.setattr("pinfold.store.kubo.rpc.SILENCE", 1.0)
    cid, block = raw(b"x")
    with LyingKubo() as liar:
        liar.lie(call, lie)  # type: ignore[arg-type]
        with opened(liar.url) as store:
            steps: list[Callable[[], object]] = [
                lambda: store.get(cid),
                lambda: list(store.pins()),
                lambda: store.put([(cid, block)]),
                store.usage,
                lambda: store.has([cid]),
            ]
            ends = 0
            with store.session():
                for step in steps:
                    try:
                        step()
                    except StoreError:
                        ends += 1
            assert ends >= 1
