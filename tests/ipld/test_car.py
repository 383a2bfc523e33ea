"""CAR: fixed header, both versions read, torn tails found to the byte, lengths bounded."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipld.strategies import cids
from pinfold.errors import Corrupt, Malformed
from pinfold.ipld import CID, car

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = CID.of(0x70, b"")
BLOCKS = [b"", b"x", b"y" * 200, b"z" * 70_000]
HEADER_HEX = "3aa265726f6f747381d82a582500" + bytes(ROOT).hex() + "6776657273696f6e01"


def a_car(roots: list[CID], blocks: list[bytes] = BLOCKS) -> bytes:
    """Return a whole file over raw blocks."""
    return car.header(roots) + b"".join(car.section(CID.of(0x55, block), block) for block in blocks)


def version_2(inner: bytes, *, gap: int = 0, size: int | None = None) -> bytes:
    """Wrap a version 1 file, with a gap before and an index behind."""
    fixed = bytes(16) + b"".join(
        number.to_bytes(8, "little")
        for number in (51 + gap, len(inner) if size is None else size, 51 + gap + len(inner))
    )
    return b"\x0a\xa1\x67version\x02" + fixed + bytes(gap) + inner + b"\x81\x08index"


class Slow(io.BytesIO):
    """A source that gives three bytes at a time, as a socket may."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most three bytes."""
        return super().read(min(3, size or 0))


def read(raw: bytes, *, verify: bool = True) -> tuple[list[CID], list[car.Block]]:
    """Read a whole file."""
    roots, blocks = car.read_car(io.BytesIO(raw), verify=verify)
    return roots, list(blocks)


def test_the_header_is_the_specs() -> None:
    """One root makes the 59 bytes that every implementation writes."""
    assert HEADER_HEX == car.header([ROOT]).hex() == car.fixed_header(ROOT).hex()
    assert car.HEADER_SIZE == len(car.fixed_header(ROOT))
    with pytest.raises(ValueError, match="Qm"):
        car.fixed_header(CID(0, 0x70, 0x12, bytes(32)))


@given(st.lists(cids, max_size=30))
def test_headers_come_back(roots: list[CID]) -> None:
    """None, one or many roots of any kind survive the header."""
    raw = car.header(roots)
    assert (roots, len(raw)) == car.read_header(io.BytesIO(raw + b"more"))


@given(st.binary(max_size=80) | st.just(car.header([ROOT])), st.integers(0, 79), st.integers(0, 255))
def test_headers_are_refused_or_the_same_bytes(raw: bytes, at: int, byte: int) -> None:
    """No two headers of version 1 mean the same roots."""
    damaged = raw[:at] + bytes((byte,)) + raw[at + 1 :]
    try:
        roots, end = car.read_header(io.BytesIO(damaged))
    except Malformed:
        return
    assert damaged[:end] == car.header(roots)


@pytest.mark.parametrize("roots", [[], [ROOT], [ROOT, CID.of(0x55, b"x")]])
@pytest.mark.parametrize("wrap", [bytes, version_2, lambda raw: version_2(raw, gap=3000)])
@pytest.mark.parametrize("source", [io.BytesIO, Slow])
def test_files_of_both_versions_are_read(
    roots: list[CID], wrap: Callable[[bytes], bytes], source: type[io.BytesIO]
) -> None:
    """Roots and blocks come back, and offsets point at the blocks, however the bytes arrive."""
    raw = wrap(a_car(roots))
    found, blocks = car.read_car(source(raw))
    expected = [(CID.of(0x55, block), block, block) for block in BLOCKS]
    assert (roots, expected) == (found, [(cid, data, raw[at : at + len(data)]) for cid, at, data in blocks])


def test_a_scan_tells_places_without_reading() -> None:
    """Scanning gives the places that reading gives."""
    raw = a_car([ROOT])
    _, start = car.read_header(io.BytesIO(raw))
    assert car.HEADER_SIZE == start
    assert [(cid, at, len(data)) for cid, at, data in read(raw)[1]] == list(car.scan(io.BytesIO(raw), start))


def test_a_torn_tail_is_found_at_every_byte() -> None:
    """Wherever a file is cut, the whole sections are told, and the start of the torn one."""
    raw = a_car([ROOT], BLOCKS[:3])
    places = list(car.scan(io.BytesIO(raw), car.HEADER_SIZE))
    ends = [car.HEADER_SIZE, *(place.offset + place.length for place in places)]
    for cut in range(car.HEADER_SIZE, len(raw)):
        whole = sum(end <= cut for end in ends) - 1
        torn = None if cut in ends else ends[whole]
        assert (places[:whole], torn) == until_torn(car.scan(io.BytesIO(raw[:cut]), car.HEADER_SIZE))
        _, blocks = car.read_car(io.BytesIO(raw[:cut]))
        read_too = (car.Place(cid, at, len(data)) for cid, at, data in blocks)
        assert (places[:whole], torn) == until_torn(read_too)


def until_torn(places: Iterator[car.Place]) -> tuple[list[car.Place], int | None]:
    """Return what comes before the end or before Malformed, and the offset that Malformed tells."""
    found: list[car.Place] = []
    try:
        for place in places:
            found.append(place)  # noqa: PERF402  what came before the error is wanted
    except Malformed as error:
        return found, error.offset
    return found, None


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\xff" * 100, b"\x25\x01\x55\x12\x20", b"\x01\x01", b"\x80\x00"])
def test_a_tail_of_rubbish_is_told_where_it_begins(tail: bytes) -> None:
    """Noughts, as a crash leaves them, and other rubbish are no sections."""
    raw = a_car([ROOT])
    for go in (lambda: list(car.scan(io.BytesIO(raw + tail), car.HEADER_SIZE)), lambda: read(raw + tail)):
        with pytest.raises(Malformed) as told:
            go()
        assert len(raw) == told.value.offset


def test_a_changed_block_is_told_when_asked() -> None:
    """Hashes are checked unless told not to; a scan checks them only when told to."""
    raw = a_car([ROOT])[:-1] + b"!"
    with pytest.raises(Corrupt):
        read(raw)
    assert b"z!" == read(raw, verify=False)[1][-1].data[-2:]
    assert len(BLOCKS) == len(list(car.scan(io.BytesIO(raw), car.HEADER_SIZE)))
    with pytest.raises(Corrupt):
        list(car.scan(io.BytesIO(raw), car.HEADER_SIZE, verify=True))


def test_sections_are_bounded() -> None:
    """A section longer than allowed is refused before it is read."""
    raw = a_car([ROOT])
    _, blocks = car.read_car(io.BytesIO(raw), max_section=500)
    with pytest.raises(Malformed, match="not 1 to 500"):
        list(blocks)
    with pytest.raises(Malformed, match="more than 500"):
        list(car.scan(io.BytesIO(raw), car.HEADER_SIZE, max_section=500))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0",
        b"\x3a",
        car.header([ROOT])[:-1],
        car.header([ROOT])[:-1] + b"\x02",
        b"\xff\xff\xff\x7f" + bytes(10),
        b"\x0a\xa1\x67version\x03" + bytes(60),
        b"\x0a\xa1\x67version\x02" + bytes(39),
        b"\x0a\xa1\x67version\x02" + bytes(60),
        version_2(b"", gap=1 << 10, size=0)[:200],
        version_2(a_car([ROOT]), size=20),
        b"\x11\xa2\x65roots\x80\x67version\x01\0",
        b"\x14\xa2\x65roots\x9b" + b"\xff" * 8 + b"\x67ver",
        b"\x0f\xa2\x65roots\x9a\xff\xff\xff\xff\xd8\x2a\x41",
    ],
)
def test_wrong_headers_are_malformed(raw: bytes) -> None:
    """Empty, cut, foreign, oversized and nested headers are told before any block."""
    with pytest.raises(Malformed):
        read(raw)


@pytest.mark.parametrize("size", [200, 10**9])
def test_a_version_2_file_must_hold_what_it_promises(size: int) -> None:
    """Blocks that end before or beyond the promised size are torn."""
    raw = version_2(a_car([ROOT]), size=size)
    with pytest.raises(Malformed):
        read(raw[: len(raw) - 7])


@given(st.binary(max_size=120))
def test_any_bytes_are_a_file_or_refused(tail: bytes) -> None:
    """No bytes raise anything but Malformed or Corrupt."""
    for raw in (tail, a_car([ROOT], [b"x"]) + tail, b"\x0a\xa1\x67version\x02" + tail):
        try:
            read(raw)
        except (Malformed, Corrupt):
            continue
