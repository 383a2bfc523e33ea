"""A gateway asked without a server, over a store that counts what is asked of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from gateway.client import Answer
from pinfold.door import Request
from pinfold.errors import PinfoldError
from pinfold.gateway import Gateway, Settings, gateway
from pinfold.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinfold.ipld import CID


class Counting(MemoryStore):
    """A store in memory that remembers which blocks it was asked for."""

    def __init__(self, blocks: Iterable[tuple[CID, bytes]] = ()) -> None:
        super().__init__()
        self.asked: deque[CID] = deque(maxlen=10_000)  # a bomb must not blow up its test
        self.put(blocks)

    def get(self, cid: CID) -> bytes:
        """Return a block, and remember that it was asked for."""
        self.asked.append(cid)
        return super().get(cid)


def opened(blocks: dict[CID, bytes], settings: Settings | None = None) -> tuple[Gateway, Counting]:
    """Return a gateway over these blocks, and its store."""
    store = Counting(blocks.items())
    return gateway(store, settings), store


def ask(door: Gateway, path: str, method: str = "GET", query: dict[str, str] | None = None, **headers: str) -> Answer:
    """Ask a gateway; `broken` says that the stream broke off.  Headers are named with _ for -."""
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    response = door(Request(method, path, tuple((query or {}).items()), named))
    told = dict(response.headers)
    if isinstance(response.body, bytes):
        return Answer(response.status, told, response.body)
    body = bytearray()
    try:
        for piece in response.body:
            body += piece
    except PinfoldError:
        return Answer(response.status, told, bytes(body), broken=True)
    return Answer(response.status, told, bytes(body))
