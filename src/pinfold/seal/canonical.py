"""The JSON of public documents: sorted keys, no spaces, UTF-8; what is signed is what is stored."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TypeVar, cast

from pinfold.errors import Malformed

MAX_BYTES = 1 << 20
T = TypeVar("T")


def encode(value: object) -> bytes:
    """`value` in its one canonical form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def decode(data: bytes, field: str) -> dict[str, object]:
    """The object that `data` is the canonical form of.  Raises Malformed, also for any other form."""
    if len(data) > MAX_BYTES:
        raise Malformed(field, f"{len(data)} bytes are more than {MAX_BYTES}")
    try:
        value = json.loads(data)
        same = encode(value) == data
    except (ValueError, RecursionError) as error:
        raise Malformed(field, "it is not JSON") from error
    if not isinstance(value, dict):
        raise Malformed(field, "it is not a JSON object")
    if not same:
        raise Malformed(field, "it is not in canonical form")
    return cast("dict[str, object]", value)


def take(document: dict[str, object], key: str, kind: type[T], field: str) -> T:
    """`document[key]`, which must be a `kind` (and no bool where int is asked).  Raises Malformed."""
    value = document.get(key)
    if type(value) is not kind:
        raise Malformed(field, f"{key!r} is not a {kind.__name__}")
    return value


def unbase64(text: str, field: str) -> bytes:
    """The bytes behind strict base64.  Raises Malformed."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(field, "it is not base64") from error


def unhex(text: str, size: int, field: str) -> bytes:
    """The `size` bytes behind lower-case hex.  Raises Malformed."""
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise Malformed(field, "it is not hex") from error
    if len(data) != size or data.hex() != text:
        raise Malformed(field, f"it is not {size} bytes of lower-case hex")
    return data
