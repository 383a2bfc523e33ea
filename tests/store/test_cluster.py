"""The parts of the store for clusters that need no cluster: numbers, answers, addresses, CARs, fail-over."""

from __future__ import annotations

import io
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.liar import Liar
from lab.lies import deep_json, endless, garbage, no_http, refuses, says, says_json, says_lines
from lab.process import free_port
from pinfold.errors import Corrupt, Missing, PinfoldError, Refused, StoreError, Unavailable, UsageError
from pinfold.ipld import car
from pinfold.ipld.cid import CID, DAG_PB
from pinfold.ipld.dagpb import decode
from pinfold.seal.secret import Secret
from pinfold.store import PinState
from pinfold.store.address import parse
from pinfold.store.cluster import answers, cars
from pinfold.store.cluster.endpoints import Endpoints
from pinfold.store.cluster.factors import EVERYWHERE, Factors, room
from pinfold.store.cluster.peers import Peers
from pinfold.store.cluster.reading import GatewayWay, KuboWay, ways
from store.clusters import opened
from store.dags import folder, noise, raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinfold.store.address import Address

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["peer_map", "cid", "status", "peername", "timestamp", "allocations", "metadata", "value"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def address(text: str) -> Address:
    """An address that is one of a far store."""
    found = parse(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("options", "least", "most", "needed_of_five"),
    [
        ("", EVERYWHERE, EVERYWHERE, 5),
        ("?min=2", 2, EVERYWHERE, 2),
        ("?min=2&max=3", 2, 3, 2),
        ("?max=3", 3, 3, 3),
        ("?min=-1&max=-1", EVERYWHERE, EVERYWHERE, 5),
    ],
)
def test_factors(options: str, least: int, most: int, needed_of_five: int) -> None:
    """What min and max ask for, and how many of five peers must then prove a pin."""
    factors = Factors.of(address(f"cluster+http://127.0.0.1:9094{options}"))
    assert Factors(least, most) == factors
    assert needed_of_five == factors.needed(5)


@pytest.mark.parametrize("options", ["min=3&max=2", "min=0", "max=0", "min=0&max=2", "min=many", "min=-1&max=0"])
def test_factors_that_make_no_sense(options: str) -> None:
    """They are refused before anything is asked of anybody."""
    with pytest.raises(UsageError):
        opened(f"cluster+http://127.0.0.1:9094?{options}")


def test_all_peers_are_told_as_minus_one() -> None:
    """A cluster told -1 gives later peers their copy by itself; how many must prove it is our own affair."""
    assert [("replication-min", "-1"), ("replication-max", "-1")] == Factors(2, EVERYWHERE).query(2)
    assert [("replication-min", "1"), ("replication-max", "3")] == Factors(2, 3).query(1)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 6))
def test_room_is_what_fits(free: list[int], copies: int) -> None:
    """The room for so many copies is the most that each of so many different places can share out."""
    wanted = min(copies, len(free))
    best = max(size for size in range(sum(free) + 1) if sum(min(size, one) for one in free) >= wanted * size)
    assert best == room(free, copies)
    assert min(free) == room(free, EVERYWHERE)


@given(JSON)
def test_hostile_answers_are_refused_or_read(told: Any) -> None:  # noqa: ANN401  # any JSON
    """Whatever JSON a peer answers, reading it ends with a value or with Refused."""
    readers: list[Callable[[object, str], object]] = [answers.states, answers.allocation, answers.members]
    for reader in [*readers, answers.lost, answers.rooms]:
        with suppress(Refused):
            reader(told, "there")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("2026-11-21T06:15:27Z", "2026-11-21T06:15:27.000000Z"),
        ("2026-11-21T06:15:27.632241783Z", "2026-11-21T06:15:27.632241Z"),
        ("2026-11-21T08:15:27.5+02:00", "2026-11-21T06:15:27.500000Z"),
        ("0001-01-01T00:00:00Z", ""),
        ("0001-01-01T00:00:00+14:00", ""),
        ("9999-12-31T23:59:59-14:00", ""),
        ("yesterday", ""),
        (None, ""),
    ],
)
def test_moments(told: object, expected: str) -> None:
    """Times come back in UTC; what is none is empty."""
    assert expected == answers.moment(told)


@given(st.integers(1, 40), st.integers(0, 5))
def test_a_car_has_one_root_that_lists_its_blocks(count: int, seed: int) -> None:
    """The CAR reads back whole; its root links to every block as a raw one, and no other CAR has that root."""
    dag = folder(noise(seed, count))
    batch = cars.listed(list(dag.blocks), "label")
    whole = b"".join(cars.body(batch, "edge"))
    inner = whole.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n--edge--\r\n")
    roots, blocks = car.read_car(io.BytesIO(inner))
    found = {block.cid: block.data for block in blocks}
    assert [batch.root] == roots
    assert {CID.raw(cid.digest): block for cid, block in dag.blocks} == {
        cid: block for cid, block in found.items() if cid != batch.root
    }
    assert {CID.raw(cid.digest) for cid, _ in dag.blocks} == {link.cid for link in decode(found[batch.root]).links}
    assert batch.size == sum(map(len, found.values()))
    assert batch.root != cars.listed(list(dag.blocks), "other").root


def test_cars_are_bounded() -> None:
    """Blocks come in batches of at most 32 MiB and 4096 blocks, each once, the rest as they were."""
    large = [raw(bytes([number]) * (8 << 20)) for number in range(9)]
    assert [4, 4, 1] == [len(batch) for batch in cars.batches([*large[:2], *large])]
    small = noise(1, 4100, 8)
    assert [4096, 4] == [len(batch) for batch in cars.batches(small)]
    assert DAG_PB == cars.listed(small[:4096], "l" * 40).root.codec


def test_ways_to_read() -> None:
    """Named ways are taken; without any, the proxy's usual port beside the usual port of the REST interface."""
    named = ways(address("cluster+http://a:9094?kubo=http://a:5001,http://b:5001/&gateway=http://c"), None, None)
    assert [(GatewayWay, "http://c"), (KuboWay, "http://a:5001"), (KuboWay, "http://b:5001")] == [
        (type(way), way.url) for way in named
    ]
    usual = ways(address("cluster+http://a:9094,http://[::1]:9094,http://b:1234,https://c:9094"), None, None)
    assert ["http://a:9095", "http://[::1]:9095"] == [way.url for way in usual]


@pytest.mark.parametrize("way", ["ftp://x", "x", "http://", "http://me:secret@host"])
def test_ways_that_are_none(way: str) -> None:
    """They are refused, and a password in them is not repeated."""
    with pytest.raises(UsageError) as caught:
        opened(f"cluster+http://a:9094?kubo={way}")
    assert "secret" not in str(caught.value)


def test_without_a_way_to_read_that_is_said() -> None:
    """A read tells which options name a way; nothing is asked of the network for it."""
    with closing(opened("cluster+https://cluster.example")) as store, pytest.raises(UsageError, match="kubo="):
        store.get(raw(b"x")[0])


def test_a_token_goes_to_no_other_host() -> None:
    """The REST interface gets the token, a Kubo on the same host too, one elsewhere does not."""
    dag = folder(noise(1, 1))
    with Liar() as peer, Liar() as same, Liar() as other:
        away = other.url.replace("127.0.0.1", "localhost")
        text = f"cluster+{peer.url}?kubo={same.url},{away}"
        with closing(opened(text, Secret(b"Bearer s3cret"))) as store:
            for action in (lambda: store.get(dag.root), lambda: list(store.pins())):
                with pytest.raises(StoreError):
                    action()
        seen = [{request.headers.get("Authorization") for request in liar.requests} for liar in (peer, same, other)]
    assert [{"Bearer s3cret"}, {"Bearer s3cret"}, {None}] == [
        {value if value is None else str(value) for value in values} for values in seen
    ]


def test_the_next_peer_is_asked_and_stays_first() -> None:
    """A peer that is down is passed over once, and not asked again as long as the other answers."""
    with Liar() as first, Liar() as second:
        first.lie("freespace", refuses(503))
        second.lie("freespace", says_json([]))
        with closing(Endpoints([first.url, second.url])) as endpoints:
            rooms = [endpoints.json("GET", "/monitor/metrics/freespace") for _ in range(3)]
        assert [[], [], []] == rooms
        assert (1, 3) == (len(first.asked), len(second.asked))


def test_all_peers_down_is_one_error_with_all_reasons() -> None:
    """Whoever reads it learns of every address what was wrong with it."""
    port = free_port()
    with Liar() as liar:
        liar.lie("/allocations", refuses(502, "bad gateway"))
        text = f"cluster+{liar.url},http://127.0.0.1:{port}"
        with closing(opened(text)) as store, pytest.raises(Unavailable) as caught:
            list(store.pins())
    assert "bad gateway" in str(caught.value)
    assert f":{port}" in str(caught.value)


def test_a_refusal_is_not_asked_of_the_next_peer() -> None:
    """What one peer refuses all do: the token is no better there."""
    with Liar() as first, Liar() as second:
        first.lie("/allocations", refuses(401, "unauthorized"))
        with closing(opened(f"cluster+{first.url},{second.url}")) as store, pytest.raises(Refused):
            list(store.pins())
        assert [] == second.asked


@pytest.mark.parametrize(
    "lie",
    [endless(), garbage(), no_http(), deep_json(), says(b"<html>"), says_json([1]), says_lines({"cid": "x"})],
)
def test_servers_that_are_no_cluster(lie: Any) -> None:  # noqa: ANN401  # a lie
    """Whatever answers, each question ends soon with an error of ours."""
    root = folder(noise(1, 1)).root
    with Liar() as liar:
        liar.lie("", lie)
        with closing(opened(f"cluster+{liar.url}?kubo={liar.url}")) as store:
            for question in (lambda: list(store.pins()), lambda: store.status(root), store.usage):
                started = time.monotonic()
                with pytest.raises(PinfoldError):
                    question()
                assert time.monotonic() - started < 10


def test_bytes_that_do_not_match_are_no_block() -> None:
    """Other bytes raise Corrupt, unless another way has the block good."""
    cid, block = raw(b"true")
    with Liar() as bad, Liar() as good:
        bad.lie("block/get", says(b"false"))
        with closing(opened(f"cluster+http://a:1?kubo={bad.url}")) as store, pytest.raises(Corrupt):
            store.get(cid)
        good.lie("block/get", says(block))
        with closing(opened(f"cluster+http://a:1?kubo={bad.url},{good.url}")) as store:
            assert block == store.get(cid)


def test_clocks_of_peers_are_shown_and_never_compared() -> None:
    """Two peers a century apart prove a pin like any other."""
    dag = folder(noise(2, 1))
    peers = {
        name: {"peername": name, "status": "pinned", "timestamp": f"{year}-01-01T00:00:00Z", "error": ""}
        for name, year in (("early", 1999), ("late", 2099))
    }
    pin = {"cid": str(dag.root), "name": "n", "type": "pin", "mode": "recursive"}
    with Liar() as liar:
        liar.lie("/pins/", says_json({"cid": str(dag.root), "peer_map": peers}))
        liar.lie("/allocations/", says_json(pin | {"replication_factor_min": -1, "replication_factor_max": -1}))
        liar.lie("/id", says_json({"cluster_peers": ["early", "late"]}))
        liar.lie("/health/alerts", says_json([]))
        with closing(opened(f"cluster+{liar.url}")) as store:
            status = store.status(dag.root)
    assert (2, 2, False) == (status.pinned, status.due, status.short)
    assert ["1999-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"] == [copy.since for copy in status.copies]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("pinned", PinState.PINNED),
        ("pinning", PinState.PINNING),
        ("pin_queued", PinState.PINNING),
        ("pin_error", PinState.FAILED),
        ("cluster_error", PinState.FAILED),
        ("unexpectedly_unpinned", PinState.FAILED),
        ("unpinned", PinState.ABSENT),
        ("a new word", PinState.FAILED),
    ],
)
def test_words(word: str, state: PinState) -> None:
    """Each word of Cluster's in terms of stores; one we do not know proves nothing."""
    (found,) = answers.states({"peer_map": {"id": {"peername": "p", "status": word}}}, "there")
    assert state is found.state


def test_missing_is_told_for_hash_functions_nobody_can_check() -> None:
    """No question is asked for a block that could not be verified."""
    with closing(opened("cluster+http://127.0.0.1:1?kubo=http://127.0.0.1:1")) as store, pytest.raises(Missing):
        store.get(CID(1, 0x55, 0x1E, bytes(32)))


def test_metrics_of_peers_that_just_joined_are_waited_for() -> None:
    """Two peers are there, one has not told its free space yet: pins for two wait for it, and not for a third."""
    told = [{"name": "freespace", "peer": name, "value": "5", "valid": True} for name in ("a", "b")]
    naps: list[float] = []
    with Liar() as liar, closing(Endpoints([liar.url])) as endpoints:
        liar.lie("/id", says_json({"cluster_peers": ["a", "b"]}))
        liar.lie("/monitor/metrics/freespace", says_json(told[:1]))

        def nap(seconds: float) -> None:
            naps.append(seconds)
            liar.lie("/monitor/metrics/freespace", says_json(told))

        assert 2 == Peers(endpoints, Factors(2, 3), "there", nap).least(30)
        assert 1 == len(naps)
        assert 2 == Peers(endpoints, Factors(3, 3), "there", nap).least(30)
        assert EVERYWHERE == Peers(endpoints, Factors(), "there", nap).least(30)
        assert 1 == len(naps)


def test_peers_that_are_gone_count_among_all() -> None:
    """The cluster lists one peer; its alerts tell of another, which "all peers" means too."""
    root = folder(noise(3, 1)).root
    pin = {"cid": str(root), "type": "pin", "mode": "recursive", "replication_factor_min": -1}
    gone = {"name": "ping", "peer": "b", "value": '{"peer_name": "second"}'}
    with Liar() as liar:
        liar.lie("/id", says_json({"cluster_peers": ["a"]}))
        liar.lie("/health/alerts", says_json([gone, gone | {"name": "freespace", "peer": "c"}]))
        liar.lie("/allocations/", says_json(pin | {"replication_factor_max": -1}))
        liar.lie("/pins/", says_json({"peer_map": {"a": {"peername": "first", "status": "pinned"}}}))
        with closing(opened(f"cluster+{liar.url}")) as store:
            status = store.status(root)
    assert (1, 2, True) == (status.pinned, status.due, status.short)
    assert ["first", "second"] == [copy.where.rpartition(" ")[2] for copy in status.copies]
