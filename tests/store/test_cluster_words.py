"""What the store for clusters tells people: short words for a peer's errors, and a question at a wrong address."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lab.liar import Answer, Liar
from lab.lies import says_json, says_lines
from lab.process import free_port
from pinfold.errors import Refused, StoreError, Unavailable
from pinfold.store import PinState
from pinfold.store.address import parse
from pinfold.store.cluster import answers
from pinfold.store.cluster.reading import KuboWay, Reading
from pinfold.store.crew import Crew
from pinfold.store.pinning import PinningStore
from store.clusters import opened
from store.dags import folder, noise, raw

if TYPE_CHECKING:
    from lab.cluster import Cluster

DIALS = "failed to dial: failed to dial 12D3KooW: all dials failed * [/ip4/127.0.0.1/tcp/9096] connection refused"
QUESTION = r"is this the REST interface of IPFS Cluster \(port 9094\)\?"


def pin(seed: int) -> dict[str, object]:
    """A pin as `/allocations` lists it."""
    root = folder(noise(seed, 1)).root
    return {"cid": str(root), "name": f"name/{seed}", "type": "pin", "mode": "recursive", "metadata": {}}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DIALS, "it does not answer"),
        ('Post "http://k:5001/api/v0/pin/ls?arg=x": connection refused', "its Kubo does not answer"),
        ("msgpack decode error [pos 0]: stream reset: connection closed: keepalive timeout", "it does not answer"),
        ("write /data/blocks/x: no space left on device", "its Kubo has no room left"),
        ("context deadline exceeded", "it took too long"),
        ("a short one", "a short one"),
        ("long " * 30, f"{('long ' * 12)}…"),
    ],
)  # fmt: skip
def test_errors_in_a_few_words(error: str, words: str) -> None:
    """What peers say in three hundred letters fits a column."""
    assert words == answers.plain(error)


def test_fewer_peers_than_must_prove_it_are_the_reason() -> None:
    """Two peers hold what five must prove: the reason is how many the cluster has."""
    wanted = pin(1) | {"replication_factor_min": -1, "replication_factor_max": -1}
    with Liar() as liar:
        liar.lie("/id", says_json({"cluster_peers": ["a", "b"]}))
        liar.lie("/health/alerts", says_json([]))
        liar.lie("/allocations/", says_json(wanted))
        liar.lie("/pins/", says_json({"peer_map": {one: {"peername": one, "status": "pinned"} for one in "ab"}}))
        with closing(opened(f"cluster+{liar.url}?min=5")) as store:
            status = store.status(folder(noise(1, 1)).root)
    assert (2, 5, True) == (status.pinned, status.due, status.short)
    assert ["the cluster has 2 peers, min=5"] == [
        copy.detail for copy in status.copies if copy.state is not PinState.PINNED
    ]


def test_a_list_that_breaks_off_is_no_list() -> None:
    """A peer that fails in the middle of its list says so in a trailer alone; what came before is not believed."""
    line = says_lines(pin(1))
    with Liar() as liar:
        liar.lie("/allocations", line)
        with closing(opened(f"cluster+{liar.url}")) as store:
            assert ["name/1"] == [one.name for one in store.pins()]
        (part,) = [b"".join(line(liar.requests[0]).parts)]
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Stream-Error\r\n\r\n"
        for trailer, whole in ((b"X-Stream-Error: \r\n", True), (b"X-Stream-Error: the datastore is ill\r\n", False)):
            body = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(part), part, trailer)
            liar.lie("/allocations", lambda _, body=body: Answer(raw=True, parts=[head + body]))  # type: ignore[misc]
            with closing(opened(f"cluster+{liar.url}")) as store:
                if whole:
                    assert ["name/1"] == [one.name for one in store.pins()]
                else:
                    with pytest.raises(Unavailable, match="the datastore is ill"):
                        list(store.pins())


def test_lists_of_all_peers_are_one() -> None:
    """A pin that only one peer knows of is listed; a peer that cannot be asked is named."""
    port = free_port()
    with Liar() as first, Liar() as second:
        first.lie("/allocations", says_lines(pin(1), pin(2)))
        second.lie("/allocations", says_lines(pin(2), pin(3)))
        with closing(opened(f"cluster+{first.url},{second.url}")) as store:
            assert ["name/1", "name/2", "name/3"] == [one.name for one in store.pins()]
            assert [] == store.warnings
        with closing(opened(f"cluster+http://127.0.0.1:{port},{first.url}")) as store:
            for _ in range(2):
                assert ["name/1", "name/2"] == [one.name for one in store.pins()]
            (line,) = store.warnings
    assert line.startswith(f"http://127.0.0.1:{port} did not answer")


def test_a_wrong_address_is_asked_about(cluster2: Cluster) -> None:
    """A Kubo, its gateway, the IPFS proxy and the pinning interface are no REST interface of Cluster."""
    peer = cluster2.peers[0]
    root = folder(noise(2, 1)).root
    for url in (peer.node.api, peer.node.gateway, peer.proxy, peer.psa):
        with closing(opened(f"cluster+{url}?kubo={peer.node.api}")) as store:
            with pytest.raises(Refused, match=QUESTION):
                list(store.pins())
            with pytest.raises(Refused, match=QUESTION):
                store.usage()
    for url in (peer.node.api, peer.node.gateway):
        address = parse(f"psa+{url}")
        assert address is not None
        with closing(PinningStore(address)) as service, pytest.raises(Refused, match="is this a pinning service"):
            service.status(root)


def test_a_proxy_that_nobody_named_and_that_never_answered_is_told_at_once() -> None:
    """That is refused, so not tried again; one that has answered before may come back."""
    cid, block = raw(b"x")
    crew = Crew(2, "test")
    with Liar() as liar:
        way = KuboWay(liar.url)
        reading = Reading([KuboWay(f"http://127.0.0.1:{free_port()}")], crew, "there", assumed=True)
        for question in (lambda: reading.get(cid), lambda: reading.has([cid])):
            with pytest.raises(Refused, match="kubo="):
                question()
        liar.lie("block/get", lambda _: Answer(200, parts=[block], length=len(block)))
        living = Reading([way], crew, "there", assumed=True)
        assert block == living.get(cid)
        liar.lie("", lambda _: Answer(503, length=0))
        with pytest.raises(StoreError) as caught:
            living.get(cid)
        assert not isinstance(caught.value, Refused)
        living.close()
    reading.close()
    crew.close()
