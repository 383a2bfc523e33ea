"""Links out of documents in DAG-CBOR are found without building the document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import Malformed
from pinfold.gateway.links import links
from pinfold.ipld import CID
from pinfold.ipld.cid import DAG_CBOR, DAG_PB, RAW

LEAF = CID.of(RAW, b"leaf")
NODE = CID.of(DAG_PB, b"")


def link(cid: CID) -> bytes:
    """A link as DAG-CBOR writes it."""
    body = b"\0" + bytes(cid)
    return b"\xd8\x2a\x58" + bytes((len(body),)) + body


def found(block: bytes) -> list[CID]:
    """The links of a block in DAG-CBOR."""
    return links(CID.of(DAG_CBOR, block), block)


def test_links_at_any_depth() -> None:
    """Links in lists and maps are found in order, repeats too; strings that look like links are none."""
    body = b"\0" + bytes(LEAF)
    string = b"\x58" + bytes((len(body),)) + body
    block = b"\xa2\x61a\x84" + link(LEAF) + string + b"\xf6\x81" + link(NODE) + b"\x61b" + link(LEAF)
    assert [LEAF, NODE, LEAF] == found(block)


@pytest.mark.parametrize(
    "block", [b"\x00", b"\xa0", b"\x80", b"\xf5", b"\xfb" + bytes(8), b"\x1b" + bytes(8), b"\x61a"]
)
def test_documents_without_links(block: bytes) -> None:
    """Every kind of item is passed over."""
    assert [] == found(block)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x00\x00",
        b"\x81",
        b"\x9f\xff",
        b"\x62a",
        b"\x9b" + b"\xff" * 8,
        b"\xbb" + b"\xff" * 8,
        b"\x5b" + b"\xff" * 8,
        b"\xd8\x2a\x00",
        b"\xd8\x2a\x61a",
        b"\xd8\x2a\x41\x01",
        b"\xd8\x2a\xd8\x2a\x40",
        b"\xd8\x2b\x40",
        b"\xd8",
        b"\x1c",
    ],
)
def test_broken_documents(block: bytes) -> None:
    """Documents that break their format are told as such."""
    with pytest.raises(Malformed):
        found(block)


def test_depth_and_width_cost_nothing() -> None:
    """A million lists within one another, and a list said to have more items than there are bytes, are quick."""
    assert [] == found(b"\x81" * 1_000_000 + b"\x00")
    with pytest.raises(Malformed):
        found(b"\x9a\xff\xff\xff\xff" + bytes(1000))


@given(st.binary(max_size=200))
def test_any_bytes(block: bytes) -> None:
    """Whatever the bytes, there are links or there is Malformed."""
    try:
        found(block)
    except Malformed:
        return


def test_other_codecs() -> None:
    """Raw blocks have no links, and codecs that are not known are told as such."""
    assert [] == links(LEAF, b"leaf")
    with pytest.raises(Malformed):
        links(CID(1, 0x0129, 0x12, bytes(32)), b"{}")
