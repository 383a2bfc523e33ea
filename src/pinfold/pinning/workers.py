"""The threads behind the service: some fetch what is queued, one tidies up.

Each request is tried at once, then after 5 seconds, then after twice that, up to an hour; new ones go first.  What
nobody has stays queued until `Limits.days` are over.

No tenant takes the last free worker, and several cannot keep them all: a free one goes to whoever has the fewest and
has waited longest, and an attempt that had its turn (`Limits.turn`) ends when a tenant without any waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from pinfold.errors import Full, Incomplete, Malformed, PinfoldError, Refused, StoreError, Unavailable
from pinfold.pinning import origins
from pinfold.pinning.budget import Budget, Unfit, Unreached, Yielded
from pinfold.pinning.fetch import AT_ONCE, fetch
from pinfold.pinning.filters import Status
from pinfold.pinning.moments import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.ipld.cid import CID
    from pinfold.pinning.budget import Limits
    from pinfold.pinning.keeper import Keeper
    from pinfold.pinning.requests import PinRequest, Requests
    from pinfold.store.seam import Store

_log = logging.getLogger(__name__)
_FIRST_WAIT: Final = 5.0
_LONGEST_WAIT: Final = 3600.0
_TIDY: Final = 60.0
_AUDIT: Final = 3600.0
_JOIN: Final = 60.0


class Workers:
    """A bounded number of threads; `close` ends them."""

    def __init__(
        self,
        store: Store,
        requests: Requests,
        keeper: Keeper,
        limits: Limits,
        *,
        count: int = 4,
        everyone: Sequence[str] = (),
        private: bool = False,
    ) -> None:
        """`everyone`: origins that are asked for every pin; `private`: whether origins may be in private networks."""
        self._store = store
        self._requests = requests
        self._keeper = keeper
        self._limits = limits
        self._most_each = max(1, count - 1)
        self._everyone = tuple(everyone)
        self._private = private
        self._stop = threading.Event()
        self._news = threading.Condition()
        self._under_way: dict[CID, Budget] = {}
        self._tenants: Counter[str] = Counter()
        self._served: dict[str, float] = {}
        self._count = count
        self._untidy = threading.Event()
        names = [f"pin-{number}" for number in range(count)]
        self._threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        self._threads.append(threading.Thread(target=self._tidy, name="pin-tidy", daemon=True))

    def start(self) -> None:
        """Go on where the last process stopped."""
        self._requests.resume()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End: what is under way is broken off, and gone on with at the next start."""
        self._stop.set()
        self._untidy.set()
        self.wake()
        until = time.monotonic() + _JOIN
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(until - time.monotonic(), 0.0))

    def wake(self) -> None:
        """There is something new in the queue."""
        # Workers look by themselves each second: nobody need wait for one that waits for the database.
        if self._news.acquire(timeout=1.0):
            try:
                self._news.notify_all()
            finally:
                self._news.release()

    def tidy(self) -> None:
        """Something was dropped."""
        self._untidy.set()

    def progress(self, root: CID) -> Budget | None:
        """What was fetched of a root so far, where that is under way."""
        return self._under_way.get(root)

    def wait_for(self, request: PinRequest, seconds: float) -> None:
        """Return when a request's first attempt is over, or after some seconds."""
        until = time.monotonic() + seconds
        with self._news:
            while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
                found = self._requests.get(request.tenant, request.id)
                if found is None or found.attempts or found.status in {Status.PINNED, Status.FAILED}:
                    return
                self._news.wait(left)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                request = self._claim()
                if request is not None:
                    try:
                        self._attempt(request)
                    finally:
                        self._leave(request)
            except StoreError:
                _log.exception("the queue of the pinning service cannot be read or written")
                self._stop.wait(1.0)

    def _claim(self) -> PinRequest | None:
        """The next request; None after a second without any."""
        with self._news:
            roots = [bytes(root) for root in self._under_way]
            waiting = [tenant for tenant in self._requests.waiting(roots) if self._tenants[tenant] < self._most_each]
            request = self._requests.claim(roots, min(waiting, key=self._rank)) if waiting else None
            if request is None:
                self._news.wait(1.0)
                return None
            self._under_way[request.wanted.root] = Budget(self._limits, self._stop, self._others_wait)
            self._tenants[request.tenant] += 1
            self._served[request.tenant] = time.monotonic()
            return request

    def _rank(self, tenant: str) -> tuple[int, float]:
        return self._tenants[tenant], self._served.get(tenant, float("-inf"))

    def _others_wait(self) -> bool:
        """Whether all workers are taken and a tenant that has none waits."""
        roots = [bytes(root) for root in list(self._under_way)]
        try:
            return len(roots) >= self._count and any(not self._tenants[one] for one in self._requests.waiting(roots))
        except StoreError as error:
            _log.warning("whether others wait for a worker is not known now: %s", error)
            return False

    def _leave(self, request: PinRequest) -> None:
        with self._news:
            self._under_way.pop(request.wanted.root, None)
            self._tenants[request.tenant] -= 1
            if not self._tenants[request.tenant]:
                del self._tenants[request.tenant]
            self._news.notify_all()
        self._untidy.set()

    def _attempt(self, request: PinRequest) -> None:
        """One attempt, and what came of it written down."""
        try:
            try:
                self._bring(request)
            except Yielded as error:
                self._done(request, Status.QUEUED, str(error), self._requests.now(), tried=0)
            except (Unfit, Refused, Malformed) as error:
                self._done(request, Status.FAILED, str(error))
            except Full as error:
                _log.warning("pin %s waits: %s", request.wanted.cid, error)
                self._again(request, "no room left here for now")
            except PinfoldError as error:
                self._again(request, str(error))
        except Exception:  # noqa: BLE001  # a worker outlives what nobody thought of: it is told, and tried again
            _log.exception("pin request %s", request.id)
            self._again(request, "an error inside of the service; its log tells more")

    def _bring(self, request: PinRequest) -> None:
        root = request.wanted.root
        with self._store.session():
            try:
                status = self._keeper.pin(request)
            except Incomplete:
                self._fetch(request)
                status = self._keeper.pin(request)
        if status is not None and status.short:
            lacking = "; ".join(f"{copy.where}: {copy.detail or copy.state}" for copy in status.copies)
            raise Unreached(f"{status.pinned} of {status.due} copies of {root} are proved ({lacking})")

    def _fetch(self, request: PinRequest) -> None:
        urls, wrong = origins.usable(request.wanted.origins, private=self._private)
        own, _ = origins.usable(self._everyone, private=True)
        clients = [origins.client(url, private=self._private, connections=AT_ONCE) for url in urls]
        clients += [origins.client(url, private=True, connections=AT_ONCE) for url in own if url not in urls]
        try:
            fetch(request.wanted.root, clients, self._store, self._under_way[request.wanted.root])
        except Yielded:
            raise
        except Unreached as error:
            raise Unreached("; ".join([str(error), *wrong])) from error
        finally:
            for client in clients:
                client.close()

    def _again(self, request: PinRequest, why: str) -> None:
        age = (self._requests.now() - request.created) / SECOND / 86400
        if age > self._limits.days:
            self._done(request, Status.FAILED, f"given up after {self._limits.days:g} days: {why}")
            return
        wait = min(_FIRST_WAIT * 2 ** min(request.attempts, 12), _LONGEST_WAIT)
        due = self._requests.now() + int(wait * SECOND) if not self._stop.is_set() else 0
        self._done(request, Status.QUEUED, why, due)

    def _done(self, request: PinRequest, status: Status, why: str, due: int = 0, *, tried: int = 1) -> None:
        """Write down what came of an attempt, however long that takes: else it would be under way for ever."""
        while True:
            try:
                self._requests.done(request, status, why, due, tried=tried)
            except (Unavailable, Full) as error:
                _log.warning("what came of pin %s cannot be written down, which is tried again: %s", request.id, error)
                if self._stop.wait(1.0):
                    raise
            else:
                return

    def _tidy(self) -> None:
        """Unpin and rename when something changed, look after lost pins now and then."""
        audited = float("-inf")
        while not self._stop.is_set():
            try:
                if time.monotonic() - audited > _AUDIT:
                    if self._keeper.audit():
                        self.wake()
                    audited = time.monotonic()
                self._keeper.settle()
            except PinfoldError as error:
                _log.warning("the pins of the store could not be put in order, which is tried again: %s", error)
            except Exception:  # noqa: BLE001  # as above
                _log.exception("the pins of the store could not be put in order, which is tried again")
            self._untidy.wait(_TIDY)
            self._untidy.clear()
