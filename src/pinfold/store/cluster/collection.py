"""Collecting garbage: every peer's Kubo frees what no pin reaches, when the cluster is told to.

Safe beside backups: what they send lies under passing pins.  A cluster tells which blocks went where, and no
bytes: those are the difference in what the Kubos that are named for reading hold, before and after.

Source: IPFS Cluster 1.1.6, `POST /ipfs/gc`, api/types.go (GlobalRepoGC), cluster.go (RepoGC).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pinfold.errors import Refused, Unavailable
from pinfold.store.cluster import answers
from pinfold.store.seam import Collected

if TYPE_CHECKING:
    from pinfold.store.cluster.endpoints import Endpoints
    from pinfold.store.cluster.pinning import Pinning
    from pinfold.store.cluster.reading import Reading

# Peers collect one after the other, and answer when all are done.
GC_SECONDS: Final = 6 * 3600.0
# Three million blocks.
_MOST: Final = 256 << 20
_LOOK: Final = 0.2


class Collection:
    """One collection in one cluster."""

    def __init__(self, endpoints: Endpoints, pinning: Pinning, reading: Reading, *, wait: float, name: str) -> None:
        """`wait`: seconds for the peers to unpin what was dropped."""
        self._endpoints = endpoints
        self._pinning = pinning
        self._reading = reading
        self._wait = wait
        self._name = name

    def run(self, *, dry_run: bool) -> tuple[Collected, list[str]]:
        """What was freed, each copy of a block counted, and what went wrong at some of the peers.

        Bytes, and what is live, count the Kubos that can be asked; 0 where none can, or where nobody knows.
        Raises Refused for a dry run, Unavailable where no peer collected.
        """
        if dry_run:
            raise Refused(f"{self._name} cannot tell what it would free: IPFS Cluster knows no rehearsal")
        self._settle()
        before = self._reading.stored()
        freed = answers.freed(
            self._endpoints.json("POST", "/ipfs/gc", timeout=GC_SECONDS, within=GC_SECONDS, most=_MOST), self._name
        )
        told = [f"{self._name} {one.name} did not collect: {answers.plain(one.error)}" for one in freed if one.error]
        if len(told) == len(freed):
            raise Unavailable("; ".join(told) or f"{self._name} has no peer that collects")
        after = self._reading.stored()
        blocks, live = after or (0, 0)
        size = max(before[1] - live, 0) if before is not None and after is not None else 0
        return Collected(sum(one.blocks for one in freed), size, blocks, live), told

    def _settle(self) -> None:
        """Wait until the peers have unpinned what was dropped just now."""
        deadline = time.monotonic() + self._wait
        while self._pinning.dropping() and time.monotonic() < deadline:
            time.sleep(_LOOK)
