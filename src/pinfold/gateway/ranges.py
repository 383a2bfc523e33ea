"""Byte ranges: the `Range` header of HTTP and `entity-bytes` of CARs.  Ends are exclusive here.

Source: RFC 9110 section 14, and https://specs.ipfs.tech/http-gateways/trustless-gateway/, "entity-bytes".
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pinfold.door import BadRequest

# Nineteen digits hold any length a file can have; longer ones only cost time.
_RANGE: Final = re.compile(r"[ \t]*(\d{0,19})[ \t]*-[ \t]*(\d{0,19})[ \t]*", re.ASCII)
_ENTITY: Final = re.compile(r"(-?\d{1,19}):(\*|-?\d{1,19})", re.ASCII)


class OutsideError(BadRequest):
    """A range none of whose bytes are there; `size` is how many are."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(416, f"there are {size} bytes: nothing lies in that range")


class Span(NamedTuple):
    """Bytes `start` up to but not including `end`."""

    start: int
    end: int


class Entity(NamedTuple):
    """What `entity-bytes` says: first and last byte, negative ones counted from the end; None: the end."""

    first: int
    last: int | None

    def span(self, size: int) -> Span:
        """Return the bytes meant in a file of `size`; empty where the file has none of them."""
        start = self.first if self.first >= 0 else max(0, size + self.first)
        end = size
        if self.last is not None:
            end = min(size, (self.last if self.last >= 0 else size + self.last) + 1)
        return Span(min(start, size), max(end, min(start, size)))


def entity_bytes(text: str) -> Entity:
    """Return what an `entity-bytes` parameter says.  Raises BadRequest 400."""
    found = _ENTITY.fullmatch(text)
    if not found:
        raise BadRequest(400, "entity-bytes must be FROM:TO, two whole numbers, where TO may be *")
    first, last = int(found[1]), None if found[2] == "*" else int(found[2])
    if last is not None and (first < 0) == (last < 0) and first > last:
        raise BadRequest(400, "entity-bytes ends before it begins")
    return Entity(first, last)


def http_range(header: str, size: int) -> Span | None:
    """Return the first of the ranges in a `Range` header, cut to `size`; None: all of it is wanted.

    As in Kubo one range is answered, the first.  Raises BadRequest 400 for what is no range of bytes,
    OutsideError for one outside.
    """
    unit, _, ranges = header.partition("=")
    if unit.strip().lower() != "bytes":
        return None  # as RFC 9110 asks of units one does not know
    found = _RANGE.fullmatch(ranges.split(",", 1)[0])
    if not found or not (found[1] or found[2]):
        raise BadRequest(400, "Range must be bytes=FROM-TO")
    if size == 0:
        return None  # some clients put a Range on everything: an empty file is sent as it is
    if not found[1]:
        span = Span(max(0, size - int(found[2])), size)
    else:
        span = Span(int(found[1]), min(size, int(found[2]) + 1) if found[2] else size)
        if found[2] and int(found[2]) < span.start:
            raise BadRequest(400, "Range ends before it begins")
    if span.start >= size:
        raise OutsideError(size)
    return span
