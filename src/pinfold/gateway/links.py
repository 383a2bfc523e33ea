"""What a block links to, for every codec that is walked here.

DAG-CBOR is read for its links only: heads of items in a row, without building what they hold, so that neither
depth nor width costs memory.

Source: https://ipld.io/specs/codecs/dag-cbor/spec/ and RFC 8949.
"""

from __future__ import annotations

from typing import Final

from pinfold.errors import Malformed
from pinfold.ipld.cid import CID, DAG_CBOR, DAG_PB, RAW
from pinfold.ipld.walk import links as walked

JSON: Final = 0x0200
CBOR: Final = 0x51
WALKED: Final = frozenset({RAW, DAG_PB, DAG_CBOR, JSON, CBOR})
_LEAVES: Final = frozenset({RAW, JSON, CBOR})
_WHAT: Final = "DAG-CBOR block"
_LINK: Final = 42
_BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(2, 7)
# Items inside a list or map, for each it counts.
_INSIDE: Final = {_ARRAY: 1, _MAP: 2}
_WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_MOST: Final = 8 << 20


def links(cid: CID, block: bytes) -> list[CID]:
    """Return the CIDs that `block` links to, in order and with repeats.  Raises Malformed, also for other codecs."""
    if cid.codec in _LEAVES:
        return []
    return _cbor(block) if cid.codec == DAG_CBOR else walked(cid, block)


def _cbor(block: bytes) -> list[CID]:
    if len(block) > _MOST:
        raise Malformed(_WHAT, f"{len(block)} bytes are more than {_MOST}")
    found: list[CID] = []
    at, due, linked = 0, 1, False
    while due:
        start = at
        major, value, at = _head(block, at)
        if major in {_BYTES, _TEXT}:
            body, at = block[at : at + value], at + value
            if at > len(block):
                raise Malformed(_WHAT, "a string is cut short", start)
            if linked:
                found.append(_cid(major, body, start))
        elif linked:
            raise Malformed(_WHAT, "a link is no byte string", start)
        linked = major == _TAG
        if linked and value != _LINK:
            raise Malformed(_WHAT, f"tag {value} is none of DAG-CBOR", start)
        due += _INSIDE.get(major, 0) * value + linked - 1
    if at != len(block):
        raise Malformed(_WHAT, f"{len(block) - at} bytes follow it", at)
    return found


def _head(block: bytes, at: int) -> tuple[int, int, int]:
    """Return the kind of the item at `at`, its number or length, and the offset behind them."""
    if at >= len(block):
        raise Malformed(_WHAT, "is cut short", at)
    major, low = block[at] >> 5, block[at] & 31
    width = _WIDTHS.get(low, 0)
    if low >= 24 and not width:
        raise Malformed(_WHAT, "a length is not definite", at)
    end = at + 1 + width
    if end > len(block):
        raise Malformed(_WHAT, "is cut short", at)
    return major, int.from_bytes(block[at + 1 : end], "big") if width else low, end


def _cid(major: int, body: bytes, at: int) -> CID:
    if major != _BYTES or not body.startswith(b"\0"):
        raise Malformed(_WHAT, "a link is no byte string, or does not begin with a nought", at)
    return CID.decode(body[1:])
