"""How blocks come here: only what is missing, only what was asked for, nothing that is not what its name says."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lab.liar import Answer, Liar
from lab.lies import cut_short, drip, endless, garbage, redirects, refuses, says
from pinfold.errors import Full
from pinfold.ipld import car
from pinfold.ipld.cid import CID, DAG_PB, RAW
from pinfold.ipld.dagpb import Link, Node, encode
from pinfold.ipld.walk import walk
from pinfold.pinning import origins
from pinfold.pinning.budget import Budget, Limits, Unfit, Unreached
from pinfold.pinning.fetch import fetch
from pinfold.store import Fault, Faulty, MemoryStore
from store.dags import Dag, folder, noise, raw, trie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.liar import Request
    from pinfold.store import Store
    from pinning.conftest import Origin

CAR = {"Content-Type": "application/vnd.ipld.car; version=1"}


@pytest.fixture
def liar(origin: Origin) -> Iterator[Liar]:
    """The origin's gateway, honest but for what a test says."""
    with Liar(truth=origin.url) as made:
        yield made


def bring(root: CID, *urls: str, store: Store | None = None, limits: Limits | None = None) -> Store:
    """Fetch a DAG; returns the store it is in then."""
    store = MemoryStore() if store is None else store
    clients = [origins.client(url, private=True, connections=8) for url in urls]
    try:
        fetch(root, clients, store, Budget(limits or Limits(seconds=60), threading.Event()))
    finally:
        for client in clients:
            client.close()
    return store


def whole(store: Store, dag: Dag) -> bool:
    """Whether all of a DAG is there."""
    return all(block == store.get(cid) for cid, block in dag.blocks)


def test_a_first_pin_is_one_stream(origin: Origin, liar: Liar) -> None:
    """Of an unknown DAG the root is asked for, and then all below it at once."""
    dag = trie(1, 20)
    origin.store.put(dag.blocks)
    assert whole(bring(dag.root, liar.url), dag)
    assert ["raw", "car"] == [re.findall("format=(raw|car)", asked)[0] for asked in liar.asked]


def test_only_the_difference_is_fetched(origin: Origin, liar: Liar) -> None:
    """Of a tree like one that is here no block is asked for that is here."""
    blocks = noise(2, 400)
    old, new = (folder(some, fanout=8, threshold=100) for some in (blocks[:-1], blocks))
    store = MemoryStore()
    store.put(old.blocks)
    origin.store.put(new.blocks)
    assert whole(bring(new.root, liar.url, store=store), new)
    asked = {CID.parse(re.findall(r"/ipfs/(\w+)", one)[0]) for one in liar.asked}
    assert new.cids - old.cids == asked


def test_an_origin_without_cars(origin: Origin, liar: Liar) -> None:
    """Where CARs are refused, or are none, blocks come one by one."""
    dag = trie(3, 20)
    origin.store.put(dag.blocks)
    for lie in (refuses(501, "no CARs"), refuses(404, "none"), says(b"<html>", headers={"Content-Type": "text/html"})):
        liar.asked.clear()
        liar.lie("format=car", lie)
        assert whole(bring(dag.root, liar.url), dag)
        assert 1 == len([one for one in liar.asked if "format=car" in one])


def test_a_broken_stream_is_gone_on_with(origin: Origin, liar: Liar) -> None:
    """What came before a CAR broke off is kept, and the rest is asked for singly."""
    dag = trie(4, 20)
    origin.store.put(dag.blocks)
    sections = b"".join(car.section(cid, block) for cid, block in order(dag)[:10])
    liar.lie("format=car", as_car(cut_short(car.header([dag.root]) + sections + b"\x7f", promised=99_999)))
    assert whole(bring(dag.root, liar.url), dag)
    singly = {CID.parse(re.findall(r"/ipfs/(\w+)", one)[0]) for one in liar.asked if "format=raw" in one}
    assert len(dag.cids) - 9 == len(singly)


def order(dag: Dag) -> list[tuple[CID, bytes]]:
    """Its blocks as a CAR has them, parents first."""
    blocks = dict(dag.blocks)
    return [(cid, blocks[cid]) for cid in walk(dag.root, blocks.get)]


def as_car(lie: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """The same lie, called a CAR."""

    def told(request: Request) -> Answer:
        answer = lie(request)
        return replace(answer, headers={**answer.headers, **CAR})

    return told


def test_the_next_origin_goes_on(origin: Origin, liar: Liar) -> None:
    """One that lacks a block is followed by another, which is not asked for what is here."""
    dag = trie(5, 20)
    origin.store.put(dag.blocks)
    lost = dag.leaves[3]
    liar.lie("format=car", refuses(404, "no CARs"))
    liar.lie(str(lost), refuses(404, "not here"))
    with Liar(truth=origin.url) as other:
        assert whole(bring(dag.root, liar.url, other.url), dag)
    assert other.asked
    assert set() == set(liar.asked) & set(other.asked) - {f"GET /ipfs/{lost}?format=raw"}


@pytest.mark.parametrize(
    "lie", [says(b"other bytes"), garbage(), endless(), refuses(500, "broken"), redirects("http://127.0.0.1:9{target}")]
)
def test_single_blocks_that_are_lies(origin: Origin, liar: Liar, lie: Callable[[Request], Answer]) -> None:
    """Other bytes, no answer, endless ones, errors, ways elsewhere: said, and nothing is stored."""
    block = raw(b"the truth")
    origin.store.put([block])
    liar.lie("/ipfs/", lie)
    store = MemoryStore()
    with pytest.raises(Unreached, match=str(liar.port)):
        bring(block[0], liar.url, store=store)
    assert set() == store.has([block[0]])
    assert liar.sent < 32 << 20


def streams() -> dict[str, bytes]:
    """CARs of `trie(6, 20)` that are lies, each by its kind."""
    dag = trie(6, 20)
    (_, top), stranger = order(dag)[0], raw(b"nobody asked for this")
    good = [car.section(cid, block) for cid, block in order(dag)]
    leaf = dag.leaves[0]
    head = car.header([dag.root])
    return {
        "other bytes": head + car.section(dag.root, top[:-1] + b"x"),
        "unasked": head + good[0] + car.section(*stranger),
        "unasked first": head + car.section(*stranger),
        "other leaf": head + b"".join(good[:-1]) + car.section(leaf, b"x"),
        "no CAR": b"\0" * 1000,
        "huge section": head + b"\xff\xff\xff\xff\x0f" + bytes(5000),
        "empty": b"",
        "only a head": head,
    }


@pytest.mark.parametrize("kind", streams())
def test_streams_that_are_lies(origin: Origin, liar: Liar, kind: str) -> None:
    """A CAR that is wrong in any way is dropped where it goes wrong, and never leaves more than was asked for."""
    dag = trie(6, 20)
    origin.store.put(dag.blocks)
    liar.lie("format=car", says(streams()[kind], headers=CAR))
    store = bring(dag.root, liar.url)
    assert whole(store, dag)
    assert store.usage().used == sum(len(block) for _, block in dag.blocks)


def test_the_same_blocks_over_and_over(origin: Origin, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that repeats itself without end is broken off."""
    monkeypatch.setattr("pinfold.pinning.fetch._MOST_REPEATED", 1 << 20)
    dag = folder(noise(7, 5, 10_000))
    origin.store.put(dag.blocks)
    sections = [car.section(cid, block) for cid, block in order(dag)[:2]]
    liar.lie("format=car", says(car.header([dag.root]) + sections[0] + sections[1] * 2000, headers=CAR))
    assert whole(bring(dag.root, liar.url), dag)
    assert liar.sent < 18 << 20


def test_a_dripping_stream_is_left(origin: Origin, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """An origin that sends next to nothing does not hold a worker."""
    monkeypatch.setattr("pinfold.pinning.fetch._GRACE", 0.2)
    dag = trie(8, 20)
    origin.store.put(dag.blocks)
    data = car.header([dag.root]) + b"".join(car.section(*block) for block in order(dag))
    liar.lie("format=car", as_car(drip(data, seconds=0.05, size=1)))
    assert whole(bring(dag.root, liar.url), dag)


def dripping(head: bytes) -> Callable[[Request], Answer]:
    """An answer that begins so and goes on in letters that are no part of a body, without end."""

    def drops(request: Request) -> Iterator[bytes]:
        yield head
        while not request.closing.wait(0.05):
            yield b"a"

    return lambda request: Answer(raw=True, parts=drops(request))


@pytest.mark.parametrize("kind", ["raw", "car"])
@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX-A: ",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.ipld.car\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    ],
)
def test_what_drips_outside_of_a_body_is_left(
    origin: Origin, liar: Liar, monkeypatch: pytest.MonkeyPatch, kind: str, head: bytes
) -> None:
    """An origin that drips headers, or the lines between chunks, holds a worker no longer than a silent one."""
    monkeypatch.setattr("pinfold.pinning.fetch._GRACE", 0.3)
    monkeypatch.setattr("pinfold.pinning.fetch._STREAM", 0.6)
    monkeypatch.setattr("pinfold.pinning.origins.SILENCE", 0.6)
    dag = trie(13, 5)
    origin.store.put(dag.blocks)
    liar.lie(f"format={kind}", dripping(head))
    if kind == "car":
        assert whole(bring(dag.root, liar.url), dag)
    else:
        with pytest.raises(Unreached, match="slowly"):
            bring(dag.root, liar.url)


@pytest.mark.parametrize(("slowest", "more"), [(1 << 10, True), (1 << 30, False)])
def test_a_stream_that_takes_long_is_followed_by_others(
    origin: Origin, liar: Liar, monkeypatch: pytest.MonkeyPatch, slowest: int, more: bool
) -> None:
    """One that was fast enough until its time was over, that is; after one that was not, blocks come singly."""
    monkeypatch.setattr("pinfold.pinning.fetch._STREAM", 0.3)
    monkeypatch.setattr("pinfold.pinning.fetch._SLOWEST", slowest)
    dag = folder(noise(14, 400), fanout=8, threshold=100)
    origin.store.put(dag.blocks)
    blocks = dict(dag.blocks)

    def stream(request: Request) -> Answer:
        below = walk(CID.parse(request.path.rpartition("/")[2]), blocks.get)
        data = car.header([dag.root]) + b"".join(car.section(cid, blocks[cid]) for cid in below)
        return as_car(drip(data, seconds=0.02, size=1000))(request)

    liar.lie("format=car", stream)
    assert whole(bring(dag.root, liar.url), dag)
    assert more == (len([one for one in liar.asked if "format=car" in one]) > 1)


def chain(length: int) -> Dag:
    """Nodes in a row."""
    block = raw(b"the end")
    blocks = [block]
    for _ in range(length):
        data = encode(Node((Link(blocks[-1][0], b"next", len(blocks[-1][1])),), b"\x08\x01"))
        blocks.append((CID.of(DAG_PB, data), data))
    return Dag(blocks[-1][0], tuple(blocks))


@pytest.mark.parametrize(
    ("dag", "limits", "why"),
    [
        (chain(40), Limits(depth=30), "30 links deep"),
        (trie(9, 20), Limits(pin_bytes=2000), "2000 bytes"),
        (trie(9, 20), Limits(pin_blocks=10), "10 blocks"),
    ],
)
def test_what_is_too_much(origin: Origin, dag: Dag, limits: Limits, why: str) -> None:
    """A DAG beyond the limits is said to be so, for good."""
    origin.store.put(dag.blocks)
    with pytest.raises(Unfit, match=why):
        bring(dag.root, origin.url, limits=limits)
    assert whole(bring(dag.root, origin.url), dag)


def test_what_is_no_dag(origin: Origin) -> None:
    """A node that is none, or of a codec that is not walked, can never be pinned."""
    other = CID.of(0x71, b"\xa0")
    data = encode(Node((Link(other, b"a", 1),), b"\x08\x01"))
    bad = CID.of(DAG_PB, b"\xff\xff"), b"\xff\xff"
    parent = CID.of(DAG_PB, data), data
    origin.store.put([bad, parent, (other, b"\xa0")])
    for root in (bad[0], parent[0]):
        with pytest.raises(Unfit):
            bring(root, origin.url)


def test_the_time_is_over(origin: Origin, liar: Liar) -> None:
    """An attempt that takes longer than it may ends, and says that it goes on later."""
    dag = trie(10, 20)
    origin.store.put(dag.blocks)
    with pytest.raises(Unreached, match="0 seconds"):
        bring(dag.root, liar.url, limits=Limits(seconds=0))


def test_what_the_store_says_is_the_stores(origin: Origin) -> None:
    """A full disk here is not the origin's fault."""
    dag = trie(11, 20)
    origin.store.put(dag.blocks)
    with pytest.raises(Full):
        bring(dag.root, origin.url, store=Faulty(MemoryStore(), Fault("put", frozenset({2}), Full("full"))))


def test_any_stream_ends_in_truth(origin: Origin, liar: Liar) -> None:
    """Whatever happens to the bytes of a CAR on their way, what is in the store then is what its names say."""
    dag = trie(12, 20)
    origin.store.put(dag.blocks)
    stream = car.header([dag.root]) + b"".join(car.section(*block) for block in order(dag))
    chance = random.Random(12)
    for _ in range(10):
        spoiled = bytearray(stream)
        for _ in range(chance.randrange(1, 4)):
            spoiled[chance.randrange(len(spoiled))] ^= 1 << chance.randrange(8)
        liar.lie("format=car", says(bytes(spoiled), headers=CAR))
        store = bring(dag.root, liar.url)
        assert whole(store, dag)
        assert store.usage().used == sum(len(block) for _, block in dag.blocks)


def test_nobody_to_ask() -> None:
    """Without an origin that speaks HTTP it is said what to do."""
    with pytest.raises(Unreached, match="give origins"):
        bring(CID.of(RAW, b"x"))
