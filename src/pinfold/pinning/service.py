"""The Pinning Service API over a store: requests in, statuses out, workers behind.

Crash rule: a request is on disk before it is answered 202; whatever the process was at when it ended goes on at
the next start (keeper.py, requests.py).

Source: IPFS Pinning Service API 1.0.0, https://ipfs.github.io/pinning-services-api-spec/
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from pinfold.door import BadRequest, Response
from pinfold.errors import Full, Refused, StoreError, UsageError
from pinfold.pinning import documents, filters, moments, origins, peer
from pinfold.pinning.budget import Limits
from pinfold.pinning.database import Database
from pinfold.pinning.filters import Status
from pinfold.pinning.held import Holdings
from pinfold.pinning.keeper import Keeper
from pinfold.pinning.requests import Requests
from pinfold.pinning.tokens import ADD, DELETE, READ, Tokens
from pinfold.pinning.workers import Workers

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from pinfold.clock import Clock
    from pinfold.door import Request
    from pinfold.pinning.requests import PinRequest
    from pinfold.pinning.tokens import Token
    from pinfold.store.seam import Store

_PATH: Final = re.compile(r"/pins(?:/([^/]{1,200}))?")
_MAX_TOKEN: Final = 512
# Of the threads of a server, 32 by default: however slow this door is, the others have the rest.
_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Options:
    """How a service is run.

    `public_url`: where clients reach it, `delegates`: multiaddresses told to them, by default that of `public_url`;
    `origins`: gateways that are asked for every pin, beside its own origins; `private_origins`: whether clients may
    name addresses in private networks; `workers`: how many pins are fetched at once; `patience`: seconds that a
    new pin may take to be answered as pinned at once; `most`: pins for each tenant.
    """

    public_url: str = "http://127.0.0.1:8080"
    delegates: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    private_origins: bool = False
    workers: int = 4
    patience: float = 1.0
    most: int = 100_000
    limits: Limits = field(default_factory=Limits)


class PinningService:
    """A door (`pinfold.door.Door`) that is open between `with` and its end."""

    def __init__(self, store: Store, folder: Path, options: Options, clock: Clock | None = None) -> None:
        """`folder`: where tokens and requests are kept.  Raises UsageError, Refused, Full, Unavailable."""
        self._options = options
        address = _checked(options)
        self._database = Database(folder)
        self._lock = _only_one(folder, self._database)
        try:
            self._delegates = options.delegates or (f"{address}/p2p/{peer.identity(self._database)}",)
        except BaseException:
            self._database.close()
            os.close(self._lock)
            raise
        self.tokens = Tokens(self._database, clock)
        self._requests = Requests(self._database, most=options.most, clock=clock)
        keeper = Keeper(store, self._requests, Holdings(self._database))
        self._workers = Workers(
            store,
            self._requests,
            keeper,
            options.limits,
            count=options.workers,
            everyone=options.origins,
            private=options.private_origins,
        )
        self._waiting = threading.Semaphore(options.workers)
        self._threads = threading.Semaphore(_AT_ONCE)
        self._counted: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Begin to fetch."""
        self._workers.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End; what is under way goes on at the next start."""
        self.close()

    def close(self) -> None:
        """End the workers and let go of the database.  Idempotent."""
        self._workers.close()
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def counts(self) -> dict[str, int]:
        """How many requests there are of each status, for metrics; the last known where that cannot be read now."""
        with suppress(StoreError):  # whoever reads metrics wants the other ones all the more then
            self._counted = self._requests.counts()
        return self._counted

    def __call__(self, request: Request) -> Response:
        """Answer a request; every failure is a document of the API."""
        if not self._threads.acquire(blocking=False):
            return documents.failure(503, f"{_AT_ONCE} requests are being answered already; try again")
        try:
            return self._answer(request)
        except BadRequest as error:
            return documents.failure(error.status, str(error))
        except Full:
            return documents.failure(507, "no room is left for requests; ask whoever runs this service")
        except StoreError:
            return documents.failure(503, "the service cannot read its requests now; try again")
        finally:
            self._threads.release()

    def _answer(self, request: Request) -> Response:
        path = _PATH.fullmatch(request.path)
        if path is None:
            raise BadRequest(404, "there are /pins and /pins/{requestid}")
        identity = path[1]
        ways = {
            ("GET", False): (READ, self._list),
            ("POST", False): (ADD, self._add),
            ("GET", True): (READ, self._get),
            ("POST", True): (ADD, self._replace),
            ("DELETE", True): (DELETE, self._delete),
        }
        scope, way = ways.get((request.method, identity is not None), ("", None))
        token = self._token(request)
        if way is None:
            raise BadRequest(405, f"{request.method} is not for {'/pins/{requestid}' if identity else '/pins'}")
        needed = {scope, DELETE} if way == self._replace else {scope}
        if not needed <= token.scopes:
            raise BadRequest(403, f"this token may not {' and '.join(sorted(needed - token.scopes))}")
        response = way(token, request, identity or "")
        response.log["token"] = token.id
        return response

    def _token(self, request: Request) -> Token:
        scheme, _, presented = request.header("authorization").partition(" ")
        presented = presented.strip()
        found = None
        if scheme.lower() == "bearer" and len(presented) <= _MAX_TOKEN:
            found = self.tokens.find(presented)
        if found is None:
            raise BadRequest(401, "the access token is missing or invalid")
        return found

    def _list(self, token: Token, request: Request, _: str) -> Response:
        count, found = self._requests.find(token.tenant, filters.parse(request))
        return documents.answer(200, {"count": count, "results": [self._status(one) for one in found]})

    def _get(self, token: Token, _: Request, identity: str) -> Response:
        return documents.answer(200, self._status(self._must_exist(token, identity)))

    def _add(self, token: Token, request: Request, _: str) -> Response:
        return self._accept(token, request, None)

    def _replace(self, token: Token, request: Request, identity: str) -> Response:
        return self._accept(token, request, identity)

    def _delete(self, token: Token, _: Request, identity: str) -> Response:
        if not self._requests.remove(token.tenant, identity):
            self._must_exist(token, identity)
        self._workers.tidy()
        return Response(202, [("Cache-Control", "no-store")])

    def _accept(self, token: Token, request: Request, replaces: str | None) -> Response:
        wanted = documents.wanted(request.body)
        _, wrong = origins.usable(wanted.origins, private=self._options.private_origins)
        if wrong:
            raise BadRequest(400, f"origins: {wrong[0]}")
        made = self._requests.add(token.tenant, wanted, replaces)
        self._workers.wake()
        if self._waiting.acquire(blocking=False):
            try:
                self._workers.wait_for(made, self._options.patience)
            finally:
                self._waiting.release()
        return documents.answer(202, self._status(self._requests.get(token.tenant, made.id) or made))

    def _must_exist(self, token: Token, identity: str) -> PinRequest:
        found = self._requests.get(token.tenant, identity)
        if found is None:
            raise BadRequest(404, f"there is no pin request {identity[:80]}")
        return found

    def _status(self, one: PinRequest) -> dict[str, object]:
        wanted = one.wanted
        pin: dict[str, object] = {"cid": wanted.cid}
        if wanted.name is not None:
            pin["name"] = wanted.name
        if wanted.origins:
            pin["origins"] = list(wanted.origins)
        if wanted.meta:
            pin["meta"] = dict(wanted.meta)
        told: dict[str, object] = {
            "requestid": one.id,
            "status": str(one.status),
            "created": moments.text(one.created),
            "pin": pin,
            "delegates": list(self._delegates),
        }
        info = self._info(one)
        if info:
            told["info"] = info
        return told

    def _info(self, one: PinRequest) -> dict[str, str]:
        """Texts only, as the API has it."""
        info = {"status_details": one.details} if one.details else {}
        if one.attempts > 1 and one.status is not Status.PINNED:
            info["attempts"] = str(one.attempts)
        under_way = self._workers.progress(one.wanted.root) if one.status is Status.PINNING else None
        if under_way is not None:
            info["fetched_blocks"] = str(under_way.fetched_blocks)
            info["fetched_bytes"] = str(under_way.fetched_bytes)
        return info


def _checked(options: Options) -> str:
    """The multiaddress of the public URL.  Raises UsageError for options that make no sense."""
    try:
        address = origins.multiaddr_of(options.public_url)
    except ValueError as error:
        raise UsageError(f"public URL {options.public_url}: {error}; clients reach the service there") from error
    wrong = [one for one in options.delegates if not one.startswith("/")]
    if wrong or len(options.delegates) > documents.MAX_ORIGINS:
        raise UsageError(f"delegates are at most {documents.MAX_ORIGINS} multiaddresses, as /dns4/HOST/tcp/443/https")
    _, unusable = origins.usable(options.origins, private=True)
    if unusable:
        raise UsageError(f"origins for every pin: {unusable[0]}")
    return address


def _only_one(folder: Path, database: Database) -> int:
    """A lock that one process holds as long as it lives: two would fetch the same pins."""
    try:
        held = os.open(folder / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
            raise
    except OSError as error:
        database.close()
        raise Refused(f"another pinning service is at work in {folder}: end it, or give this one a folder") from error
    return held
