"""Our pinning service keeps all nine groups of the compliance tool's checks; what IPFS Cluster's keeps is told too."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from peers.psa import GROUPS, Check, run
from pinfold.ipld.cid import CID
from pinfold.pinning import Options
from pinfold.store import FolderStore
from pinning.served import Client, running

if TYPE_CHECKING:
    from pathlib import Path

    from lab.cluster import Cluster
    from lab.kubo import Node


def test_nine_groups_hold(shared_node: Node, tmp_path: Path) -> None:
    """Every group holds on our service: what it pins comes from a Kubo that the service asks for every pin."""

    def new_block() -> str:
        block = os.urandom(64)
        return shared_node.run("block", "put", "--cid-codec=raw", input=block).decode().strip()

    store = FolderStore.create(tmp_path / "store")
    options = Options(origins=(shared_node.gateway,), patience=20.0)
    with running(store, tmp_path / "service", options) as (_, client):
        assert len(GROUPS) == 9
        assert {} == run(Check(client, new_block))
    store.close()


# What the compliance tool finds as well: Cluster 1.1.6 knows no accounts unless it is told some, takes the CID for the
# id, and answers 200 to a new pin.
CLUSTER = {}


def test_what_cluster_keeps(cluster_factory: object) -> None:
    """IPFS Cluster's own port differs in known ways, and in no other."""
    cluster = cluster_factory(1)
    client = Client(cluster.peers[0].psa, "any")
    found = run(Check(client, lambda: str(CID.raw(hashlib.sha256(os.urandom(32)).digest()))))
    assert CLUSTER == found
