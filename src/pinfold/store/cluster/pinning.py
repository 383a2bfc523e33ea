"""Pins in a cluster: ordered, watched until enough peers prove them, listed, dropped.

A peer proves a pin by the word "pinned", which it gives once its Kubo holds everything below the root: the
Kubo walked the DAG itself.  A Kubo that lacks a block looks for it at the other peers, and never says that
it found nothing, so every wait here has its end.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from pinfold.errors import StoreError
from pinfold.store.cluster import answers
from pinfold.store.cluster.endpoints import NotPinned, TooFewPeers, told
from pinfold.store.cluster.factors import EVERYWHERE
from pinfold.store.cluster.together import together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pinfold.ipld.cid import CID
    from pinfold.store.client import Client
    from pinfold.store.cluster.answers import Allocation, PeerState
    from pinfold.store.cluster.endpoints import Endpoints
    from pinfold.store.cluster.factors import Factors
    from pinfold.store.cluster.peers import Peers
    from pinfold.store.crew import Crew
    from pinfold.store.seam import PinStatus

PASSING: Final = "pinfold-passing/"
# How often a peer whose pin failed is told to try again.
_RECOVER_SECONDS: Final = 5.0
# A peer that is gone is not waited for as long as one that is at work.
_SILENT_SECONDS: Final = 10.0
_FIRST_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 1.0


class Pinning:
    """The pins of one cluster.  Safe from any thread."""

    def __init__(
        self,
        endpoints: Endpoints,
        peers: Peers,
        factors: Factors,
        *,
        crew: Crew,
        wait: float,
        name: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`wait`: seconds for enough peers to prove a pin; `crew`: by whom many questions are asked at once."""
        self._endpoints = endpoints
        self._peers = peers
        self._factors = factors
        self._crew = crew
        self._wait = wait
        self._name = name
        self._sleep = sleep
        self._dropped: set[CID] = set()
        self.silent: list[str] = []

    def all(self) -> Iterator[Allocation]:
        """What people pinned, in no order; passing pins are left out.  Raises StoreError.

        Whatever any peer knows of, for one that was just started lacks the latest.  It may know of a pin that was
        dropped meanwhile, too, which is left out only where this store dropped it.  `silent` are then the
        addresses that could not be asked.
        """
        lists, silent = self._endpoints.lines("/allocations", (("filter", "pin"),))
        self.silent = silent
        found: dict[CID, Allocation] = {}
        known: Counter[CID] = Counter()
        for lines in lists:
            pins = {pin.cid: pin for pin in (answers.allocation(line, self._name) for line in lines)}
            known.update(pins.keys())
            found = pins | found
        for pin in found.values():
            stale = known[pin.cid] < len(lists) and pin.cid in self._dropped
            if not stale and not pin.passing and not pin.name.startswith(PASSING):
                yield pin

    def find(self, root: CID) -> Allocation | None:
        """The pin of `root`, if any peer knows of one.  Raises StoreError."""
        try:
            return self._found(root)
        except NotPinned:
            return None

    def order(self, root: CID, name: str, base: Allocation | None) -> Allocation:
        """Make the cluster want `root` under `name`; `base`: a pin that shares much with it.  Raises StoreError.

        With `pin-update` a Kubo walks only what differs from `base`; but Cluster then copies where `base` is
        pinned, so that is used only where the two are wanted alike.
        """
        least = self._peers.least(self._wait)
        if base is not None and base.cid != root and self._alike(base, least, name):
            try:
                self._post(root, [("name", name), ("mode", "recursive"), ("pin-update", str(base.cid))])
                return self._found(root)
            except NotPinned:
                pass  # somebody dropped it just now
        query = [("name", name), ("mode", "recursive"), *_metadata(name)]
        try:
            self._post(root, [*query, *self._factors.query(least)])
        except TooFewPeers:
            # A peer went between the question and the order.
            self._post(root, [*query, *self._factors.query(1)])
        return self._found(root)

    def settle(self, pin: Allocation) -> PinStatus:
        """The status of a pin once enough peers prove it, or time is over.  Raises StoreError."""
        started = time.monotonic()
        busy = started
        recovered = 0.0
        pause = _FIRST_LOOK
        while True:
            states = self._peers.states(pin.cid)
            status = self._peers.status(pin, states)
            now = time.monotonic()
            if not status.short or now - started >= self._wait:
                return status
            if any(state.word in answers.WAITING or state.word in answers.BROKEN for state in states):
                busy = now
            elif now - busy >= _SILENT_SECONDS:
                return status
            if _broken(states) and now - recovered >= _RECOVER_SECONDS:
                recovered = now
                self.recover(pin.cid)
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK)

    def status(self, root: CID) -> PinStatus:
        """Where `root` is pinned, peer by peer.  Raises StoreError."""

        def ask(client: Client) -> tuple[Allocation, list[PeerState]]:
            # Both by the word of one peer that knows of it: another says of every peer that it is unpinned there.
            return self._allocation(client, root), self._peers.read(told(client, "GET", f"/pins/{root}"))

        try:
            return self._peers.status(*self._endpoints.attempt(ask, about_pin=root not in self._dropped))
        except NotPinned:
            return self._peers.absent(root)

    def recover(self, root: CID) -> None:
        """Tell the peers whose pin failed to try again.  Raises StoreError."""
        self._endpoints.json("POST", f"/pins/{root}/recover")

    def drop(self, roots: Iterable[CID]) -> None:
        """Make the cluster want these roots no longer, many at once.  Raises StoreError, after all were tried."""
        errors = [error for error in together(self._crew, self._drop, roots) if error is not None]
        if errors:
            raise errors[0]

    def dropping(self) -> bool:
        """Whether a peer has still to unpin what is wanted no longer.  Raises StoreError."""
        return any(self._endpoints.lines("/pins", (("filter", "unpinning,unpin_queued"),))[0])

    def _drop(self, root: CID) -> StoreError | None:
        try:
            self._endpoints.attempt(lambda client: told(client, "DELETE", f"/pins/{root}"), about_pin=True)
        except NotPinned:
            return None
        except StoreError as error:
            return error
        self._dropped.add(root)
        return None

    def _post(self, root: CID, query: list[tuple[str, str]]) -> None:
        self._dropped.discard(root)
        self._endpoints.json("POST", f"/pins/{root}", query)

    def _found(self, root: CID) -> Allocation:
        # Of a pin dropped just now, whoever has not heard of that still knows.
        about_pin = root not in self._dropped
        return self._endpoints.attempt(lambda client: self._allocation(client, root), about_pin=about_pin)

    def _allocation(self, client: Client, root: CID) -> Allocation:
        return answers.allocation(told(client, "GET", f"/allocations/{root}"), self._name)

    def _alike(self, base: Allocation, least: int, name: str) -> bool:
        wanted = tuple(int(value) for _, value in self._factors.query(least))
        if base.passing or (base.lowest, base.highest) != wanted or base.metadata != dict(_told(name)):
            return False
        return base.highest == EVERYWHERE or (
            len(base.peers) >= self._factors.least and self._peers.members().issuperset(base.peers)
        )


def _broken(states: list[PeerState]) -> bool:
    return any(state.word in answers.BROKEN for state in states)


def _told(name: str) -> list[tuple[str, str]]:
    """What a pin carries beside its name, for people who sort the pins of a cluster: repository and source."""
    parts = name.split("/")
    return [("pinfold", "/".join(parts[1:3]))] if parts[0] == "pinfold" and len(parts) > 2 else []


def _metadata(name: str) -> list[tuple[str, str]]:
    return [(f"meta-{key}", value) for key, value in _told(name)]
