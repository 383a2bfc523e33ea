"""CAR files: blocks in a row, each behind its length and CID.

Written: version 1.  Read: version 1, and version 2 by way of the version 1 inside it.  A header with one
sha2-256 root of CID version 1 is always HEADER_SIZE bytes long, so a file can be begun before its root
is known and the header patched in place at the end.

Crash rule: sections are appended whole and in order, so whatever a crash leaves behind the last whole
section can be cut; `scan` says where.

Source: https://ipld.io/specs/transport/car/carv1/ and carv2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from pinfold.errors import Malformed
from pinfold.ipld import varint
from pinfold.ipld.cid import CID, MAX_DIGEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEADER_SIZE: Final = 59
MAX_HEADER: Final = 1 << 20
MAX_SECTION: Final = 8 << 20
# Version, codec, hash function and digest length take at most nine bytes each.
_MAX_CID: Final = 4 * varint.MAX_BYTES + MAX_DIGEST
_PRAGMA: Final = b"\x0a\xa1\x67version\x02"
_V2_HEADER: Final = 40
_STEP: Final = 1 << 20
_ROOT_SIZE: Final = 36


class Readable(Protocol):
    """What `read_car` needs of a file: reads may come back short, empty means the end."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""


class Seekable(Readable, Protocol):
    """What `scan` needs of a file."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to `offset` from the beginning (0) or the end (2), and return the new place."""


class Block(NamedTuple):
    """One block met in a CAR: its CID, where its bytes begin in the file, the bytes."""

    cid: CID
    offset: int
    data: bytes


class Place(NamedTuple):
    """Where a block lies: its CID, where its bytes begin in the file, and how many they are."""

    cid: CID
    offset: int
    length: int


def header(roots: Sequence[CID]) -> bytes:
    """Return the header of a version 1 file with these roots, its length before it."""
    parts = [b"\xa2\x65roots", _head(0x80, len(roots))]
    for root in roots:
        # Tag 42, then the CID behind the byte that once stood for its text base.
        parts += [b"\xd8\x2a", _head(0x40, len(bytes(root)) + 1), b"\0", bytes(root)]
    parts.append(b"\x67version\x01")
    body = b"".join(parts)
    return varint.encode(len(body)) + body


def fixed_header(root: CID) -> bytes:
    """Return the header with one root, always HEADER_SIZE bytes long: to be written over another such.

    The empty folder makes a good first root: once its block is the first section, an unfinished file
    imports cleanly elsewhere.  Raises ValueError unless `root` is of version 1 with sha2-256 and a short codec.
    """
    if len(bytes(root)) != _ROOT_SIZE:
        raise ValueError(root)
    return header([root])


def section_prefix(cid: CID, length: int) -> bytes:
    """Return what stands before a block of `length` bytes, so that the block itself need not be copied."""
    raw = bytes(cid)
    return varint.encode(len(raw) + length) + raw


def section(cid: CID, block: bytes) -> bytes:
    """Return one whole section."""
    return section_prefix(cid, len(block)) + block


def decode_header(body: bytes) -> list[CID]:
    """Return the roots that a version 1 header names; `body` is without its length.  Raises Malformed."""
    if not body.startswith(b"\xa2\x65roots"):
        raise Malformed("CAR header", "is not a map of roots and version")
    count, at = _read_head(body, 7, 0x80)
    roots: list[CID] = []
    for _ in range(count):
        if body[at : at + 2] != b"\xd8\x2a":
            raise Malformed("CAR header", f"root {len(roots)} is no CID", at)
        size, at = _read_head(body, at + 2, 0x40)
        if size < 1 or at + size > len(body) or body[at]:
            raise Malformed("CAR header", f"root {len(roots)} is no CID", at)
        roots.append(CID.decode(body[at + 1 : at + size]))
        at += size
    if body[at:] != b"\x67version\x01":
        raise Malformed("CAR header", "version is not 1, or more follows it", at)
    return roots


def read_car(
    source: Readable, *, verify: bool = True, max_section: int = MAX_SECTION
) -> tuple[list[CID], Iterator[Block]]:
    """Return the roots, none or many, and an iterator over the blocks in the order of the file.

    Reads forward only and holds one section of at most `max_section` bytes.  Offsets count from where
    `source` stood at the call.  Raises Malformed, at once for the header and while iterating for a section,
    whose start is then its `offset`; with `verify`, Corrupt for a block that does not match its CID.
    """
    stream = _Stream(source)
    roots = _read_header(stream)
    return roots, _read_blocks(stream, verify=verify, max_section=max_section)


def read_header(source: Readable) -> tuple[list[CID], int]:
    """Return the roots of a version 1 file and the offset of its first section.

    Reads nothing beyond the header.  Raises Malformed.
    """
    stream = _Stream(source)
    return _read_v1_header(stream, stream.number("CAR header")), stream.at


def scan(source: Seekable, start: int, *, verify: bool = False, max_section: int = MAX_SECTION) -> Iterator[Place]:
    """Yield where each block of a version 1 file lies, from the section that begins at offset `start`.

    Passes over the blocks' bytes unless `verify`, which reads them and raises Corrupt for one that does not
    match its CID.  At a section that is cut short or makes no sense, raises Malformed with the start of
    that section as `offset`: all before it is whole, and that is where to cut.
    """
    end = source.seek(0, 2)
    at = start
    while at < end:
        source.seek(at)
        prefix = _read_up_to(source, varint.MAX_BYTES + _MAX_CID)
        place = _place(prefix, at, end, max_section)
        if verify:
            source.seek(place.offset)
            place.cid.verify(_read_up_to(source, place.length), f"CAR at byte {at}")
        yield place
        at = place.offset + place.length


def _place(prefix: bytes, at: int, end: int, max_section: int) -> Place:
    try:
        size, behind = varint.decode(prefix)
        cid, block = CID.read(prefix[: behind + size], behind)
    except Malformed as error:
        raise Malformed("CAR section", error.reason, at) from error
    if size > max_section or at + behind + size > end:
        raise Malformed("CAR section", f"{size} bytes: cut short, or more than {max_section}", at)
    return Place(cid, at + block, size - (block - behind))


class _Stream:
    """Reads forward, counts, and stops where a version 2 file says that its blocks end."""

    __slots__ = ("_source", "at", "end")

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.at = 0
        self.end: int | None = None

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end."""
        if self.end is not None:
            size = min(size, self.end - self.at)
        data = _read_up_to(self._source, size)
        self.at += len(data)
        return data

    def number(self, what: str) -> int:
        """Return the next varint, or -1 at the end.  Raises Malformed with the offset where it began."""
        start, data = self.at, b""
        while len(data) < varint.MAX_BYTES:
            byte = self.take(1)
            if not byte:
                break
            data += byte
            if byte < b"\x80":
                break
        if not data:
            return -1
        try:
            return varint.decode(data)[0]
        except Malformed as error:
            raise Malformed(what, error.reason, start) from error

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        while size:
            passed = len(self.take(min(size, _STEP)))
            if not passed:
                raise Malformed("CAR header", "file ends before its blocks begin", self.at)
            size -= passed


def _read_up_to(source: Readable, size: int) -> bytes:
    data = source.read(size)
    if len(data) == size or not data:
        return data
    parts = [data]
    size -= len(data)
    while size:
        data = source.read(size)
        if not data:
            break
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _read_header(stream: _Stream) -> list[CID]:
    size = stream.number("CAR header")
    if size != len(_PRAGMA) - 1:
        return _read_v1_header(stream, size)
    # Ten bytes are too few for any version 1 header, so this is version 2 or nothing.
    if stream.take(size) != _PRAGMA[1:]:
        raise Malformed("CAR header", "is neither version 1 nor 2", 0)
    fixed = stream.take(_V2_HEADER)
    if len(fixed) != _V2_HEADER:
        raise Malformed("CAR header", "is cut short", stream.at)
    offset, length = int.from_bytes(fixed[16:24], "little"), int.from_bytes(fixed[24:32], "little")
    if offset < stream.at:
        raise Malformed("CAR header", f"its blocks cannot begin at byte {offset}", len(_PRAGMA) + 16)
    stream.skip(offset - stream.at)
    stream.end = offset + length
    return _read_v1_header(stream, stream.number("CAR header"))


def _read_v1_header(stream: _Stream, size: int) -> list[CID]:
    if not 0 < size <= MAX_HEADER:
        raise Malformed("CAR header", f"{max(size, 0)} bytes, not 1 to {MAX_HEADER}", 0)
    body = stream.take(size)
    if len(body) != size:
        raise Malformed("CAR header", "is cut short", stream.at)
    return decode_header(body)


def _read_blocks(stream: _Stream, *, verify: bool, max_section: int) -> Iterator[Block]:
    while True:
        start = stream.at
        size = stream.number("CAR section")
        if size < 0:
            # A version 2 file that promised more blocks than there are has lost its tail.
            if stream.end is not None and start < stream.end:
                raise Malformed("CAR section", "is cut short", start)
            return
        if not 0 < size <= max_section:
            raise Malformed("CAR section", f"{size} bytes, not 1 to {max_section}", start)
        body_at = stream.at
        body = stream.take(size)
        if len(body) != size:
            raise Malformed("CAR section", "is cut short", start)
        try:
            cid, end = CID.read(body)
        except Malformed as error:
            raise Malformed("CAR section", error.reason, start) from error
        block = body[end:]
        if verify:
            cid.verify(block, f"CAR at byte {start}")
        yield Block(cid, body_at + end, block)


def _head(major: int, value: int) -> bytes:
    """Return the first bytes of a CBOR item, `value` below 2**32."""
    for limit, mark, width in ((24, 0, 0), (1 << 8, 24, 1), (1 << 16, 25, 2), (1 << 32, 26, 4)):
        if value < limit:
            return bytes((major | mark,)) + value.to_bytes(width, "big") if width else bytes((major | value,))
    raise ValueError(value)


def _read_head(body: bytes, at: int, major: int) -> tuple[int, int]:
    """Return the value of the CBOR head at `at`, which must be of kind `major`, and the offset behind it."""
    first = body[at] - major if at < len(body) else -1
    widths = {24: 1, 25: 2, 26: 4}
    width = widths.get(first, 0)
    value = int.from_bytes(body[at + 1 : at + 1 + width], "big") if width else first
    if value < 0 or _head(major, value) != body[at : at + 1 + width]:
        raise Malformed("CAR header", "a length is missing, unknown or not minimal", at)
    return value, at + 1 + width
