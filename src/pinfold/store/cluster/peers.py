"""What is known of a cluster's peers: who is there, who was, and what each says of a pin."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Final

from pinfold.store.cluster import answers
from pinfold.store.cluster.factors import EVERYWHERE
from pinfold.store.seam import CopyStatus, PinState, PinStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinfold.ipld.cid import CID
    from pinfold.store.cluster.answers import Allocation, PeerState
    from pinfold.store.cluster.endpoints import Endpoints
    from pinfold.store.cluster.factors import Factors

_METRIC_STEP: Final = 0.5
_SILENT: Final = "it does not answer"
# What a peer's word for a pin means, where the state does not say so already.
_WORDS: Final = {
    "pinned": "",
    "pinning": "",
    "pin_queued": "it has other pins to make first",
    "pin_error": "it could not",
    "unexpectedly_unpinned": "somebody unpinned it in this peer's Kubo",
    "unpinned": "it has not heard of it yet",
}


class Peers:
    """The peers of one cluster.  Safe from any thread."""

    def __init__(
        self, endpoints: Endpoints, factors: Factors, name: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`name`: how people call the store; `sleep` takes seconds."""
        self._endpoints = endpoints
        self._factors = factors
        self._name = name
        self._sleep = sleep
        self._lock = Lock()
        self._met: dict[str, str] = {}

    def members(self) -> set[str]:
        """The IDs of the peers that show signs of life.  Raises StoreError."""
        found = answers.members(self._endpoints.json("GET", "/id"), self._name)
        with self._lock:
            for peer in found:
                self._met.setdefault(peer, peer)
        return found

    def lost(self) -> dict[str, str]:
        """Peers that showed signs of life once and do so no more: ID to name.  Raises StoreError.

        A peer that is gone vanishes from the cluster's list within seconds, and with it from what "all peers"
        means: so those that were met by this store are remembered, and the cluster's alerts are asked for others.
        """
        alerts = answers.lost(self._endpoints.json("GET", "/health/alerts") or [], self._name)
        there = self.members()
        with self._lock:
            for peer, name in alerts.items():
                if self._met.get(peer, peer) == peer:
                    self._met[peer] = name
            return {peer: name for peer, name in self._met.items() if peer not in there}

    def rooms(self) -> dict[str, int]:
        """Free bytes of each peer that pins can be put on now.  Raises StoreError."""
        return answers.rooms(self._endpoints.json("GET", "/monitor/metrics/freespace"), self._name)

    def least(self, seconds: float) -> int:
        """For how few peers Cluster is to make a pin: as many as must prove it, fewer where there are no more.

        Cluster puts pins only on peers whose free space it has been told, which a peer that has just joined
        does within half a minute: that is waited for, up to `seconds`, as long as enough peers are there at all.
        """
        wanted = self._factors.least
        if EVERYWHERE in {wanted, self._factors.most}:
            self.members()
            return wanted
        deadline = time.monotonic() + seconds
        while (ready := len(self.rooms())) < wanted:
            if len(self.members()) < wanted or time.monotonic() > deadline:
                return max(ready, 1)
            self._sleep(_METRIC_STEP)
        return wanted

    def states(self, root: CID) -> list[PeerState]:
        """What each peer says of a pin; those it was not given to are left out.  Raises StoreError."""
        return self.read(self._endpoints.json("GET", f"/pins/{root}"))

    def read(self, told: object) -> list[PeerState]:
        """The same, from a peer's answer.  Raises Refused."""
        found = answers.states(told, self._name)
        with self._lock:
            self._met.update((state.peer, state.name) for state in found if state.name != state.peer)
        return [state for state in found if state.word != answers.REMOTE]

    def status(self, pin: Allocation, states: list[PeerState]) -> PinStatus:
        """All copies of a pin, with the peers that ought to hold one and say nothing.  Raises StoreError."""
        lost = self.lost()
        copies = [self._copy(state, lost) for state in states]
        seen = {state.peer for state in states}
        wanted = lost if pin.highest == EVERYWHERE else {peer: lost.get(peer, peer) for peer in pin.peers}
        for peer, name in sorted(wanted.items(), key=lambda item: item[1]):
            if peer not in seen:
                copies.append(CopyStatus(self._where(name), PinState.FAILED, detail=_SILENT))
        needed = self._factors.needed(len(copies))
        if len(copies) < needed:
            few = "1 peer" if len(copies) == 1 else f"{len(copies)} peers"
            copies.append(CopyStatus(self._name, PinState.ABSENT, detail=f"the cluster has {few}, min={needed}"))
        return PinStatus(pin.cid, tuple(copies), wanted=needed)

    def absent(self, root: CID) -> PinStatus:
        """The status of what is no pin."""
        return PinStatus(root, (CopyStatus(self._name, PinState.ABSENT),), wanted=self._factors.needed(1))

    def _copy(self, state: PeerState, lost: dict[str, str]) -> CopyStatus:
        if state.word == answers.SILENT:
            detail = _SILENT
        elif state.error:
            detail = answers.plain(state.error)
        else:
            detail = _WORDS.get(state.word, state.word)
        # The cluster wants it there, so a peer that does not know of it yet will.
        found = PinState.PINNING if state.state is PinState.ABSENT else state.state
        name = lost.get(state.peer, state.name) if state.name == state.peer else state.name
        return CopyStatus(self._where(name), found, state.since if found is PinState.PINNED else "", detail)

    def _where(self, peer: str) -> str:
        return f"{self._name} {peer}"
