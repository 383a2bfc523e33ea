"""Kubo's RPC as pinfold calls it: one POST for each call, and its answers told apart.

Kubo answers 500 for nearly everything, so errors are known by their text; 403 names the right that is
missing.  A failure after an answer began is told in a trailer, which no HTTP client here reads: whoever
reads a stream must know by its last line that it came whole.

Source: https://docs.ipfs.tech/reference/kubo/rpc/, go-ipfs-cmds/http.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from pinfold.errors import Full, Malformed, Missing, Refused, StoreError, Unavailable
from pinfold.ipld.cid import CID
from pinfold.store.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pinfold.seal.secret import Secret
    from pinfold.store.client import Answer, Query

PORT: Final = 5001
# How many should be asked at once: over 50 ms 64 read half again as fast as 32 from a gateway, and next door as fast.
AT_ONCE: Final = 64
# The store's own threads and whoever reads ahead may ask as many each; one that is not kept costs a round trip.
CONNECTIONS: Final = 2 * AT_ONCE
# A pin walks what it keeps, and an import is synced before it is answered: minutes, on slow disks.
PATIENCE: Final = 600.0
# Whatever a node tells of its progress: so many seconds for one call.
LONGEST: Final = 86400.0
SILENCE: Final = 60.0
# Names on pins came with 0.37.
_OLDEST: Final = (0, 37)
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
# What go-ipld-format, flatfs and the pinner say.
_NOT_THERE: Final = ("could not find", "not found locally", "block not found", "blockservice: key not found")
_FULL: Final = ("no space left", "disk quota exceeded", "maximum storage limit exceeded")
_NOT_PINNED: Final = ("is not pinned", "not pinned or pinned indirectly")
_BROKEN: Final = (
    "hash did not match",
    "hash mismatch",
    "does not match requested hash",
    "block in storage has different",
)


class NotHere(Missing):
    """The node does not hold a block that the call needs; which one, its text may tell."""

    def __init__(self, text: str) -> None:
        super().__init__("", "")
        self.args = (text,)


class NotPinned(StoreError):
    """The root that was asked about, or is to be unpinned, is not pinned."""


class Broken(NotHere):
    """The node found that a block of its own does not match its hash."""


class Denied(Refused):
    """The token, or the lack of one, does not allow a call; `call` names it."""

    def __init__(self, where: str, call: str, *, token: bool, known: bool) -> None:
        """`token`: whether one was sent; `known`: whether the node took it for another call."""
        self.call = call
        right = f"/api/v0/{call} is not among its AllowedPaths in API.Authorizations"
        if not token:
            why = 'no token is given; use PINFOLD_TOKEN_FILE, or token_file under [stores."REPO"] in pinfold.toml'
        elif known:
            why = f"the token is known there, but {right}"
        else:
            why = f"either the token is unknown there, or {right}"
        super().__init__(f"{where} refuses {call}: {why}")


class Rpc:
    """One node's RPC.  Safe from any thread; makes no connection before the first call."""

    def __init__(self, url: str, *, authorization: Secret | None = None, ca_file: Path | None = None) -> None:
        """`authorization`: the value of that header."""
        self.url = url
        self._token = authorization is not None
        self._known = False
        self._client = Client(
            url,
            authorization=authorization,
            ca_file=ca_file,
            timeout=SILENCE,
            connections=CONNECTIONS,
            failure=lambda status, text: failure(url, status, text),
            usual_port=PORT,
        )

    def json(self, call: str, query: Query = (), **how: Any) -> Any:  # noqa: ANN401  # JSON is anything
        """The answer to a call as JSON.  Raises what `failure` makes, Denied, Unavailable, Refused."""
        with self._named(call):
            return self._client.json("POST", f"/api/v0/{call}", query, **how)

    def raw(self, call: str, query: Query = (), **how: Any) -> bytes:  # noqa: ANN401  # as Client.call takes them
        """The answer to a call as it is; see `json`."""
        with self._named(call):
            return self._client.call("POST", f"/api/v0/{call}", query, **how)

    @contextlib.contextmanager
    def open(self, call: str, query: Query = (), **how: Any) -> Iterator[Answer]:  # noqa: ANN401  # as Client.open
        """The answer to a call while it comes; see `json`."""
        with self._named(call), self._client.open("POST", f"/api/v0/{call}", query, **how) as answer:
            yield answer

    def lines(self, call: str, query: Query = (), **how: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        """The objects of an answer, one by one.  Raises Refused for what is none; see `json`."""
        with self.open(call, query, **how) as answer:
            for line in answer.lines():
                yield fields(line, self.url)

    def send(self, call: str, query: Query, body: Iterable[bytes], **how: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        """Send one file, streamed, and read the answer as `lines` does."""
        boundary = secrets.token_hex(16)
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self.lines(call, query, body=_form(boundary, body), headers=kind, **how)

    def check_version(self) -> str:
        """The node's version.  Raises Refused for one that cannot name pins."""
        told = fields(self.json("version"), self.url).get("Version")
        found = _VERSION.match(told) if isinstance(told, str) else None
        if found is None:
            raise Refused(f"{self.url} tells no version: is this the RPC of a Kubo node?")
        if (int(found[1]), int(found[2])) < _OLDEST:
            raise Refused(
                f"{self.url} is Kubo {told}; pinfold needs 0.37 or newer, for names on pins: upgrade the node"
            )
        return found[0]

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    @contextlib.contextmanager
    def _named(self, call: str) -> Iterator[None]:
        try:
            yield
        except _Forbidden as error:
            raise Denied(self.url, call, token=self._token, known=self._known) from error
        self._known = True


class _Forbidden(StoreError):
    """Status 401 or 403, before it is known which call."""


def failure(where: str, status: int, text: str) -> StoreError:
    """The error that an answer of Kubo's RPC stands for."""
    said = f"{where} answers {status}" + (f": {text}" if text else "")
    low = text.lower()
    if status in {401, 403}:
        return _Forbidden(said)
    if status == 404:
        return Refused(f"{said}; is this the RPC of a Kubo node?")
    if status == 507 or any(words in low for words in _FULL):
        return Full(said)
    for words, kind in ((_NOT_THERE, NotHere), (_NOT_PINNED, NotPinned), (_BROKEN, Broken)):
        if any(some in low for some in words):
            return kind(said)
    if status in {408, 425, 429} or status >= 500:
        return Unavailable(said)
    return Refused(said)


def fields(answer: Any, where: str) -> dict[str, Any]:  # noqa: ANN401  # JSON is anything
    """The object that an answer is.  Raises Refused for anything else."""
    if not isinstance(answer, dict):
        raise Refused(f"{where} answers with something that Kubo does not say")
    return answer


def whole(value: object, where: str) -> int:
    """A count of blocks or bytes.  Raises Refused for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Refused(f"{where} answers with something that is no count")
    return value


def cid_of(value: object, where: str) -> CID:
    """A CID, as text or as DAG-JSON writes it.  Raises Refused for anything else."""
    if isinstance(value, dict):
        value = value.get("/")
    try:
        return CID.parse(value if isinstance(value, str) else "")
    except Malformed as error:
        raise Refused(f"{where} answers with something that is no CID") from error


def _form(boundary: str, body: Iterable[bytes]) -> Iterator[bytes]:
    """A form with one file in it."""
    head = 'Content-Disposition: form-data; name="file"; filename="blocks"\r\nContent-Type: application/octet-stream'
    yield f"--{boundary}\r\n{head}\r\n\r\n".encode()
    yield from body
    yield f"\r\n--{boundary}--\r\n".encode()
