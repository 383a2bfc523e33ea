"""What a pinning service says of its pins, read as the word of a stranger.

Source: IPFS Pinning Service API 1.0.0, schemas PinStatus and PinResults.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pinfold.errors import Malformed, Refused
from pinfold.ipld.cid import CID

QUEUED: Final = "queued"
PINNING: Final = "pinning"
PINNED: Final = "pinned"
FAILED: Final = "failed"
STATUSES: Final = (QUEUED, PINNING, PINNED, FAILED)
_MAX_ID: Final = 1024
_MAX_TOLD: Final = 300
_MAX_TIME: Final = 64


@dataclass(frozen=True, slots=True)
class Record:
    """One pin request.  `created` as it was written; `when`: the same as a time; `root`: as version 1."""

    id: str
    status: str
    created: str
    when: datetime
    root: CID
    name: str
    delegates: tuple[str, ...]
    details: str


def same(cid: CID) -> CID:
    """A CID as version 1: services may answer with the other."""
    return CID(1, cid.codec, cid.hash_code, cid.digest)


def record(told: object, where: str) -> Record:
    """A pin status.  Raises Refused for what is none."""
    pin = told.get("pin") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not isinstance(pin, dict):
        raise _nonsense(where, "a pin status is no object with a pin in it")
    status = told.get("status")
    if status not in STATUSES:
        raise _nonsense(where, f"a status is none of {', '.join(STATUSES)}")
    try:
        root = same(CID.parse(_text(pin, "cid", where)))
    except Malformed as error:
        raise _nonsense(where, f"a CID is none ({error.reason})") from error
    created = _text(told, "created", where)[:_MAX_TIME]
    info = told.get("info")
    details = info.get("status_details") if isinstance(info, dict) else None
    delegates = told.get("delegates")
    return Record(
        id=_identity(told, where),
        status=str(status),
        created=created,
        when=_time(created, where),
        root=root,
        name=_name(pin, where),
        delegates=tuple(_line(one) for one in delegates[:20] if isinstance(one, str))
        if isinstance(delegates, list)
        else (),
        details=_line(details) if isinstance(details, str) else "",
    )


def results(told: object, where: str) -> tuple[int, list[Record]]:
    """How many pins there are in all, and those on this page.  Raises Refused for what is no such answer."""
    if not isinstance(told, dict):
        raise _nonsense(where, "a list of pins is no object")
    count, found = told.get("count"), told.get("results")
    # IPFS Cluster writes an empty list as null.
    found = [] if found is None else found
    if not isinstance(count, int) or not isinstance(found, list):
        raise _nonsense(where, "a list of pins has no count, or no results")
    return count, [record(one, where) for one in found]


def _identity(told: dict[str, Any], where: str) -> str:
    found = _text(told, "requestid", where)
    # It becomes part of a path: one that leads elsewhere is no id.
    if not 0 < len(found) <= _MAX_ID or "/" in found or not found.strip(".") or not found.isprintable():
        raise _nonsense(where, "a requestid is empty, long, or leads elsewhere")
    return found


def _name(pin: dict[str, Any], where: str) -> str:
    return "" if pin.get("name") is None else _text(pin, "name", where)


def _text(told: dict[str, Any], key: str, where: str) -> str:
    found = told.get(key)
    if not isinstance(found, str):
        raise _nonsense(where, f"{key} is no text")
    return found


def _time(written: str, where: str) -> datetime:
    try:
        found = datetime.fromisoformat(written)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _nonsense(where, "a time is not as RFC 3339 writes it") from error


def _line(text: str) -> str:
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)[:_MAX_TOLD]


def _nonsense(where: str, what: str) -> Refused:
    return Refused(f"{where} does not speak the Pinning Service API: {what}")
