"""Several peers' REST interfaces as one server: asked in turn until one answers.

Every peer of a cluster can do everything, and everything asked of it may be asked twice, so a peer that
does not answer is passed over, and the one that did is asked first from then on.  What peers know is not
the same: one that was just started learns of the latest pins within minutes, so lists are asked of all, and
a pin that one does not know is looked for at the others.

Source: IPFS Cluster 1.1.6, api/common/api.go (StreamResponse: an error in the middle of a list is told in a trailer).
"""

from __future__ import annotations

import time
from http.client import HTTPException, HTTPResponse
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pinfold.errors import Refused, StoreError, Unavailable
from pinfold.store.client import MAX_JSON, Client, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pinfold.seal.secret import Secret
    from pinfold.store.client import Query

_T = TypeVar("_T")
# A peer asks the others for up to 15 s before it answers without them.
QUESTION_SECONDS: Final = 25.0
# A peer that knows of nothing answers 204, without a body.
_DONE: Final = (200, 202, 204)
# How long a peer that did not answer is left out where all are asked.
_ASIDE_SECONDS: Final = 30.0
# Paths below these are about one pin: there 404 says that there is none, elsewhere that this is no cluster.
_ABOUT_ONE: Final = ("/pins/", "/allocations/")
_MOST_TRAILER: Final = 4096
_MOST_TRAILERS: Final = 100
WRONG_SERVER: Final = "is this the REST interface of IPFS Cluster (port 9094)?"


class NotPinned(Refused):
    """The CID is no pin of the cluster."""


class TooFewPeers(Unavailable):
    """The cluster knows of fewer peers to put a pin on than it was told to."""


class NotTaken(Unavailable):
    """No peer's Kubo took the blocks."""


class Endpoints:
    """The REST interfaces of one cluster.  Safe from any thread."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        authorization: Secret | None = None,
        ca_file: Path | None = None,
        timeout: float = QUESTION_SECONDS,
    ) -> None:
        """`timeout`: seconds of silence after which a peer is passed over."""
        self._clients = [_Peer(url, authorization=authorization, ca_file=ca_file, timeout=timeout) for url in urls]
        self._first = 0
        self._aside: dict[Client, float] = {}
        self._lock = Lock()

    def attempt(self, action: Callable[[Client], _T], *, about_pin: bool = False) -> _T:
        """What `action` returns for the first peer that answers; `about_pin`: and that knows of the pin.

        Raises Unavailable with the words of all when none does; any other error at once, and also TooFewPeers:
        what one peer says of the cluster, it says for all.
        """
        with self._lock:
            first = self._first
        said: list[str] = []
        unknown: NotPinned | None = None
        for step in range(len(self._clients)):
            at = (first + step) % len(self._clients)
            try:
                done = action(self._clients[at])
            except (TooFewPeers, NotTaken):
                raise
            except NotPinned as error:
                if not about_pin:
                    raise
                unknown = error
                continue
            except Unavailable as error:
                said.append(str(error))
                continue
            with self._lock:
                self._first = at
            return done
        raise unknown or Unavailable("; ".join(said))

    def every(self, action: Callable[[Client], _T]) -> tuple[list[_T], list[str]]:
        """What `action` returns for each peer that answers, and the addresses of the others.

        Raises Unavailable with the words of all when none does, any other error at once.  One that did not answer
        is not asked again for half a minute, as long as another answers.
        """
        found: list[_T] = []
        silent: list[str] = []
        said: list[str] = []
        now = time.monotonic()
        # Those that are left out are asked after all where nobody else answers.
        for client in sorted(self._clients, key=lambda one: self._aside.get(one, 0.0) > now):
            if found and self._aside.get(client, 0.0) > now:
                silent.append(client.url)
                continue
            try:
                found.append(action(client))
            except Unavailable as error:
                self._aside[client] = time.monotonic() + _ASIDE_SECONDS
                silent.append(client.url)
                said.append(str(error))
            else:
                self._aside.pop(client, None)
        if not found:
            raise Unavailable("; ".join(said))
        return found, silent

    def json(self, method: str, path: str, query: Query = (), **how: Any) -> Any:  # noqa: ANN401  # JSON is anything
        """The answer to a request as JSON; an answer without a body is None."""

        def ask(client: Client) -> Any:  # noqa: ANN401
            return told(client, method, path, query, **how)

        return self.attempt(ask)

    def lines(self, path: str, query: Query = ()) -> tuple[list[list[Any]], list[str]]:
        """What each peer answers, the JSON values on its lines, and the addresses of the others; see `every`."""

        def ask(client: Client) -> list[Any]:
            try:
                with client.open("GET", path, query, accept=_DONE) as answer:
                    return list(answer.lines(MAX_JSON))
            except NotPinned as error:
                raise Refused(f"{error}; {WRONG_SERVER}") from error

        return self.every(ask)

    def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients:
            client.close()


def told(client: Client, method: str, path: str, query: Query = (), **how: Any) -> Any:  # noqa: ANN401
    """What one peer answers, as JSON; None for an answer without a body.  Raises StoreError."""
    try:
        text = client.call(method, path, query, accept=_DONE, **how)
    except NotPinned as error:
        if path.startswith(_ABOUT_ONE):
            raise
        raise Refused(f"{error}; {WRONG_SERVER}") from error
    return parse(text, client.url) if text.strip() else None


class _Trailing(HTTPResponse):
    """An answer whose trailer is read: there a peer tells that a list broke off, which looks whole otherwise."""

    def _read_and_discard_trailer(self) -> None:
        failed = ""
        for _ in range(_MOST_TRAILERS):
            line = self.fp.readline(_MOST_TRAILER)
            if not line.strip():
                break
            name, _, value = line.decode("latin-1").partition(":")
            if name.strip().lower() == "x-stream-error":
                failed = value.strip()
        if failed:
            raise HTTPException(failed)


class _Peer(Client):
    """One peer's REST interface, with the errors that its answers stand for."""

    def __init__(self, url: str, **how: Any) -> None:  # noqa: ANN401  # as Client takes them
        """As the client's own."""
        super().__init__(url, **how)
        kind = self._pool.ConnectionCls
        self._pool.ConnectionCls = type("_Connection", (kind,), {"response_class": _Trailing})

    def failure(self, status: int, text: str) -> StoreError:
        """As the client's own, and those of a cluster."""
        said = f"{self.url} answers {status}" + (f": {text}" if text else "")
        if status == 404:
            # A cluster's own 404 is JSON that says "not found"; a Kubo, its gateway and a proxy say this.
            return Refused(f"{said}; {WRONG_SERVER}") if "page not found" in text or "<" in text else NotPinned(said)
        if "not enough peers" in text:
            return TooFewPeers(said)
        if "failed to put block" in text or "putting blocks" in text:
            return NotTaken(f"{said}; is there room at the peers, and does their Kubo run?")
        if "follower" in text:
            return Refused(f"{said}; this peer only follows: give the address of one that the others trust")
        return super().failure(status, text)
