"""What a client asks of the list of pins, turned into conditions of SQL.

Source: IPFS Pinning Service API 1.0.0, parameters of GET /pins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pinfold.door import BadRequest
from pinfold.pinning import moments
from pinfold.pinning.documents import MAX_NAME, parse_meta, root_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.door import Request

MOST: Final = 1000
USUAL: Final = 10
MAX_CIDS: Final = 10
# Each key is looked for in every pin: 45 of them over 90,000 pins took 7.8 s.
MAX_KEYS: Final = 10
_NUMBER: Final = re.compile(r"[0-9]{1,4}")


class Status(StrEnum):
    """How far a request has come."""

    QUEUED = "queued"
    PINNING = "pinning"
    PINNED = "pinned"
    FAILED = "failed"


_META: Final = "EXISTS (SELECT 1 FROM json_each(meta) WHERE key = ? AND value = ?)"
_MATCHES: Final = {
    "exact": "name = ?",
    "iexact": "folded = ?",
    "partial": "instr(name, ?) > 0",
    "ipartial": "instr(folded, ?) > 0",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions, the values in them, and how many results are wanted."""

    conditions: tuple[str, ...]
    values: tuple[object, ...]
    limit: int


def parse(request: Request) -> Filter:
    """What this request asks for; without a status, what is pinned.  Raises BadRequest."""
    parts: list[tuple[str, Sequence[object]]] = [_statuses(request), *_cids(request), *_names(request)]
    for option, condition in (("before", "created < ?"), ("after", "created > ?")):
        value = request.option(option)
        if value is not None:
            parts.append((condition, [_moment(option, value)]))
    meta = parse_meta(request.option("meta") or "{}")
    if len(meta) > MAX_KEYS:
        raise BadRequest(400, f"meta: at most {MAX_KEYS} keys at once")
    parts += [(_META, pair) for pair in meta.items()]
    conditions = tuple(condition for condition, _ in parts)
    return Filter(conditions, tuple(value for _, values in parts for value in values), _limit(request))


def _statuses(request: Request) -> tuple[str, Sequence[object]]:
    given = _list(request, "status") or [Status.PINNED]
    known = {status.value for status in Status}
    for status in given:
        if status not in known:
            raise BadRequest(400, f"status: {status[:80]!r} is none of {', '.join(sorted(known))}")
    return f"status IN ({','.join('?' * len(given))})", [str(status) for status in given]


def _cids(request: Request) -> list[tuple[str, Sequence[object]]]:
    given = _list(request, "cid")
    if len(given) > MAX_CIDS:
        raise BadRequest(400, f"cid: at most {MAX_CIDS} at once")
    if not given:
        return []
    return [(f"root IN ({','.join('?' * len(given))})", [bytes(root_of(cid)) for cid in given])]


def _names(request: Request) -> list[tuple[str, Sequence[object]]]:
    name, match = request.option("name"), request.option("match") or "exact"
    if match not in _MATCHES:
        raise BadRequest(400, f"match: {match[:80]!r} is none of {', '.join(_MATCHES)}")
    if name is None:
        return []
    if len(name) > MAX_NAME or "\0" in name:
        raise BadRequest(400, f"name: is no text of at most {MAX_NAME} letters")
    return [(_MATCHES[match], [name if match in {"exact", "partial"} else name.casefold()])]


def _moment(option: str, value: str) -> int:
    try:
        return moments.parse(value)
    except ValueError as error:
        raise BadRequest(400, f"{option}: {value[:80]!r} is no time as RFC 3339 writes it") from error


def _limit(request: Request) -> int:
    given = request.option("limit")
    if given is None:
        return USUAL
    if not _NUMBER.fullmatch(given) or not 1 <= int(given) <= MOST:
        raise BadRequest(400, f"limit: {given[:80]!r} is no number from 1 to {MOST}")
    return int(given)


def _list(request: Request, option: str) -> list[str]:
    """A list as clients write it: a,b or option=a&option=b."""
    given = [value for key, value in request.query if key == option]
    return list(dict.fromkeys(part for value in given for part in value.split(",") if part))
