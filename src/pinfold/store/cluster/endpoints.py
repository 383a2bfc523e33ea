"""Several peers' REST interfaces as one server: asked in turn until one answers.

Every peer of a cluster can do everything, and everything asked of it may be asked twice, so a peer that
does not answer is passed over, and the one that did is asked first from then on.
"""

from __future__ import annotations

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
        self._lock = Lock()

    def attempt(self, action: Callable[[Client], _T]) -> _T:
        """What `action` returns for the first peer that answers.

        Raises Unavailable with the words of all when none does; any other error at once, and also TooFewPeers:
        what one peer says of the cluster, it says for all.
        """
        with self._lock:
            first = self._first
        said: list[str] = []
        for step in range(len(self._clients)):
            at = (first + step) % len(self._clients)
            try:
                done = action(self._clients[at])
            except (TooFewPeers, NotTaken):
                raise
            except Unavailable as error:
                said.append(str(error))
                continue
            with self._lock:
                self._first = at
            return done
        raise Unavailable("; ".join(said))

    def json(self, method: str, path: str, query: Query = (), **how: Any) -> Any:  # noqa: ANN401  # JSON is anything
        """The answer to a request as JSON; an answer without a body is None."""

        def ask(client: Client) -> Any:  # noqa: ANN401
            text = client.call(method, path, query, accept=_DONE, **how)
            return parse(text, client.url) if text.strip() else None

        return self.attempt(ask)

    def lines(self, method: str, path: str, query: Query = (), **how: Any) -> list[Any]:  # noqa: ANN401
        """The answer to a request as the JSON values on its lines."""

        def ask(client: Client) -> list[Any]:
            with client.open(method, path, query, accept=_DONE, **how) as answer:
                return list(answer.lines(MAX_JSON))

        return self.attempt(ask)

    def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients:
            client.close()


class _Peer(Client):
    """One peer's REST interface, with the errors that its answers stand for."""

    def failure(self, status: int, text: str) -> StoreError:
        """As the client's own, and those of a cluster."""
        said = f"{self.url} answers {status}" + (f": {text}" if text else "")
        if status == 404:
            return NotPinned(said)
        if "not enough peers" in text:
            return TooFewPeers(said)
        if "failed to put block" in text or "putting blocks" in text:
            return NotTaken(f"{said}; is there room at the peers, and does their Kubo run?")
        if "follower" in text:
            return Refused(f"{said}; this peer only follows: give the address of one that the others trust")
        return super().failure(status, text)
