"""The UnixFS message: Kubo's bytes, times before 1970, packed sizes, and refusal of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import Malformed
from pinfold.ipld import unixfs
from pinfold.ipld.unixfs import Data, Kind

numbers = st.integers(0, (1 << 63) - 1)
messages = st.builds(
    Data,
    st.sampled_from(Kind),
    st.none() | st.binary(max_size=300),
    st.none() | numbers,
    st.lists(numbers, max_size=5).map(tuple),
    st.none() | numbers,
    st.none() | numbers,
    st.none() | st.integers(0, (1 << 32) - 1),
    st.none() | st.tuples(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 999_999_999)),
)


@given(messages)
def test_messages_come_back(message: Data) -> None:
    """A message survives its bytes."""
    assert message == unixfs.decode(unixfs.encode(message))


@given(st.binary(max_size=80) | messages.map(unixfs.encode), st.integers(0, 79), st.integers(0, 255))
def test_bytes_are_refused_or_mean_one_message(raw: bytes, at: int, byte: int) -> None:
    """Damaged bytes are refused, or read as a message that is written and read again without change."""
    damaged = raw[:at] + bytes((byte,)) + raw[at + 1 :]
    try:
        found = unixfs.decode(damaged)
    except Malformed:
        return
    assert found == unixfs.decode(unixfs.encode(found))


@pytest.mark.parametrize(
    ("message", "raw"),
    [
        (Data(Kind.DIRECTORY), "0801"),
        (Data(Kind.FILE, filesize=300, blocksizes=(200, 100)), "080218ac0220c8012064"),
        (Data(Kind.FILE, b"hi", filesize=2), "0802120268691802"),
        (Data(Kind.SYMLINK, b"foo"), "08041203666f6f"),
        (Data(Kind.SHARD, b"\x01", hash_type=0x22, fanout=256), "080512010128223080" + "02"),
        (Data(Kind.DIRECTORY, mode=0o755, mtime=(1, 0)), "080138ed034202" + "0801"),
        (Data(Kind.DIRECTORY, mtime=(-1, 5)), "08014210" + "08" + "ff" * 9 + "01" + "1505000000"),
    ],
)
def test_written_bytes_are_kubos(message: Data, raw: str) -> None:
    """Fields come in the order of their numbers, sizes one by one, no nanoseconds when there are none."""
    assert raw == unixfs.encode(message).hex()
    assert message == unixfs.decode(bytes.fromhex(raw))


def test_sizes_may_be_packed_and_fields_unknown() -> None:
    """Packed block sizes, another order and fields of later versions are read."""
    assert Data(Kind.FILE, filesize=3, blocksizes=(1, 2)) == unixfs.decode(
        bytes.fromhex("1803" + "22020102" + "0802" + "7801")
    )


@pytest.mark.parametrize(
    "raw",
    [
        "",  # no type
        "0806",  # a type that is not
        "08020802",  # the type twice
        "080212001200",  # data twice
        "0802" + "18ffffffffffffffffff01",  # a size of 64 bits
        "0802" + "18ffffffffffffffffff02",  # a number over 64 bits
        "0802" + "18" + "80" * 11,  # a number without end
        "0802" + "1900",  # a size of fixed width
        "0802" + "38ffffffff1f",  # a mode over 32 bits
        "0802" + "4200",  # a time without seconds
        "0802" + "42070801" + "1500000000",  # nought nanoseconds written out
        "0802" + "42070801" + "1500ca9a3b",  # a full second of nanoseconds
        "0802" + "42050801" + "1801",  # a field that times have not
        "0001",  # field number 0
        "0802" + "7b",  # a group
        "0802" + "7a05",  # cut short
        "01020304",
        "736f6d652064617461",
    ],
)
def test_wrong_messages_are_malformed(raw: str) -> None:
    """Missing, repeated, oversized and truncated fields are told."""
    with pytest.raises(Malformed):
        unixfs.decode(bytes.fromhex(raw))


def test_counts_are_bounded() -> None:
    """Very many block sizes, packed or not, are refused."""
    for raw in (b"\x20\x01" * (1 << 18), b"\x22\x80\x80\x10" + bytes(1 << 18)):
        with pytest.raises(Malformed, match="more than"):
            unixfs.decode(b"\x08\x02" + raw)


@pytest.mark.parametrize(
    "message", [Data(Kind.FILE, filesize=-1), Data(Kind.FILE, mtime=(0, 10**9)), Data(Kind.FILE, mtime=(1 << 63, 0))]
)
def test_numbers_out_of_range_are_not_written(message: Data) -> None:
    """What no reader would take is not written."""
    with pytest.raises(ValueError, match=r"\d"):
        unixfs.encode(message)
