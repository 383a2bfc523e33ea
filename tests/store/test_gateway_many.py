"""Several gateways at once: the fastest wins, the late get rivals, liars are out, the tired rest."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine import noise
from lab.lies import endless, never, says
from lab.lying import LyingGateway
from lab.process import wait_until
from lab.proxy import Proxy
from pinfold.errors import Corrupt, Missing, Unavailable
from pinfold.ipld import car
from pinfold.ipld.cid import CID, RAW
from pinfold.store.address import parse
from pinfold.store.gateway import GatewayStore
from pinfold.store.gateway.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.kubo import Node
    from lab.liar import Answer, Request

BLOCKS = {CID.of(RAW, block): block for block in (noise(seed, 20_000 + seed) for seed in range(120))}
NOWHERE = CID.of(RAW, b"nobody has this")


def opened(*urls: str) -> closing[GatewayStore]:
    """A store over these gateways."""
    return closing(GatewayStore(parse(f"gateway+{','.join(urls)}")))


def all_of(store: GatewayStore, threads: int = 64) -> dict[CID, bytes]:
    """Every block, asked for by so many threads at once."""
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(BLOCKS, pool.map(store.get, BLOCKS), strict=True))


@pytest.fixture(scope="module")
def honest() -> Iterator[list[LyingGateway]]:
    """Two gateways that tell the truth, by a dictionary."""
    with LyingGateway() as one, LyingGateway() as other:
        for gateway in (one, other):
            gateway.lie("GET /ipfs/", _truth)
        yield [one, other]


def _truth(request: Request) -> Answer:
    block = BLOCKS.get(CID.parse(request.path.rsplit("/", 1)[-1]))
    return says(b"", status=404)(request) if block is None else says(block)(request)


@pytest.fixture
def liar() -> Iterator[LyingGateway]:
    """A gateway that sends other bytes for every block."""
    with LyingGateway() as server:
        yield server


@pytest.fixture
def holder(shared_node: Node, tmp_path: Path) -> Node:
    """A Kubo that holds all blocks."""
    sections = (part for cid, block in BLOCKS.items() for part in (car.section_prefix(cid, len(block)), block))
    (tmp_path / "all.car").write_bytes(b"".join([car.header(list(BLOCKS)[:1]), *sections]))
    shared_node.run("dag", "import", "--pin-roots=false", tmp_path / "all.car")
    return shared_node


def test_a_liar_beside_an_honest_gateway(holder: Node, liar: LyingGateway) -> None:
    """Every block comes right, the liar is asked once for each request under way, then never, and is named once."""
    with opened(liar.url, holder.gateway) as store:
        assert BLOCKS == all_of(store)
        asked = len(liar.asked)
        assert BLOCKS == all_of(store)
        assert asked == len(liar.asked)
        assert [True] == [liar.url in line and "not asked again" in line for line in store.warnings]


def test_a_liar_without_end_beside_an_honest_gateway(holder: Node, liar: LyingGateway) -> None:
    """Bytes without end are cut off, and the others' blocks come all the same."""
    liar.lie("/ipfs/", endless())
    with opened(liar.url, holder.gateway) as store:
        assert BLOCKS == all_of(store)
        wait_until(lambda: bool(store.warnings), what="the liar is found out")


def test_only_liars(liar: LyingGateway) -> None:
    """With nobody but liars a block is Corrupt, and all of them are named."""
    with LyingGateway() as other, opened(liar.url, other.url) as store:
        with pytest.raises(Corrupt) as told:
            store.get(NOWHERE)
        assert [True, True] == [url in str(told.value) for url in (liar.url, other.url)]
        assert 2 == len(store.warnings)


def test_every_gateway_is_asked_before_a_block_is_missing(honest: list[LyingGateway]) -> None:
    """A block that one gateway lacks and another has comes; one that all lack is Missing, each asked once."""
    first = next(iter(BLOCKS))
    with LyingGateway() as empty:
        empty.lie("/ipfs/", says(b"", status=404))
        with opened(empty.url, honest[0].url) as store:
            assert [BLOCKS[first]] * 20 == [store.get(first) for _ in range(20)]
            with pytest.raises(Missing):
                store.get(NOWHERE)
    assert 1 == sum(str(NOWHERE) in line for line in honest[0].asked)
    assert 1 == sum(str(NOWHERE) in line for line in empty.asked)


def test_missing_is_not_said_while_a_gateway_cannot_be_asked(honest: list[LyingGateway]) -> None:
    """If one gateway lacks a block and another is down, nobody knows: Unavailable, so that it is tried again."""
    with opened(honest[0].url, "http://127.0.0.1:9") as store, pytest.raises(Unavailable):
        store.get(NOWHERE)


def test_a_late_gateway_gets_a_rival(honest: list[LyingGateway], liar: LyingGateway) -> None:
    """Where one gateway never answers, every block comes from the other in a moment, and the mute one is told of."""
    liar.lie("/ipfs/", never())
    began = time.monotonic()
    with opened(liar.url, honest[0].url) as store:
        assert BLOCKS == all_of(store, threads=16)
        assert time.monotonic() - began < 20
        assert len(liar.asked) < len(BLOCKS) / 2


def test_the_fastest_wins(holder: Node) -> None:
    """Of two gateways with the same blocks the near one is sent nearly all requests."""
    with Proxy(holder.gateway, latency=0.15) as far, Proxy(holder.gateway) as near:
        with opened(far.url, near.url) as store:
            for _ in range(2):
                assert BLOCKS == all_of(store, threads=4)
        assert far.counts.requests.total() * 5 < near.counts.requests.total()


def test_narrow_gateways_share_the_work(holder: Node) -> None:
    """Two gateways of the same width each send a good part, so that both widths are used."""
    with Proxy(holder.gateway, bandwidth=2e6) as one, Proxy(holder.gateway, bandwidth=2e6) as other:
        with opened(one.url, other.url) as store:
            assert BLOCKS == all_of(store)
        counts = sorted(proxy.counts.requests.total() for proxy in (one, other))
        assert counts[0] * 3 > counts[1], counts


def test_a_gateway_that_dies_in_the_middle(holder: Node) -> None:
    """When one of two gateways is cut off with requests under way, the other sends what is left."""
    with Proxy(holder.gateway, latency=0.02) as dying, opened(dying.url, holder.gateway) as store:
        killer = threading.Thread(target=lambda: (_passed(dying, 10), dying.refuse(), dying.cut_all()))
        killer.start()
        assert BLOCKS == all_of(store)
        killer.join()


def _passed(proxy: Proxy, count: int) -> None:
    wait_until(lambda: proxy.counts.requests.total() >= count, what="some requests passed")


def test_a_gateway_that_never_answered_is_told_of(honest: list[LyingGateway]) -> None:
    """One that refused every connection is named at the end, with the reason; the run went on without it."""
    with opened("http://127.0.0.1:9", honest[0].url) as store:
        assert BLOCKS == all_of(store)
        assert [True] == ["http://127.0.0.1:9 never answered" in line for line in store.warnings]


def test_a_gateway_that_fails_often_rests_for_longer_and_longer() -> None:
    """After three failures in a row it rests a second, then two, then four; one answer ends that."""
    book, now, rests = Standing(64), 100.0, []
    for _ in range(5):
        book.failed(book.begin(now), now + 0.1, "down")
        rests.append(max(0.0, book.rests_until - now - 0.1))
        now += 100
    assert [0, 0, 1, 2, 4] == [round(rest) for rest in rests]
    book.answered(book.begin(now), now + 0.1)
    book.failed(book.begin(now + 1), now + 2, "down")
    assert book.takes_more(now + 3)


def test_failures_of_one_cause_count_once() -> None:
    """Sixty requests that were under way when a gateway went down are one failure."""
    book = Standing(64)
    numbers = [book.begin(1.0) for _ in range(60)]
    for number in numbers:
        book.failed(number, 2.0, "down")
    assert book.takes_more(2.1)
    assert 0 == book.under_way


def test_a_busy_gateway_is_given_less() -> None:
    """After "too many requests" half as many are sent at once, and answers bring that up again."""
    book = Standing(64)
    book.failed(book.begin(1.0), 1.1, "busy", after=2.0)
    assert not book.takes_more(3.0)
    numbers = filled(book, 4.0)
    assert 32 == len(numbers)
    for number in numbers:
        book.answered(number, 4.1)
    assert 36 == len(filled(book, 5.0))


def filled(book: Standing, now: float) -> list[int]:
    """Begin as many requests as a gateway takes."""
    return list(iter(lambda: book.begin(now) if book.takes_more(now) else 0, 0))


def test_a_gateway_that_hangs_looks_slower_and_slower() -> None:
    """A request without an answer raises the cost with time, so that the next goes elsewhere."""
    hanging, other = Standing(64), Standing(64)
    other.answered(other.begin(0.0), 0.5)
    hanging.answered(hanging.begin(0.0), 0.1)
    hanging.begin(1.0)
    assert hanging.cost(1.1) < other.cost(1.1)
    assert hanging.cost(3.0) > other.cost(3.0)


def test_a_slow_gateway_gets_another_chance() -> None:
    """Bad times are forgotten, by half every ten seconds."""
    book = Standing(64)
    book.answered(book.begin(0.0), 8.0)
    assert book.cost(8.0) > 4 * book.cost(28.0) * 0.99
