"""A pinning service as a store: it takes no blocks, it is told what to fetch and from where.

So it stands beside a store that others can reach, in a mirror.  A pin counts once the service says "pinned",
and with a gateway only if a sample of its blocks comes through that: a service is not believed.

Crash rule: what is replaced is dropped after its successor is pinned, so a run that is cut short leaves one
pin too many, never one too few.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from pinfold.clock import rfc3339
from pinfold.errors import Corrupt, Malformed, Missing, Refused, StoreError, UsageError
from pinfold.ipld.cid import IDENTITY
from pinfold.store.address import Address
from pinfold.store.gateway import GatewayStore
from pinfold.store.pinning import records
from pinfold.store.pinning.api import Api
from pinfold.store.pinning.proof import sample
from pinfold.store.seam import CopyStatus, Pin, PinState, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pinfold.ipld.cid import CID
    from pinfold.seal.secret import Secret
    from pinfold.store.pinning.records import Record
    from pinfold.store.seam import Block

_WAIT: Final = 120.0
_MAX_NAME: Final = 255
_MAX_ORIGINS: Final = 20
_FIRST_POLL: Final = 0.1
_LONGEST_POLL: Final = 5.0
_LONGEST_LAG: Final = 10.0
_DELEGATES_TOLD: Final = 2
_OURS: Final = "pinfold/"
_TOLD_OF_A_NAME: Final = 60
_STATES: Final = {
    records.QUEUED: PinState.PINNING,
    records.PINNING: PinState.PINNING,
    records.PINNED: PinState.PINNED,
    records.FAILED: PinState.FAILED,
}
# What tells most of a root that several requests are about.
_BEST: Final = (records.PINNED, records.PINNING, records.QUEUED, records.FAILED)


class PinningStore:
    """The pins that one account has at a pinning service."""

    def __init__(self, address: Address, *, authorization: Secret | None = None, ca_file: Path | None = None) -> None:
        """Asks nothing yet.  `address`: psa+https://… with gateway, origins and wait.  Raises UsageError."""
        if len(address.urls) != 1:
            raise UsageError(f"{address.name}: a pinning service has one address; mirror several by settings")
        self._name = address.name
        self._wait = address.seconds("wait", _WAIT)
        self._origins = tuple(one for one in address.options.get("origins", "").split(",") if one)
        for origin in self._origins[_MAX_ORIGINS:] or [one for one in self._origins if not _is_origin(one)]:
            raise UsageError(
                f"{self._name}: origins are at most {_MAX_ORIGINS}, each as /dns4/HOST/tcp/443/https or"
                f" https://HOST: {origin!r} is not"
            )
        self._api = Api(address.urls[0], authorization=authorization, ca_file=ca_file)
        # The service's token is not for its gateway, which may be somebody else's.
        self._gateway = _gateway(address, ca_file)

    @property
    def name(self) -> str:
        """The address."""
        return self._name

    @property
    def origins(self) -> tuple[str, ...]:
        """Where the service is told to fetch from."""
        return self._origins

    @property
    def at_once(self) -> int:
        """How many calls of `get` should be under way at the same time."""
        return self._gateway.at_once if self._gateway is not None else 1

    @property
    def warnings(self) -> list[str]:
        """What its gateway did wrong."""
        return self._gateway.warnings if self._gateway is not None else []

    def session(self) -> AbstractContextManager[None]:
        """Nothing to guard: no block is written here."""
        return nullcontext()

    def put(self, blocks: Iterable[Block]) -> int:
        """Raise Refused, save for nothing."""
        for _ in blocks:
            raise Refused(
                f"{self._name} is a pinning service and takes no blocks, it fetches them: make it a mirror of a"
                " store that it can reach, and name that one's address as its origins"
            )
        return 0

    def get(self, cid: CID) -> bytes:
        """The block through the gateway.  Raises Missing, Corrupt, Refused where no gateway is known."""
        if cid.hash_code == IDENTITY:
            return cid.digest
        return self._reading().get(cid)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that the gateway holds.  Raises Refused where none is known."""
        wanted = list(cids)
        carried = {cid for cid in wanted if cid.hash_code == IDENTITY}
        rest = [cid for cid in wanted if cid not in carried]
        return carried | (self._reading().has(rest) if rest else set())

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Ask for the pin, and wait for it as long as the address says; a status that is `short` if it takes longer.

        What it replaces is dropped once it is pinned.  Raises Refused, Unavailable.
        """
        if len(name) > _MAX_NAME:
            raise Refused(f"{self._name} takes names of at most {_MAX_NAME} letters, not {name[:40]!r}…")
        mine = self._api.about([root])
        kept = self._settled(self._wanted(root, name, mine))
        copy = self._copy(kept, prove=True)
        if copy.state is PinState.PINNED:
            gone = [one for one in mine if one.id != kept.id]
            if replaces is not None and records.same(replaces) != records.same(root):
                gone += self._api.about([replaces])
            for one in gone:
                self._api.delete(one)
        return PinStatus(root, (copy,))

    def _wanted(self, root: CID, name: str, mine: Sequence[Record]) -> Record:
        """The request to wait for: one there is, or a new one beside those there are."""
        alive = [one for one in _sorted(mine) if one.status != records.FAILED]
        for one in alive:
            if one.name == name:
                return one
        try:
            return self._api.add(root, name, self._origins)
        except Refused:
            # Some services take no CID twice. Where they do, a new request is safer than one in place of another:
            # IPFS Cluster unpins what is replaced by itself under another name.
            if not alive:
                raise
            return self._api.add(root, name, self._origins, alive[0].id)

    def _settled(self, known: Record) -> Record:
        """The request once it is pinned or failed, or as it is when waiting is over."""
        until = time.monotonic() + self._wait
        pause = _FIRST_POLL
        while known.status in {records.QUEUED, records.PINNING}:
            left = until - time.monotonic()
            if left <= 0:
                return known
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_POLL)
            found = self._api.get(known)
            # A cluster of several peers may not know at once what one of them has just answered.
            if found is None and time.monotonic() > until - self._wait + _LONGEST_LAG:
                raise Refused(f"{self._name} has lost the request for {known.root}, or somebody has dropped it")
            known = found or known
        return known

    def unpin(self, roots: Iterable[CID]) -> None:
        """Drop every request for these roots, waiting ones too."""
        for one in self._api.about(roots):
            self._api.delete(one)

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """What is pinned; each root under the name it was given last."""
        query = [("status", records.PINNED)]
        if prefix and len(prefix) <= _MAX_NAME:
            query += [("name", prefix), ("match", "partial")]
        found: dict[CID, Record] = {}
        for one in self._api.list(query):
            if one.status == records.PINNED and (one.root not in found or found[one.root].when < one.when):
                found[one.root] = one
        pins = [Pin(root, one.name) for root, one in found.items() if one.name.startswith(prefix)]
        return iter(sorted(pins, key=lambda pin: (pin.name, pin.root)))

    def status(self, root: CID) -> PinStatus:
        """What the service says of this root, one copy."""
        found = _sorted(self._api.about([root]))
        if not found:
            return PinStatus(root, (CopyStatus(self._name, PinState.ABSENT),))
        copy = self._copy(found[0], prove=False)
        if copy.state is PinState.PINNED and not any(one.name.startswith(_OURS) for one in found):
            # Kept it is; but a restore from here finds snapshots by their names.
            also = f"under another name, {found[0].name[:_TOLD_OF_A_NAME]!r}: pinfold replicate pins it under its own"
            copy = dataclasses.replace(copy, detail="; ".join(part for part in (also, copy.detail) if part))
        return PinStatus(root, (copy,))

    def usage(self) -> Usage:
        """Nothing that is known."""
        return Usage(0)

    def close(self) -> None:
        """Let go of connections."""
        self._api.close()
        if self._gateway is not None:
            self._gateway.close()

    def _copy(self, told: Record, *, prove: bool) -> CopyStatus:
        state, detail = _STATES[told.status], told.details
        if state is PinState.PINNED and prove and self._gateway is not None:
            state, detail = self._proved(told.root, self._gateway)
        elif state is PinState.PINNING:
            delegates = ", ".join(told.delegates[:_DELEGATES_TOLD])
            parts = (told.status, told.details, f"it can be reached at {delegates}" if delegates else "")
            detail = "; ".join(part for part in parts if part)
        return CopyStatus(self._name, state, rfc3339(told.when), detail)

    def _proved(self, root: CID, gateway: GatewayStore) -> tuple[PinState, str]:
        try:
            count = sample(root, gateway.get)
        except (Missing, Corrupt, Malformed) as error:
            return PinState.FAILED, f"the service says pinned, but {error}"
        except StoreError as error:
            return PinState.PINNING, f"the service says pinned, which could not be looked into: {error}"
        return PinState.PINNED, f"{count} of its blocks were fetched and checked"

    def _reading(self) -> GatewayStore:
        if self._gateway is None:
            raise Refused(
                f"{self._name} cannot be read: a pinning service gives no blocks; name its gateway, as"
                f" {self._name}?gateway=https://HOST"
            )
        return self._gateway


def _sorted(found: Iterable[Record]) -> list[Record]:
    """What tells most first, of those the newest."""
    newest = sorted(found, key=lambda one: one.when, reverse=True)
    return sorted(newest, key=lambda one: _BEST.index(one.status))


def _is_origin(text: str) -> bool:
    return text.isprintable() and (text.startswith("/") or _is_url(text))


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(host) and "@" not in parts.netloc


def _gateway(address: Address, ca_file: Path | None) -> GatewayStore | None:
    urls = tuple(one.rstrip("/") for one in address.options.get("gateway", "").split(",") if one)
    for url in urls:
        if not _is_url(url):
            raise UsageError(f"{address.name}: gateway is https://HOST, with no name and password in it")
    return GatewayStore(Address("gateway", urls), ca_file=ca_file) if urls else None
