"""What a peer's REST interface says, as far as it is needed, read with suspicion.

Source: IPFS Cluster 1.1.6, api/types.go (GlobalPinInfo, Pin, Metric, Alert, ID).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pinfold.clock import rfc3339
from pinfold.errors import Malformed, Refused
from pinfold.ipld.cid import CID
from pinfold.store.cluster.endpoints import WRONG_SERVER
from pinfold.store.seam import PinState

_LONGEST: Final = 300
_MOST_PEERS: Final = 10_000
REMOTE: Final = "remote"
WAITING: Final = frozenset({"pinning", "pin_queued", "unpinned", "unpinning", "unpin_queued"})
BROKEN: Final = frozenset({"pin_error", "unexpectedly_unpinned", "unpin_error"})
SILENT: Final = "cluster_error"
_SHORT: Final = 60
_PLAIN: Final = (
    (("no space left", "disk quota", "not enough space"), "its Kubo has no room left"),
    (("/api/v0/",), "its Kubo does not answer"),
    (("failed to dial", "dials failed", "stream reset", "no addresses", "connection refused"), "it does not answer"),
    (("deadline exceeded", "timeout", "timed out"), "it took too long"),
    (("context canceled",), "it was stopped"),
)
_ABSENT: Final = frozenset({"unpinned", "unpinning", "unpin_queued", "unpin_error"})


@dataclass(frozen=True, slots=True)
class PeerState:
    """What one peer says of one pin.  `since`: RFC 3339 UTC by the peer's own clock, or empty."""

    peer: str
    name: str
    word: str
    since: str
    error: str

    @property
    def state(self) -> PinState:
        """The word in terms of stores."""
        if self.word == "pinned":
            return PinState.PINNED
        if self.word in _ABSENT:
            return PinState.ABSENT
        return PinState.PINNING if self.word in WAITING else PinState.FAILED


@dataclass(frozen=True, slots=True)
class Allocation:
    """A pin as the cluster wants it.  `lowest`, `highest`: replication factors, -1 for every peer."""

    cid: CID
    name: str
    lowest: int
    highest: int
    peers: tuple[str, ...]
    metadata: dict[str, str]
    passing: bool


def plain(error: str) -> str:
    """What a peer's error says, in a few words that fit a table."""
    low = error.lower()
    return next((words for marks, words in _PLAIN if any(mark in low for mark in marks)), _short(error))


def states(told: object, where: str) -> list[PeerState]:
    """The peers of a `GET /pins/{cid}`, by name.  Raises Refused."""
    peers = _dictionary(_dictionary(told, where).get("peer_map") or {}, where)
    if len(peers) > _MOST_PEERS:
        raise _strange(where)
    found = []
    for peer, one in peers.items():
        said = _dictionary(one, where)
        name = _text(said.get("peername")) or _text(peer)
        found.append(
            PeerState(
                _text(peer), name, _text(said.get("status")), moment(said.get("timestamp")), _text(said.get("error"))
            )
        )
    return sorted(found, key=lambda state: (state.name, state.peer))


def allocation(told: object, where: str) -> Allocation:
    """One pin of `GET /allocations`.  Raises Refused."""
    pin = _dictionary(told, where)
    try:
        cid = CID.parse(str(pin.get("cid")))
        lowest, highest = int(pin.get("replication_factor_min", 0)), int(pin.get("replication_factor_max", 0))
    except (Malformed, ValueError, TypeError) as error:
        raise _strange(where) from error
    metadata = pin.get("metadata") or {}
    held = {str(key): str(value) for key, value in metadata.items()} if isinstance(metadata, dict) else {}
    peers = tuple(_text(peer) for peer in pin.get("allocations") or ())
    # Go's zero time stands for "never".
    expires = not str(pin.get("expire_at") or "0001-").startswith("0001-")
    passing = expires or pin.get("type") != "pin" or pin.get("mode") != "recursive"
    return Allocation(cid, str(pin.get("name") or ""), lowest, highest, peers, held, passing)


@dataclass(frozen=True, slots=True)
class Freed:
    """How many blocks one peer's Kubo collected, and what stopped it, or nothing."""

    name: str
    blocks: int
    error: str


def freed(told: object, where: str) -> list[Freed]:
    """What each peer says to `POST /ipfs/gc`, by name.  Raises Refused."""
    peers = _dictionary(_dictionary(told, where).get("peer_map") or {}, where)
    found = []
    for peer, one in peers.items():
        said = _dictionary(one, where)
        keys = said.get("keys") or []
        if not isinstance(keys, list):
            raise _strange(where)
        errors = [_text(key.get("error")) for key in keys if isinstance(key, dict) and key.get("error")]
        error = _text(said.get("error")) or next(iter(errors), "")
        found.append(Freed(_text(said.get("peername")) or _text(peer), len(keys) - len(errors), error))
    return sorted(found, key=lambda one: one.name)


def members(told: object, where: str) -> set[str]:
    """The IDs of the peers that a `GET /id` names.  Raises Refused."""
    listed = _dictionary(told, where).get("cluster_peers") or []
    if not isinstance(listed, list) or len(listed) > _MOST_PEERS:
        raise _strange(where)
    return {_text(peer) for peer in listed}


def lost(told: object, where: str) -> dict[str, str]:
    """The peers, ID to name, whose sign of life ran out, as `GET /health/alerts` tells.  Raises Refused."""
    if not isinstance(told, list):
        raise _strange(where)
    found: dict[str, str] = {}
    for one in told[:_MOST_PEERS]:
        alert = _dictionary(one, where)
        if alert.get("name") == "ping" and alert.get("peer"):
            found.setdefault(_text(alert["peer"]), _alert_name(alert))
    return found


def rooms(told: object, where: str) -> dict[str, int]:
    """Free bytes by peer ID, as `GET /monitor/metrics/freespace` tells; outdated ones are left out.  Raises Refused."""
    found: dict[str, int] = {}
    if told is not None and not isinstance(told, list):
        raise _strange(where)
    for one in (told or [])[:_MOST_PEERS]:
        metric = _dictionary(one, where)
        if metric.get("valid"):
            try:
                found[_text(metric.get("peer"))] = max(int(metric.get("value") or 0), 0)
            except (ValueError, TypeError) as error:
                raise _strange(where) from error
    return found


def moment(told: object) -> str:
    """A time as pinfold writes it; empty for what is none."""
    try:
        parsed = datetime.fromisoformat(str(told))
        return rfc3339(parsed) if parsed.tzinfo is not None and parsed.year > 1 else ""
    except (ValueError, OverflowError):
        return ""


def _alert_name(alert: dict[str, Any]) -> str:
    try:
        told = json.loads(str(alert.get("value") or "{}"))
    except (ValueError, RecursionError):
        told = {}
    name = told.get("peer_name") if isinstance(told, dict) else None
    return _text(name) or _text(alert["peer"])


def _short(error: str) -> str:
    return error if len(error) <= _SHORT else f"{error[:_SHORT]}…"


def _dictionary(told: object, where: str) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise _strange(where)
    return told


def _text(told: object) -> str:
    line = " ".join(str(told or "").split())[:_LONGEST]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _strange(where: str) -> Refused:
    return Refused(f"{where} does not answer as an IPFS Cluster does: {WRONG_SERVER}")
