"""Read protobuf messages field by field, as far as dag-pb and UnixFS need it.

Numbers may take ten bytes here: protobuf writes negative 64-bit numbers (times before 1970) so long,
where multiformats varints stop at nine.  Groups are refused.

Source: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
_MORE: Final = 0x80  # set on every byte of a number but the last
_WIDTHS: Final = {FIXED64: 8, FIXED32: 4}
_MAX_SHIFT: Final = 63


def number(data: bytes, at: int, what: str) -> tuple[int, int]:
    """Return the unsigned 64-bit number at offset `at` of `data`, and the offset behind it.

    `what` names the message in errors.  Raises Malformed when it is cut short, wider than 64 bits or
    not minimal: only one spelling per number keeps one CID per meaning.
    """
    value = shift = 0
    start, size = at, len(data)
    while at < size:
        byte = data[at]
        at += 1
        if byte < _MORE:
            value |= byte << shift
            if (byte == 0 and shift) or value >> 64:
                raise Malformed(what, "number is not minimal or wider than 64 bits", start)
            return value, at
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > _MAX_SHIFT:
            raise Malformed(what, "number is longer than ten bytes", start)
    raise Malformed(what, "number is cut short", start)


def fields(data: bytes, what: str) -> Iterator[tuple[int, int, int, bytes, int]]:
    """Yield (field number, wire type, number, bytes, offset) for every field of the message `data`.

    The number is 0 for fields of bytes and fixed width, the bytes are empty for numbers.
    Raises Malformed, with `what` as the field.
    """
    at, size = 0, len(data)
    while at < size:
        start = at
        key, at = number(data, at, what)
        field, wire = key >> 3, key & 7
        if not field:
            raise Malformed(what, "field number 0", start)
        if wire == VARINT:
            value, at = number(data, at, what)
            yield field, wire, value, b"", start
            continue
        if wire == BYTES:
            length, at = number(data, at, what)
        elif wire in _WIDTHS:
            length = _WIDTHS[wire]
        else:
            raise Malformed(what, f"wire type {wire}", start)
        end = at + length
        if end > size:
            raise Malformed(what, f"field {field} is cut short", start)
        yield field, wire, 0, data[at:end], start
        at = end
