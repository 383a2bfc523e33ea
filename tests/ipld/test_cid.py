"""CIDs and varints: vectors, round trips, and refusal of every second spelling."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipld.strategies import cids
from pinfold.errors import Corrupt, Malformed
from pinfold.ipld import CID, varint

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
EMPTY_FOLDER_V0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
LONGEST_IDENTITY = CID(1, 0x55, 0, b"B" * 128)


def test_hello_world_has_the_cid_of_the_profile() -> None:
    """The raw block "hello world" has the CID that IPIP-499 lists."""
    assert HELLO == str(CID.of(0x55, b"hello world"))


@given(cids)
def test_cids_come_back_from_bytes_text_and_pickle(cid: CID) -> None:
    """A CID survives its binary form, its text and pickling."""
    assert (cid, cid, cid) == (CID.decode(bytes(cid)), CID.parse(str(cid)), pickle.loads(pickle.dumps(cid)))  # noqa: S301


@given(st.binary(max_size=60))
def test_bytes_are_refused_or_come_back_the_same(data: bytes) -> None:
    """No two binary forms mean one CID."""
    try:
        cid = CID.decode(data)
    except Malformed:
        return
    assert data == bytes(cid)


@given(st.text(st.sampled_from("bBzkKQm123afkreyIIl0=O "), max_size=60))
def test_text_is_refused_or_names_a_cid(text: str) -> None:
    """Any text is a CID or Malformed, never another error."""
    try:
        assert isinstance(CID.parse(text), CID)
    except Malformed:
        return


@pytest.mark.parametrize("text", ["", "b", "z", "Q", "Qm" + "0" * 44, HELLO[:-1], HELLO + "a", "b" + "a" * 600, "é"])
def test_texts_that_are_no_cid_are_malformed(text: str) -> None:
    """Cut, extended, empty and foreign texts are refused."""
    with pytest.raises(Malformed):
        CID.parse(text)


def test_identity_cids_end_at_128_bytes() -> None:
    """A digest of 128 bytes is read, one of 129 refused."""
    assert LONGEST_IDENTITY == CID.parse(str(LONGEST_IDENTITY))
    with pytest.raises(Malformed, match="longer than 128"):
        CID.decode(b"\x01\x55\x00\x81\x01" + b"A" * 129)


def test_other_bases_are_read() -> None:
    """Upper-case base32, base58 and base36 texts mean the same CID."""
    cid = CID.parse(HELLO)
    assert cid == CID.parse(HELLO.upper())
    assert CID.parse("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354").digest == (
        CID.parse(EMPTY_FOLDER_V0).digest
    )


def test_a_wrong_block_is_corrupt() -> None:
    """Checking tells a changed block, and a hash function that cannot be checked."""
    CID.parse(HELLO).verify(b"hello world")
    with pytest.raises(Corrupt):
        CID.parse(HELLO).verify(b"hello worlD")
    with pytest.raises(Malformed, match="0xb220"):
        CID(1, 0x55, 0xB220, b"x" * 32).verify(b"")


@given(st.integers(0, (1 << 63) - 1))
def test_varints_come_back(value: int) -> None:
    """A number survives its varint, and the varint knows its end."""
    raw = varint.encode(value)
    assert (value, len(raw)) == varint.decode(raw + b"\xff")


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x01", b"\xff" * 10])
def test_bad_varints_are_malformed(raw: bytes) -> None:
    """Numbers cut short, padded or over nine bytes are refused."""
    with pytest.raises(Malformed):
        varint.decode(raw)
