"""The UnixFS message that the data of a dag-pb node holds.

Written form: fields in the order of their numbers, block sizes repeated and not packed, as Kubo writes
them.  Read form: any order, packed or not, unknown fields skipped, a field that may come once never
twice.  Sizes beyond 2**63 - 1 are refused.

Source: https://specs.ipfs.tech/unixfs/ and unixfs.proto there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pinfold.errors import Malformed
from pinfold.ipld import protobuf, varint
from pinfold.ipld.dagpb import MAX_BLOCK, MAX_LINKS

MURMUR3: Final = 0x22  # multicodec murmur3-x64-64: the only hash of sharded folders
_MAX_SIZE: Final = (1 << 63) - 1
_MAX_MODE: Final = (1 << 32) - 1
_OTHERS: Final = 16  # fields beside block sizes
_NANOS: Final = 1_000_000_000
_WHAT: Final = "UnixFS data"
_TYPE, _DATA, _FILESIZE, _BLOCKSIZES, _HASH, _FANOUT, _MODE, _MTIME = range(1, 9)
_NAMES: Final = {_TYPE: "kind", _FILESIZE: "filesize", _HASH: "hash_type", _FANOUT: "fanout", _MODE: "mode"}


class Kind(IntEnum):
    """What a UnixFS node is; the numbers are those of the format."""

    RAW = 0
    DIRECTORY = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    SHARD = 5


@dataclass(frozen=True, slots=True)
class Data:
    """One UnixFS message.  None means that the field is not there.

    `filesize` and `blocksizes` count bytes of the file; `mode` is the POSIX mode; `mtime` is (seconds
    since 1970, possibly negative; nanoseconds, 0 … 999,999,999).
    """

    kind: Kind
    data: bytes | None = None
    filesize: int | None = None
    blocksizes: tuple[int, ...] = ()
    hash_type: int | None = None
    fanout: int | None = None
    mode: int | None = None
    mtime: tuple[int, int] | None = None


def encode(message: Data) -> bytes:
    """Return the bytes of `message`.  Raises ValueError for numbers out of range."""
    out = bytearray((0x08, message.kind))
    if message.data is not None:
        out += b"\x12" + varint.encode(len(message.data)) + message.data
    for key, value in ((0x18, message.filesize), *((0x20, size) for size in message.blocksizes)):
        if value is not None:
            out.append(key)
            out += varint.encode(value)
    for key, value in ((0x28, message.hash_type), (0x30, message.fanout), (0x38, message.mode)):
        if value is not None:
            out.append(key)
            out += varint.encode(value)
    if message.mtime is not None:
        when = _encode_mtime(*message.mtime)
        out += b"\x42" + varint.encode(len(when)) + when
    return bytes(out)


def _encode_mtime(seconds: int, nanos: int) -> bytes:
    if not 0 <= nanos < _NANOS or not -1 << 63 <= seconds <= _MAX_SIZE:
        raise ValueError((seconds, nanos))
    # A negative number is written as its 64-bit complement: always ten bytes, the tenth is 1.
    number = varint.encode(seconds) if seconds >= 0 else _negative(seconds)
    # Nought nanoseconds must be left out, or equal times get two CIDs.
    return b"\x08" + number + (b"\x15" + nanos.to_bytes(4, "little") if nanos else b"")


def _negative(value: int) -> bytes:
    rest = value + (1 << 64)
    return bytes(rest >> 7 * index & 0x7F | 0x80 for index in range(9)) + b"\x01"


def decode(raw: bytes) -> Data:
    """Return the message that `raw` holds.  Raises Malformed."""
    if len(raw) > MAX_BLOCK:
        raise Malformed(_WHAT, f"{len(raw)} bytes are more than {MAX_BLOCK}")
    numbers: dict[str, int] = {}
    sizes: list[int] = []
    data: bytes | None = None
    mtime: tuple[int, int] | None = None
    for count, (field, wire, value, body, at) in enumerate(protobuf.fields(raw, _WHAT)):
        if count > MAX_LINKS + _OTHERS:  # four megabytes of fields that nobody knows take a second
            raise Malformed(_WHAT, f"more than {MAX_LINKS + _OTHERS} fields", at)
        if field in _NAMES and wire == protobuf.VARINT and _NAMES[field] not in numbers:
            numbers[_NAMES[field]] = _bounded(value, at, _MAX_MODE if field == _MODE else _MAX_SIZE)
        elif field == _BLOCKSIZES and wire in {protobuf.VARINT, protobuf.BYTES}:
            sizes.extend(_packed(body) if wire == protobuf.BYTES else (_bounded(value, at),))
            if len(sizes) > MAX_LINKS:
                raise Malformed(_WHAT, f"more than {MAX_LINKS} block sizes", at)
        elif field == _DATA and wire == protobuf.BYTES and data is None:
            data = body
        elif field == _MTIME and wire == protobuf.BYTES and mtime is None:
            mtime = _decode_mtime(body)
        elif field <= _MTIME:
            raise Malformed(_WHAT, f"field {field} comes twice or has wire type {wire}", at)
    kind = _kind(numbers.pop("kind", -1))
    return Data(kind=kind, data=data, blocksizes=tuple(sizes), mtime=mtime, **numbers)


def _kind(value: int) -> Kind:
    try:
        return Kind(value)
    except ValueError as error:
        raise Malformed(_WHAT, "there is no type" if value < 0 else f"type {value} is unknown") from error


def _bounded(value: int, at: int, most: int = _MAX_SIZE) -> int:
    if value > most:
        raise Malformed(_WHAT, f"number is over {most}", at)
    return value


def _packed(body: bytes) -> list[int]:
    sizes: list[int] = []
    at = 0
    while at < len(body):
        if len(sizes) >= MAX_LINKS:
            raise Malformed(_WHAT, f"more than {MAX_LINKS} block sizes")
        size, at = protobuf.number(body, at, _WHAT)
        sizes.append(_bounded(size, at))
    return sizes


def _decode_mtime(body: bytes) -> tuple[int, int]:
    seconds: int | None = None
    nanos: int | None = None
    for field, wire, value, raw, at in protobuf.fields(body, "UnixFS mtime"):
        if field == 1 and wire == protobuf.VARINT and seconds is None:
            seconds = value - (1 << 64) if value >> 63 else value
        elif field == 2 and wire == protobuf.FIXED32 and nanos is None:
            nanos = int.from_bytes(raw, "little")
        else:
            raise Malformed("UnixFS mtime", f"field {field} is unknown or comes twice", at)
    # Nought nanoseconds are as wrong as too many: the spec allows one spelling only.
    if seconds is None or (nanos is not None and not 0 < nanos < _NANOS):
        raise Malformed("UnixFS mtime", "has no seconds, or nanoseconds outside 1 … 999,999,999")
    return seconds, nanos or 0
