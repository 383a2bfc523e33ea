"""What `pinfold serve` serves: doors built over the store that settings name, run, and closed in the right order.

Order at the end: answers first (the server), then the doors and what they fetch, then the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pinfold import __version__
from pinfold.errors import Corrupt, Malformed, Missing, StoreError, UsageError
from pinfold.ipld import CID
from pinfold.serving import Address, App, Route, Routes
from pinfold.serving.health import Health
from pinfold.serving.logs import shown
from pinfold.serving.metrics import Metrics
from pinfold.serving.own import Readiness, alive, front, reading
from pinfold.serving.server import Server, listen
from pinfold.store import PlainFolder, ReadOnly, address
from pinfold.store.layers import Layer
from pinfold.wiring.guarding import Guarded
from pinfold.wiring.stores import place
from pinfold.wiring.stores import store as opened_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pinfold.config import Settings
    from pinfold.pinning import PinningService
    from pinfold.serving import Limits
    from pinfold.serving.logs import Log
    from pinfold.serving.server import TLS, Stopped
    from pinfold.store.seam import Store

# A block every store can be asked about, whether it has it or not: the empty one.
_EMPTY: Final = CID.raw(hashlib.sha256().digest())
# Clients try again themselves: six attempts held each for 19 seconds.  One more is for a connection that was dropped.
_ATTEMPTS: Final = 2
# Seconds for one block: of a node that searches nowhere, and of stores that may have to.
_NEAR: Final = 10.0
_SEARCHING: Final = 45.0


@dataclass(frozen=True, slots=True)
class Doors:
    """Which doors there are.

    `records`: folder of signed IPNS records; `refuse`: file of CIDs that are never served, one a line;
    `pinning`: folder of the pinning service's own data, None for no service; `public_url`: where clients reach it;
    `origins`: gateways it asks for every pin; `private_origins`: whether clients may name private addresses.
    """

    gateway: bool = True
    trustless_only: bool = False
    records: Path | None = None
    refuse: Path | None = None
    pinning: Path | None = None
    public_url: str = ""
    origins: tuple[str, ...] = ()
    private_origins: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where to listen: addresses of the doors, `tls` for them, and one for /metrics alone, if it is not among them."""

    doors: tuple[Address, ...]
    tls: TLS | None = None
    metrics: Address | None = None


class Watched(Layer):
    """Counts what is read for /metrics, and how long it took."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(("gets", "got_bytes", "missing", "corrupt", "errors"), 0))
        self._seconds = 0.0

    def get(self, cid: CID) -> bytes:
        """Count `gets`, and `got_bytes` or what went wrong."""
        began = time.monotonic()
        told = {"gets": 1}
        try:
            block = self._store.get(cid)
            told["got_bytes"] = len(block)
        except Missing:
            told["missing"] = 1
            raise
        except Corrupt:
            told["corrupt"] = 1
            raise
        except StoreError:
            told["errors"] = 1
            raise
        finally:
            with self._lock:
                self._counts.update(told)
                self._seconds += time.monotonic() - began
        return block

    def counts(self) -> dict[str, float]:
        """All counts so far."""
        with self._lock:
            return {**self._counts, "get_seconds": self._seconds}


@dataclass(slots=True)
class Served:
    """The doors, and what watches over them.

    `health`: of the store; `store_counts`: counters by name; `pin_counts`: pin requests by status, where there is a
    pinning service; `words`: what is served, for people.
    """

    health: Health
    store_counts: Callable[[], Mapping[str, float]]
    routes: list[Route] = field(default_factory=list)
    pin_counts: Callable[[], Mapping[str, float]] | None = None
    words: list[str] = field(default_factory=list)

    def front(self) -> list[str]:
        """The lines of the page at /."""
        return [f"pinfold {__version__}: encrypted, verifiable backups on IPFS", "", *self.words]


def run(
    settings: Settings,
    doors: Doors,
    places: Places,
    limits: Limits,
    log: Log,
    ready: Callable[[list[str], list[str]], None],
) -> Stopped:
    """Serve until SIGTERM or SIGINT.

    `ready` is called with the URLs of the doors and of the metrics when requests are taken.  Raises UsageError,
    ConfigError and StoreError before that, PinfoldError where an address cannot be had.
    """
    with contextlib.ExitStack() as stack:
        bound = [listen(one, limits, places.tls) for one in places.doors]
        apart = [] if places.metrics is None else [listen(places.metrics, limits)]
        for one in (*bound, *apart):
            stack.callback(one.close)
        urls = [url for one in bound for url in one.urls]
        doors = dataclasses.replace(doors, public_url=doors.public_url or urls[0])
        made = stack.enter_context(served(settings, doors, lambda reason, cause: _tell(log, reason, cause)))
        app = App(limits, observers := [log.observe])
        metrics = _metrics(app, made)
        observers.append(metrics.observe)
        own = _own(app, made)
        figures = Route("/metrics", reading(metrics.door), "own", exact=True, own=True)
        page = Route("/", reading(front(made.front())), "own", exact=True, own=True)
        public = Routes([*made.routes, *own, page, *([] if apart else [figures])])
        server = Server(app, [*((one, public) for one in bound), *((one, Routes([*own, figures])) for one in apart)])

        def begin() -> None:
            ready(urls, [url for one in apart for url in one.urls])
            made.health.doubt()  # lest it be the first client who finds that the store is not there

        return asyncio.run(server.run(begin))


def _tell(log: Log, reason: str, cause: str) -> None:
    """One line in the log when the store becomes ill, and when it is well again."""
    if reason:
        log.say("warning", "not ready", reason=shown(reason), cause=shown(cause))
    else:
        log.say("info", "ready again")


def _own(app: App, made: Served) -> list[Route]:
    """What a server says about itself at every address."""
    readiness = Readiness(made.health, lambda: app.stopping)
    return [
        Route("/healthz", reading(alive), "own", exact=True, own=True),
        Route("/readyz", reading(readiness.door), "own", exact=True, own=True),
    ]


def _metrics(app: App, made: Served) -> Metrics:
    metrics = Metrics(lambda: app.running)
    metrics.watch("pinfold_store", "Reads of blocks from the store, and how they ended.", made.store_counts)
    if made.pin_counts is not None:
        metrics.watch("pinfold_pin_requests", "Requests of the pinning service.", made.pin_counts, "status")
    return metrics


@contextlib.contextmanager
def served(settings: Settings, doors: Doors, tell: Callable[[str, str], None]) -> Iterator[Served]:
    """The doors over the store of `settings`, until the end of the block; `tell`: as Health calls it.

    Raises UsageError, ConfigError, StoreError.
    """
    refused = _refused(doors.refuse)
    where = (place(settings), *settings.mirrors)
    _check_able(where, doors)
    with contextlib.ExitStack() as stack:
        watched = Watched(below := stack.enter_context(opened_store(settings, attempts=_ATTEMPTS)))
        if doors.pinning is not None and isinstance(below, PlainFolder):
            raise _takes_none(where[0])
        made = Served(health=Health(lambda: _answers(watched), tell), store_counts=watched.counts)
        # A gateway that only reads cannot be made to write, whatever is wrong with it.
        if doors.gateway:
            read: Store = watched
            if (patience := _patience(where)) is not None:
                read = stack.enter_context(contextlib.closing(Guarded(watched, made.health, patience)))
            made.routes += _gateway(stack, ReadOnly(read), doors, refused)
            kind = "blocks, CARs and IPNS records" if doors.trustless_only else "files, folders, blocks and CARs"
            made.words.append(f"/ipfs/CID and /ipns/NAME: an IPFS gateway ({kind})")
        if doors.pinning is not None:
            service = stack.enter_context(_pinning(watched, doors.pinning, doors))
            made.routes.append(Route("/pins", service, "pinning"))
            made.pin_counts = service.counts
            made.words.append("/pins: an IPFS Pinning Service API 1.0.0, with a token")
        made.words.append("/healthz, /readyz: for whoever watches this server")
        yield made


def _check_able(where: tuple[str, ...], doors: Doors) -> None:
    """Raise UsageError unless one of the stores at these addresses can do what the doors ask of it."""
    far = [address.parse(one) for one in where]
    if doors.pinning is not None and all(one is not None and one.kind in {"gateway", "psa"} for one in far):
        raise _takes_none(where[0])
    if all(one is not None and one.kind == "psa" and not one.options.get("gateway") for one in far):
        raise UsageError(
            f"{where[0]} cannot be served: a pinning service gives no blocks; name its gateway, as"
            f" {where[0]}{'&' if '?' in where[0] else '?'}gateway=https://HOST"
        )


def _takes_none(where: str) -> UsageError:
    return UsageError(
        f"{where} takes no blocks, so --pinning-service has nowhere to keep them: give a folder store, kubo+http://…"
        " or cluster+http://… as -r"
    )


def _patience(where: tuple[str, ...]) -> float | None:
    """Seconds that a door waits for a block; None for stores that are all folders, whose answers come or fail."""
    far = [found for one in where if (found := address.parse(one)) is not None]
    if not far:
        return None
    searching = any(one.kind != "kubo" for one in far)
    network = max(one.seconds("network", 0) if one.kind == "kubo" else 0.0 for one in far)
    return max(_SEARCHING if searching else _NEAR, network + _NEAR)


def _gateway(stack: contextlib.ExitStack, store: Store, doors: Doors, refused: frozenset[bytes]) -> list[Route]:
    from pinfold.gateway import Settings as Choices  # noqa: PLC0415
    from pinfold.gateway import gateway  # noqa: PLC0415

    choices = Choices(trustless_only=doors.trustless_only, records=doors.records, refused=refused)
    door = stack.enter_context(contextlib.closing(gateway(store, choices)))
    return [Route("/ipfs/", door, "ipfs"), Route("/ipns/", door, "ipns")]


def _pinning(store: Store, folder: Path, doors: Doors) -> PinningService:
    from pinfold.pinning import Options, PinningService  # noqa: PLC0415

    options = Options(public_url=doors.public_url, origins=doors.origins, private_origins=doors.private_origins)
    return PinningService(store, folder, options)


def _answers(store: Store) -> None:
    """Ask the least there is to ask."""
    store.has([_EMPTY])


def _refused(path: Path | None) -> frozenset[bytes]:
    """The multihashes of the CIDs in a file: one a line, # begins a comment.  Raises UsageError."""
    if path is None:
        return frozenset()
    found = set()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is no UTF-8'}") from None
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            try:
                found.add(CID.parse(text).multihash)
            except Malformed as error:
                raise UsageError(f"{path}, line {number}: {text[:80]!r} is no CID: {error.reason}") from None
    return frozenset(found)
