"""Ranges of bytes mean what the specifications say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.door import BadRequest
from pinfold.gateway.ranges import OutsideError, entity_bytes, http_range

SIZES = st.integers(0, 40)
NUMBERS = st.integers(-50, 50)


@given(SIZES, NUMBERS, NUMBERS | st.none())
def test_entity_bytes_are_those_of_the_file(size: int, first: int, last: int | None) -> None:
    """A span holds the bytes from the first to the last, where negative ones count from the end."""
    data = bytes(range(size))
    begin = first if first >= 0 else max(0, size + first)
    end = size - 1 if last is None else last if last >= 0 else size + last
    text = f"{first}:{'*' if last is None else last}"
    if last is not None and (first < 0) == (last < 0) and first > last:
        with pytest.raises(BadRequest):
            entity_bytes(text)
        return
    span = entity_bytes(text).span(size)
    assert bytes(at for at in range(size) if begin <= at <= end) == data[span.start : span.end]
    assert 0 <= span.start <= span.end <= size


@given(st.integers(1, 40), st.integers(0, 50), st.integers(0, 50))
def test_a_range_holds_first_and_last(size: int, first: int, last: int) -> None:
    """bytes=FIRST-LAST holds both ends, as far as the file goes."""
    header = f"bytes={first}-{last}"
    if last < first:
        with pytest.raises(BadRequest):
            http_range(header, size)
    elif first >= size:
        with pytest.raises(OutsideError):
            http_range(header, size)
    else:
        assert (first, min(last, size - 1) + 1) == http_range(header, size)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=5-", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-300", (0, 10)),
        ("bytes= 2 - 3 , 7-8", (2, 4)),
        ("BYTES=1-1", (1, 2)),
        ("lines=1-2", None),
        ("bytes", (0, 0)),
    ],
)
def test_other_forms(header: str, expected: tuple[int, int] | None) -> None:
    """Open ends, suffixes and blanks are understood, of several the first, and other units are passed over."""
    if expected == (0, 0):
        with pytest.raises(BadRequest):
            http_range(header, 10)
    else:
        assert expected == http_range(header, 10)


@pytest.mark.parametrize("header", ["bytes=-", "bytes=a-b", "bytes=1", "bytes=--1", "bytes=1-2-3", f"bytes={9**30}-"])
def test_what_is_no_range(header: str) -> None:
    """A range that is none is told as 400, not guessed at."""
    with pytest.raises(BadRequest) as told:
        http_range(header, 10)
    assert 400 == told.value.status


def test_an_empty_suffix() -> None:
    """The last nought bytes are a range with nothing in it: 416."""
    with pytest.raises(OutsideError):
        http_range("bytes=-0", 10)


@pytest.mark.parametrize(
    "text", ["", ":", "1", "1:", ":1", "*:1", "1:2:3", "1.5:2", "0x1:2", "1:**", "٣:٤", f"{9**30}:*"]
)
def test_what_is_no_span(text: str) -> None:
    """entity-bytes that are none are told as 400."""
    with pytest.raises(BadRequest):
        entity_bytes(text)
