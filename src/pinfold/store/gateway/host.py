"""One gateway: a block asked of it, every byte of the answer doubted.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/, the part on raw blocks.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from threading import Lock
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

from pinfold.errors import Corrupt, Malformed, Missing, Refused, StoreError, Unavailable
from pinfold.ipld.cid import CID
from pinfold.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pinfold.seal.secret import Secret
    from pinfold.store.client import Answer

MAX_BLOCK: Final = (2 << 20) + (1 << 16)
SILENCE: Final = 40.0  # seconds; Kubo looks for a block for 30 and then says so
LONGEST: Final = 300.0
_EMPTY: Final = CID.parse("bafkqaaa")
_RAW: Final = "application/vnd.ipld.raw"
_ANY: Final = range(200, 600)
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 2
_MOST_ORIGINS: Final = 16
_NOT_THERE: Final = (404, 410, 504)
_NOT_CACHED: Final = 412
_NOTHING_HERE: Final = (404, 405)
_RPC_IS_NONE: Final = ": is it a gateway? Kubo's has the port 8080 unless told otherwise, 5001 is its RPC"
_NO_HEAD: Final = (400, 405, 406, 501)
_BUSY: Final = (429, 503)
_REFUSALS: Final = (401, 403)
# A drip: so many seconds in, an answer has come with fewer bytes a second.
_DRIP_SECONDS: Final = 20.0
_DRIP_RATE: Final = 256


class Lied(Corrupt):
    """A gateway sent something that is not what was asked for, and called it that."""


class Busy(Unavailable):
    """A gateway asks to be left alone for `after` seconds."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after


class Abandoned(StoreError):
    """Nobody waits for this answer any more."""


class Host:
    """One gateway.  Safe from any thread; what it knows of itself is for the store to keep."""

    def __init__(self, url: str, *, authorization: Secret | None, ca_file: Path | None, connections: int) -> None:
        """`authorization`: sent to this very server, and nowhere that it may redirect to."""
        self.url = url
        self._ca_file = ca_file
        self._connections = connections
        self._client = Client(url, authorization=authorization, ca_file=ca_file, connections=connections)
        self._lock = Lock()
        self._others: dict[str, Client] = {}
        self._heads = True
        self._is_gateway: bool | None = None

    def fetch(self, cid: CID, stopped: Callable[[], bool] = lambda: False) -> bytes:
        """The block.  Raises Missing, Lied, Busy, Unavailable, Refused; Abandoned once `stopped` says so."""
        with self._asked("GET", cid, {"Accept": _RAW}) as answer:
            failure = None if answer.status == 200 else self._failure(cid, answer)
            block = b"" if failure is not None else self._body(cid, answer, stopped)
        if failure is not None:
            if isinstance(failure, Missing) and answer.status in _NOTHING_HERE and not self._is_one():
                raise Refused(f"{self.url} answers {answer.status} to everything{_RPC_IS_NONE}")
            raise failure
        self._is_gateway = True
        try:
            cid.verify(block, self.url)
        except (Corrupt, Malformed) as error:
            raise Lied(cid, f"{self.url}, which sent other bytes") from error
        return block

    def has(self, cid: CID) -> bool:
        """Whether it holds the block, asked without making it look elsewhere.  Raises as `fetch`."""
        if self._heads:
            with self._asked("HEAD", cid, {"Accept": _RAW, "Cache-Control": "only-if-cached"}) as answer:
                if answer.status == 200:
                    return True
                if answer.status == _NOT_CACHED or answer.status in _NOT_THERE:
                    return False
                if answer.status not in _NO_HEAD:
                    raise self._failure(cid, answer)
            self._heads = False
        try:
            self.fetch(cid)
        except Missing:
            return False
        return True

    def _is_one(self) -> bool:
        """Whether it gives the empty block, which a gateway need not have and which is in its own name."""
        if self._is_gateway is None:
            with self._asked("GET", _EMPTY, {"Accept": _RAW}) as answer:
                self._is_gateway = answer.status not in _NOTHING_HERE
        return self._is_gateway

    def close(self) -> None:
        """Let go of all connections."""
        for client in (self._client, *self._others.values()):
            client.close()

    @contextlib.contextmanager
    def _asked(self, method: str, cid: CID, headers: dict[str, str]) -> Iterator[Answer]:
        client, path, query = self._client, f"/ipfs/{cid}", [("format", "raw")]
        for _ in range(_MOST_REDIRECTS + 1):
            with client.open(
                method, path, query, headers=headers, accept=_ANY, timeout=SILENCE, within=LONGEST
            ) as answer:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                location = answer.header("Location")
            client, path, query = self._followed(client, path, location)
        raise Refused(f"{self.url} redirects more than {_MOST_REDIRECTS} times")

    def _followed(self, client: Client, path: str, location: str) -> tuple[Client, str, list[tuple[str, str]]]:
        """Where a redirect leads.  Raises Refused for where it must not."""
        here = urlsplit(client.url)
        origin = f"{here.scheme}://{here.netloc}"
        try:
            there = urlsplit(urljoin(origin + path, location))
            host, _ = there.hostname, there.port
        except ValueError:
            host = None
        if not location or host is None or there.scheme not in {"http", "https"} or "@" in there.netloc:
            raise Refused(f"{self.url} redirects to no address")
        if here.scheme == "https" and there.scheme != "https":
            raise Refused(f"{self.url} redirects from https to http")
        if host != urlsplit(self.url).hostname and not _is_public(host, there.port or 443):
            raise Refused(f"{self.url} redirects to {host[:100]}, which is no public address")
        return self._other(f"{there.scheme}://{there.netloc}"), unquote(there.path), parse_qsl(there.query)

    def _other(self, origin: str) -> Client:
        own = urlsplit(self.url)
        if origin == f"{own.scheme}://{own.netloc}" and not own.path:
            return self._client
        with self._lock:
            if origin not in self._others:
                if len(self._others) >= _MOST_ORIGINS:
                    raise Refused(f"{self.url} redirects to too many servers")
                # No token for strangers.
                self._others[origin] = Client(origin, ca_file=self._ca_file, connections=self._connections)
            return self._others[origin]

    def _body(self, cid: CID, answer: Answer, stopped: Callable[[], bool]) -> bytes:
        told = answer.header("Content-Length")
        if told.isdigit() and int(told) > MAX_BLOCK:
            raise Lied(cid, f"{self.url}, which has {int(told)} bytes for it")
        began = time.monotonic()
        pieces: list[bytes] = []
        size = 0
        for piece in answer.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BLOCK:
                raise Lied(cid, f"{self.url}, which sent more than a block can be")
            if stopped():
                raise Abandoned(f"{self.url} was too slow")
            seconds = time.monotonic() - began
            if seconds > _DRIP_SECONDS and size < seconds * _DRIP_RATE:
                raise Unavailable(f"{self.url} sends {size} bytes in {seconds:.0f} seconds")
        return b"".join(pieces)

    def _failure(self, cid: CID, answer: Answer) -> StoreError:
        status = answer.status
        if status in _NOT_THERE:
            return Missing(cid, self.url)
        if status in _BUSY:
            return Busy(f"{self.url} answers {status}: too busy", _seconds(answer.header("Retry-After")))
        if status in _REFUSALS:
            return Refused(f"{self.url} answers {status}; look at its token, and at what that one may do")
        if status >= 500 or status in {408, 425}:
            return Unavailable(f"{self.url} answers {status}")
        if status == 405:
            return Refused(f"{self.url} answers {status}{_RPC_IS_NONE}")
        return Refused(f"{self.url} answers {status}: is it a trustless gateway?")


def _seconds(text: str) -> float:
    """What Retry-After asks for; dates, which hang on two clocks, count as a second."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1.0


def _is_public(host: str, port: int) -> bool:
    """Whether all addresses of a host lie on the open network."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_global for one in found)
