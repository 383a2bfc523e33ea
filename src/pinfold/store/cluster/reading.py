"""Reading from a cluster: its REST interface gives no blocks, so they come from the Kubos behind it.

Ways: a Kubo's RPC (`kubo=`), a peer's IPFS proxy, which hands on to its Kubo what a Cluster does not do
itself (checked with 1.1.6: block/get, block/stat), or a trustless gateway (`gateway=`).  Whatever comes is
hashed before it is believed.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from pinfold.errors import Corrupt, Missing, Refused, StoreError, Unavailable, UsageError
from pinfold.ipld.cid import CID, IDENTITY, SHA2_256
from pinfold.store.client import Client
from pinfold.store.cluster.together import together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from pinfold.seal.secret import Secret
    from pinfold.store.address import Address
    from pinfold.store.crew import Crew

_T = TypeVar("_T")
MAX_BLOCK: Final = 8 << 20
READ_SECONDS: Final = 30.0
# How long a Kubo may look for a block at the other peers' nodes.
SEARCH_SECONDS: Final = 10
# How long a Kubo may count its blocks.
COUNT_SECONDS: Final = 600.0
# How long a way is left out that did not answer.
ASIDE_SECONDS: Final = 30.0
_ABSENT: Final = ("not found locally", "could not find", "block was not found", "deadline exceeded")
_NAME_ONE: Final = (
    "add to the address ?kubo=http://HOST:5001, or its IPFS proxy ?kubo=http://HOST:9095, or ?gateway=http://HOST:8080"
)
_REST_PORT: Final = 9094
_PROXY_PORT: Final = 9095


class Way(Protocol):
    """One place to read from."""

    url: str

    def get(self, cid: CID, *, search: bool) -> bytes:
        """The block's bytes, unchecked; `search`: ask other nodes too.  Raises Missing, Unavailable, Refused."""

    def has(self, cid: CID) -> bool:
        """Whether the node itself holds the block.  Raises Unavailable, Refused."""

    def close(self) -> None:
        """Let go of connections."""


class KuboWay(Client):
    """A Kubo's RPC, or the part of it that an IPFS proxy hands on."""

    def get(self, cid: CID, *, search: bool) -> bytes:
        """As `Way`."""
        how = ("timeout", f"{SEARCH_SECONDS}s") if search else ("offline", "true")
        return self.call("POST", "/api/v0/block/get", (("arg", str(cid)), how), most=MAX_BLOCK)

    def has(self, cid: CID) -> bool:
        """As `Way`."""
        with suppress(Missing):
            self.call("POST", "/api/v0/block/stat", (("arg", str(cid)), ("offline", "true")), most=MAX_BLOCK)
            return True
        return False

    def used(self) -> int:
        """Bytes in the repository.  Raises Unavailable, Refused."""
        told = self.json("POST", "/api/v0/repo/stat", (("size-only", "true"),))
        size = told.get("RepoSize") if isinstance(told, dict) else None
        if not isinstance(size, int):
            raise Refused(f"{self.url} does not answer as a Kubo does: is this the address of its RPC?")
        return size

    def stored(self) -> tuple[int | None, int]:
        """Blocks and bytes in the repository; a proxy tells the bytes of the whole cluster, and no blocks.

        Raises Unavailable, Refused.
        """
        told = self.json("POST", "/api/v0/repo/stat", timeout=COUNT_SECONDS)
        blocks, size = (told.get("NumObjects"), told.get("RepoSize")) if isinstance(told, dict) else (None, None)
        if not isinstance(blocks, int | None) or not isinstance(size, int):
            raise Refused(f"{self.url} does not answer as a Kubo does: is this the address of its RPC?")
        return blocks, size

    def failure(self, status: int, text: str) -> StoreError:
        """A 500 by which Kubo says that a block is not there."""
        if status == 500 and any(words in text for words in _ABSENT):
            return Missing("asked for", self.url)
        return super().failure(status, text)


class GatewayWay(Client):
    """A trustless gateway."""

    def get(self, cid: CID, *, search: bool) -> bytes:
        """As `Way`."""
        return self.call("GET", f"/ipfs/{cid}", (("format", "raw"),), headers=_headers(search=search), most=MAX_BLOCK)

    def has(self, cid: CID) -> bool:
        """As `Way`."""
        with suppress(Missing):
            self.call("HEAD", f"/ipfs/{cid}", (("format", "raw"),), headers=_headers(search=False), most=MAX_BLOCK)
            return True
        return False

    def failure(self, status: int, text: str) -> StoreError:
        """404, 410, 412 (only-if-cached) and 504 (looked for in vain) say that a block is not there."""
        if status in {404, 410, 412, 504}:
            return Missing("asked for", self.url)
        return super().failure(status, text)


class Reading:
    """All ways of one store.  Safe from any thread.

    A way that does not answer is left out for a while, lest every question wait for it.
    """

    def __init__(self, ways: Sequence[Way], crew: Crew, name: str, *, assumed: bool = False) -> None:
        """`crew`: by whom many questions are asked at once; `name`: how people call the store.

        `assumed`: nobody named the ways; if they never answered, trying again will not help.
        """
        self.ways = tuple(ways)
        self._crew = crew
        self._name = name
        self._aside: dict[Way, float] = {}
        self._assumed = assumed
        self.none = f"{name} cannot be read: blocks come from a Kubo behind the cluster, and none is named; {_NAME_ONE}"
        self._answered = False

    def get(self, cid: CID, *, search: bool = False, sure: bool = True) -> bytes:
        """The block, its hash checked, from the first way that has it good.

        `search`: what no node asked holds, the first of them looks for at others.  Not `sure`: a node that
        does not answer is taken to hold nothing, as long as another answers.
        Raises Missing, Corrupt, Unavailable, Refused, UsageError.
        """
        if cid.hash_code == IDENTITY:
            return cid.digest
        if cid.hash_code != SHA2_256:
            raise Missing(cid, self._name)
        raw = CID.raw(cid.digest)
        errors: list[StoreError] = []
        asked = [(way, False) for way in self._answering()]
        for way, looking in [*asked, (asked[0][0], True)] if search else asked:
            try:
                block = self._ask(way, partial(way.get, raw, search=looking))
                cid.verify(block, way.url)
            except StoreError as error:
                errors.append(error)
            else:
                return block
        self._check_assumed(errors)
        missing = any(isinstance(error, Missing) for error in errors)
        for kind in (Corrupt,) if missing and not sure else (Corrupt, Unavailable, Refused):
            for failure in errors:
                if isinstance(failure, kind):
                    raise failure
        if sure and len(asked) < len(self.ways):
            raise Unavailable(f"block {cid} is not where {self._name} could be asked, and not all of its Kubos answer")
        raise Missing(cid, self._name)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that a node that answers holds itself.  Raises Unavailable, Refused where none answers."""
        wanted = list(cids)
        asked = list({cid.digest: CID.raw(cid.digest) for cid in wanted if cid.hash_code == SHA2_256}.values())
        there = {
            cid.digest for cid, found in zip(asked, together(self._crew, self._there, asked), strict=True) if found
        }
        return {
            cid for cid in wanted if cid.hash_code == IDENTITY or (cid.hash_code == SHA2_256 and cid.digest in there)
        }

    def told(self) -> tuple[Way, ...]:
        """The ways.  Raises UsageError where there are none."""
        if not self.ways:
            raise UsageError(self.none)
        return self.ways

    def used(self) -> int | None:
        """Bytes in the fullest Kubo that can be asked; None where none can."""
        sizes: list[int] = []
        for way in self.ways:
            if isinstance(way, KuboWay):
                with suppress(StoreError):
                    sizes.append(way.used())
        return max(sizes, default=None)

    def stored(self) -> tuple[int, int] | None:
        """Blocks and bytes in all Kubos that can be asked; None where none can.  A proxy tells the bytes alone."""
        told: list[tuple[int, int]] = []
        for way in self.ways:
            if isinstance(way, KuboWay):
                with suppress(StoreError):
                    blocks, size = way.stored()
                    if blocks is None:
                        return 0, size
                    told.append((blocks, size))
        return (sum(blocks for blocks, _ in told), sum(size for _, size in told)) if told else None

    def close(self) -> None:
        """Let go of all connections."""
        for way in self.ways:
            way.close()

    def _there(self, cid: CID) -> bool:
        errors: list[StoreError] = []
        asked = self._answering()
        for way in asked:
            try:
                if self._ask(way, partial(way.has, cid)):
                    return True
            except StoreError as failure:
                errors.append(failure)
        if len(errors) == len(asked):
            self._check_assumed(errors)
            raise errors[0]
        return False

    def _check_assumed(self, errors: Sequence[StoreError]) -> None:
        """Raise Refused where only assumed ways were asked and none ever answered."""
        if self._assumed and not self._answered and all(isinstance(error, Unavailable) for error in errors):
            raise Refused(
                f"{self._name} takes blocks but cannot be read: {self.ways[0].url}, the IPFS proxy that is asked where"
                f" no other is named, does not answer; {_NAME_ONE}"
            )

    def _answering(self) -> list[Way]:
        """The ways that answered of late; all of them where none did.  Raises UsageError where there is no way."""
        now = time.monotonic()
        return [way for way in self.told() if self._aside.get(way, 0.0) <= now] or list(self.ways)

    def _ask(self, way: Way, question: Callable[[], _T]) -> _T:
        try:
            answer = question()
        except Missing:
            self._answered = True
            raise
        except Unavailable:
            self._aside[way] = time.monotonic() + ASIDE_SECONDS
            raise
        self._aside.pop(way, None)
        self._answered = True
        return answer


def ways(address: Address, authorization: Secret | None, ca_file: Path | None) -> list[Way]:
    """What the address names for reading, else the IPFS proxies where REST interfaces have their usual port.

    The token goes to no host but those of the REST interfaces, and there only over what it is sent to them over.
    Raises UsageError.
    """
    known = {_origin(url) for url in address.urls}
    kubos = _listed(address, "kubo")
    gateways = _listed(address, "gateway")
    if not kubos and not gateways:
        kubos = [proxy for url in address.urls if (proxy := _proxy(url))]

    def settings(url: str) -> dict[str, object]:
        token = authorization if _origin(url) in known else None
        return {"authorization": token, "ca_file": ca_file, "timeout": READ_SECONDS, "connections": 32}

    # A gateway gives a block in one piece, the RPC in pieces of 4 KiB: where both are named, it is asked first.
    found: list[Way] = [GatewayWay(url, **settings(url)) for url in gateways]  # type: ignore[arg-type]
    found += [KuboWay(url, **settings(url)) for url in kubos]  # type: ignore[arg-type]
    return found


def _headers(*, search: bool) -> dict[str, str]:
    return {"Accept": "application/vnd.ipld.raw"} | ({} if search else {"Cache-Control": "only-if-cached"})


def _listed(address: Address, option: str) -> list[str]:
    urls = [url.rstrip("/") for url in address.options.get(option, "").split(",") if url]
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise UsageError(f"{address.name}: {option}= wants http://HOST:PORT or https://HOST, and no password in it")
    return urls


def _origin(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname


def _proxy(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.port != _REST_PORT or parts.path:
        return ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"http://{host}:{_PROXY_PORT}"
