"""Who may ask a cluster, and what is believed of its answers."""

from __future__ import annotations

import base64
import io
import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lab.liar import Answer, Liar, Request
from lab.lies import says
from pinfold.errors import Corrupt, Incomplete, Refused, StoreError
from pinfold.ipld import car
from pinfold.seal.secret import Secret
from store.clusters import opened, repo
from store.dags import folder, noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.cluster import Cluster

PASSWORD = "a password nobody may read"  # noqa: S105  # of a cluster that lives for one test


def basic(user: str, password: str) -> Secret:
    """The header's value for a user and a password."""
    return Secret(b"Basic " + base64.b64encode(f"{user}:{password}".encode()))


def test_only_the_right_token_is_let_in(cluster_factory: Callable[..., Cluster]) -> None:
    """No token and a wrong one are refused at once, in words that tell neither; Cluster's own bearer tokens work."""
    cluster = cluster_factory(2, basic_auth=("agent", PASSWORD))
    dag = folder(noise(400, 20))
    text = repo(cluster.peers, wait=20)
    for authorization in (None, basic("agent", "wrong password"), Secret(b"Bearer wrong password")):
        with closing(opened(text, authorization)) as store:
            for action in (lambda: store.put(dag.blocks), lambda: store.pin(dag.root, "n"), lambda: list(store.pins())):
                with pytest.raises(Refused) as caught:
                    action()
                assert "token" in str(caught.value)
                assert "wrong password" not in str(caught.value) + repr(caught.value)
    with closing(opened(text, basic("agent", PASSWORD))) as store:
        store.put(dag.blocks)
        assert 2 == store.pin(dag.root, "named").pinned
    token = json.loads(cluster.peers[0].call("POST", "/token"))["token"]
    with closing(opened(repo(cluster.peers[:1]), Secret(f"Bearer {token}".encode()))) as store:
        assert ["named"] == [pin.name for pin in store.pins()]


def takes_all(request: Request) -> Answer:
    """A cluster's answer to a CAR that it lets fall."""
    body = request.body.partition(b"\r\n\r\n")[2]
    inner = body[: body.rindex(b"\r\n--")]
    (root,), blocks = car.read_car(io.BytesIO(inner))
    told = [{"name": "blocks.car", "cid": str(root), "bytes": sum(len(block.data) for block in blocks)}]
    return Answer(200, {"Content-Type": "application/json"}, [json.dumps(told).encode()])


def test_a_cluster_that_keeps_nothing_is_found_out(cluster2: Cluster) -> None:
    """It takes every CAR and says "pinned"; its Kubo is asked, and the pin is refused with what is missing."""
    first = cluster2.peers[0]
    dag = folder(noise(401, 30))
    with Liar(truth=first.rest) as liar:
        liar.lie("POST /add", takes_all)
        with closing(opened(f"cluster+{liar.url}?kubo={','.join(peer.node.api for peer in cluster2.peers)}")) as store:
            store.put(dag.blocks)
            with pytest.raises(Incomplete) as caught:
                store.pin(dag.root, "liar/one")
        assert dag.cids >= {*caught.value.missing}
        assert [] == [asked for asked in liar.asked if asked.startswith(f"POST /pins/{dag.root}")]


def test_a_cluster_that_keeps_the_nodes_and_no_leaf_is_found_out(cluster2: Cluster) -> None:
    """What this process has sent is believed only as far as a sample of it can be read back."""
    first = cluster2.peers[0]
    dag = folder(noise(402, 30))
    with Liar(truth=first.rest) as liar:
        text = f"cluster+{liar.url}?kubo={','.join(peer.node.api for peer in cluster2.peers)}"
        with closing(opened(text)) as store:
            store.put(block for block in dag.blocks if block[0] == dag.root)
            liar.lie("POST /add", takes_all)
            store.put(dag.blocks)
            with pytest.raises(Incomplete) as caught:
                store.pin(dag.root, "liar/two")
    assert set(dag.leaves) == {*caught.value.missing}


def test_a_kubo_that_gives_other_bytes_proves_nothing(cluster2: Cluster) -> None:
    """Nodes are hashed before they are walked."""
    first = cluster2.peers[0]
    dag = folder(noise(403, 5))
    with Liar(truth=first.node.api) as liar:
        liar.lie("block/get", says(b"other bytes"))
        with closing(opened(f"cluster+{first.rest}?kubo={liar.url}&wait=5")) as store:
            store.put(dag.blocks)
            with pytest.raises(Corrupt):
                store.pin(dag.root, "liar/three")


def test_an_answer_that_is_not_about_our_car_is_no_success(cluster2: Cluster) -> None:
    """Another root, or other sizes, mean that the CAR was not taken."""
    with Liar(truth=cluster2.peers[0].rest) as liar:
        for body in (b"[]", b"{}", b'[{"cid": "x", "bytes": 1}]', b"no JSON"):
            liar.lie("POST /add", says(body))
            with (
                closing(opened(f"cluster+{liar.url}?kubo={cluster2.peers[0].node.api}")) as store,
                pytest.raises(StoreError),
            ):
                store.put(folder(noise(404, 3)).blocks)
