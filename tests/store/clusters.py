"""Stores over the laboratory's clusters, as an operator would write their addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinfold.store.address import parse
from pinfold.store.cluster import ClusterStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.cluster import Peer
    from pinfold.seal.secret import Secret


def repo(peers: Sequence[Peer], *, reading: Sequence[Peer] | None = None, **options: object) -> str:
    """REPO of a cluster whose blocks are read from the Kubos of `reading`, of all peers by default."""
    options.setdefault("kubo", ",".join(peer.node.api for peer in (peers if reading is None else reading)))
    asked = "&".join(f"{option}={value}" for option, value in options.items() if value)
    return f"cluster+{','.join(peer.rest for peer in peers)}?{asked}"


def opened(text: str, authorization: Secret | None = None) -> ClusterStore:
    """The store that REPO names, without the layer that tries again."""
    address = parse(text)
    assert address is not None
    return ClusterStore(address, authorization=authorization)


def allocations(peer: Peer) -> list[dict[str, Any]]:
    """What the cluster wants pinned, passing pins too, as this peer knows it."""
    return peer.stream("/allocations")
