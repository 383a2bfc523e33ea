"""Our pinning service keeps all nine groups of the compliance tool's checks; IPFS Cluster's port keeps some of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from peers.psa import GROUPS, Check, run
from pinfold.ipld.cid import CID
from pinning.served import Client, alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.cluster import Cluster
    from lab.kubo import Node

NO_ACCOUNTS = ["401", "a Failure document"]
OTHER_STATUS = ["POST /pins answers 202", "PinStatus: delegates"]
# Cluster 1.1.6 as it is shipped knows no accounts, answers 200 to a new pin, names no delegates where its Kubo has no
# public address, takes the CID for the id, and lists in no order.
CLUSTER = {
    "no_token": NO_ACCOUNTS,
    "bad_token": NO_ACCOUNTS,
    "add": OTHER_STATUS,
    "add_and_delete": OTHER_STATUS,
    "list_all": ["PinStatus: delegates"],
    "replace_pin": ["POST /pins answers 202", "POST /pins/ID answers 202", "PinStatus: delegates"],
    "match_names": OTHER_STATUS,
    "pagination": [*OTHER_STATUS, "no pin on two pages"],
}


def test_nine_groups_hold(shared_node: Node, tmp_path: Path) -> None:
    """Every group holds on our service: what it pins is in a Kubo that the service asks for every pin."""

    def new_block() -> str:
        return shared_node.run("block", "put", "--cid-codec=raw", input=os.urandom(64)).decode().strip()

    with alone(tmp_path, shared_node.gateway) as service:
        assert len(GROUPS) == 9
        assert {} == run(Check(service.client, new_block))


def test_eight_groups_hold_for_what_nobody_has(tmp_path: Path) -> None:
    """With bytes that nobody has, as the tool pins them, one group finds no pin: ours does not tell a lie."""
    with alone(tmp_path) as service:
        found = run(Check(service.client, lambda: str(CID.raw(os.urandom(32)))))
    ways = ["exact", "iexact", "ipartial", "partial"]
    assert {"match_names": [f"found by {way}" for way in ways]} == found


def test_what_cluster_keeps(cluster_factory: Callable[..., Cluster]) -> None:
    """IPFS Cluster's own port differs in known ways, and in no other."""
    client = Client(cluster_factory(1).peers[0].psa, "any")
    assert CLUSTER == run(Check(client, lambda: str(CID.raw(os.urandom(32)))))
