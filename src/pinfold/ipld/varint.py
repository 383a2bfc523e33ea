"""Unsigned LEB128 as multiformats restricts it: at most nine bytes, and minimal.

Source: https://github.com/multiformats/unsigned-varint.
"""

from __future__ import annotations

from pinfold.errors import Malformed

MAX_BYTES = 9


def encode(value: int) -> bytes:
    """`value` (0 ≤ value < 2**63) as a minimal varint."""
    if not 0 <= value < 1 << 63:
        raise ValueError(value)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes | memoryview, offset: int = 0, field: str = "varint") -> tuple[int, int]:
    """The number at `offset` and the offset behind it.

    Raises Malformed when cut short, longer than nine bytes, or not minimal.
    """
    value = 0
    for index in range(MAX_BYTES):
        at = offset + index
        if at >= len(data):
            raise Malformed(field, "number is cut short", at)
        byte = data[at]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if byte == 0 and index:
                raise Malformed(field, "number is not minimal", at)
            return value, at + 1
    raise Malformed(field, "number is longer than nine bytes", offset)
