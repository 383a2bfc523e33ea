"""Every store there is, made empty, for the one contract they all keep."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lab.process import wait_until
from pinfold.errors import Unavailable
from pinfold.gateway import gateway
from pinfold.pinning import Options
from pinfold.seal.secret import Secret
from pinfold.store import Counting, Fault, Faulty, FolderStore, MemoryStore, Mirror, Retry
from pinfold.store.address import parse
from pinfold.store.cluster import ClusterStore
from pinfold.store.kubo import KuboStore
from pinfold.store.pinning import PinningStore
from pinning.served import running, served
from store.dags import hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.cluster import Cluster
    from lab.kubo import Node
    from pinfold.store import Store
    from pinfold.store.address import Address


def _stumbling() -> Store:
    """A store that fails now and then, behind the layer that tries again."""
    every = frozenset(range(1, 500, 3))
    methods = ("put", "get", "has", "pin", "unpin", "pins", "status", "usage")
    faults = [Fault(method, every, Unavailable("not now")) for method in methods]
    return Retry(Faulty(MemoryStore(), *faults), sleep=lambda _seconds: None)


STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _path: MemoryStore(),
    "folder": lambda path: FolderStore.create(path / "store"),
    "counting": lambda _path: Counting(MemoryStore()),
    "retry": lambda _path: _stumbling(),
    "mirror": lambda path: Mirror([MemoryStore("one"), FolderStore.create(path / "two")]),
    "layers": lambda path: Retry(Counting(FolderStore.create(path / "store"))),
}


# Those that need real programs, by the fixture that makes them.
FAR = {"kubo": "kubo_store", "cluster": "cluster_store", "pinning service": "pinning_store"}


@pytest.fixture(params=[*STORES, *(pytest.param(name, marks=pytest.mark.slow) for name in FAR)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    if request.param in FAR:
        yield request.getfixturevalue(FAR[request.param])
        return
    made = STORES[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture
def kubo_store(node: Node) -> Iterator[Store]:
    """A fresh node."""
    made = KuboStore(far(f"kubo+{node.api}"))
    yield made
    made.close()


@pytest.fixture
def cluster_store(cluster2: Cluster) -> Iterator[Store]:
    """A cluster of two, with the pins of other tests gone."""
    empty(cluster2)
    urls = ",".join(peer.rest for peer in cluster2.peers)
    kubos = ",".join(peer.node.api for peer in cluster2.peers)
    made = ClusterStore(far(f"cluster+{urls}?kubo={kubos}&wait=20"))
    yield made
    made.close()


def empty(cluster: Cluster) -> None:
    """Unpin everything on all peers, and let the nodes forget it."""
    gone = {str(one["cid"]) for one in cluster.peers[0].stream("/allocations")}
    for cid in gone:
        cluster.peers[0].call("DELETE", f"/pins/{cid}")
    for peer in cluster.peers:
        wait_until(lambda peer=peer: not peer.node.pins().keys() & gone, what="pins to go")
        peer.node.gc()


@pytest.fixture
def pinning_store(tmp_path: Path) -> Iterator[Store]:
    """A folder, and a pinning service that fetches from it: by itself a service takes no blocks."""
    folder, kept = FolderStore.create(tmp_path / "folder"), FolderStore.create(tmp_path / "kept")
    with (
        closing(gateway(folder)) as origin,
        closing(gateway(kept)) as door,
        served(origin) as origin_url,
        served(door) as door_url,
        running(kept, tmp_path / "service", Options(private_origins=True, patience=5)) as (_, client),
    ):
        address = f"psa+{client.url}?origins={origin_url}&gateway={door_url}&wait=5"
        token = Secret(f"Bearer {client.token}".encode())
        made = Mirror([folder, PinningStore(far(address), authorization=token)])
        yield made
        made.close()


def far(text: str) -> Address:
    """The address of a far store."""
    found = parse(text)
    assert found is not None
    return found


@pytest.fixture(params=["memory", "folder", "mirror", pytest.param("kubo", marks=pytest.mark.slow)])
def collecting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that collects garbage, empty but for one small pin."""
    made = request.getfixturevalue("kubo_store") if request.param == "kubo" else STORES[request.param](tmp_path)
    hold(made)
    yield made
    made.close()
