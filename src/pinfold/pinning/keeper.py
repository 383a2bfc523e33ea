"""Pins in the store as the requests want them: made, named, dropped; one root at a time.

Order, so that no crash loses anything: the row in `held`, the store's pin, the request's "pinned"; and on the
way back the request, the store's pin, the row.  Whatever is left half done is found by `settle` at the next start.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from pinfold.ipld.cid import CID
from pinfold.pinning.filters import Status
from pinfold.pinning.held import Held
from pinfold.store.seam import PinState

if TYPE_CHECKING:
    from pinfold.pinning.held import Holdings
    from pinfold.pinning.requests import PinRequest, Requests
    from pinfold.store.seam import PinStatus, Store

_LOCKS: Final = 64


class Keeper:
    """The only one here that pins and unpins.  Safe from any thread: roots have locks."""

    def __init__(self, store: Store, requests: Requests, held: Holdings) -> None:
        self._store = store
        self._requests = requests
        self._held = held
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def pin(self, request: PinRequest) -> PinStatus | None:
        """Pin what a request asks for, if all of it is here; None if somebody dropped the request meanwhile.

        Raises Incomplete, and what else the store's pin raises.
        """
        root = request.wanted.root
        with self._lock(root):
            if not self._requests.is_there(request):
                return None
            held = self._held.get(root)
            if held is None or held.theirs:
                theirs = self._store.status(root)
                if theirs.pinned:
                    self._held.keep(root, Held("", theirs=True))
                    self._requests.done(request, Status.PINNED)
                    return theirs
            label = self._held.label(root) or request.wanted.label
            self._held.keep(root, Held(label, theirs=False))
            status = self._store.pin(root, label)
            if not status.short:
                self._requests.done(request, Status.PINNED)
            return status

    def settle(self) -> int:
        """Unpin what no request wants any more, rename what its oldest request calls otherwise; returns how many.

        Raises what the store raises; what was not settled then is found again by the next call.
        """
        unsettled = self._held.unsettled()
        for root in unsettled:
            with self._lock(root):
                self._settle(root)
        return len(unsettled)

    def _settle(self, root: CID) -> None:
        held = self._held.get(root)
        if held is None:
            return
        if self._held.is_unwanted(root):
            if not held.theirs:
                self._store.unpin([root])
            self._held.drop(root)
            return
        label = self._held.pinned_label(root)
        if label is not None and label != held.label and not held.theirs:
            self._store.pin(root, label)
            self._held.keep(root, Held(label, theirs=False))

    def audit(self) -> int:
        """Queue again what the store has pinned no more, whoever unpinned it; returns how many roots.

        Raises what the store raises.
        """
        # Asked for first: what is pinned while the store lists its pins must not pass for lost.
        told = self._requests.pinned_roots()
        there = {CID(1, pin.root.codec, pin.root.hash_code, pin.root.digest) for pin in self._store.pins()}
        lost = 0
        for root in told - there:
            with self._lock(root):
                if not any(copy.state is PinState.PINNED for copy in self._store.status(root).copies):
                    self._held.drop(root)
                    self._requests.again([root])
                    lost += 1
        return lost

    def _lock(self, root: CID) -> threading.Lock:
        return self._locks[hash(root) % _LOCKS]
