"""dag-pb: the bytes Kubo writes, the freedom readers must give, and refusal of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipld.strategies import cids
from pinfold.errors import Malformed
from pinfold.ipld import CID, dagpb
from pinfold.ipld.dagpb import Link, Node

nodes = st.builds(
    Node,
    st.lists(st.builds(Link, cids, st.binary(max_size=200), st.integers(0, (1 << 63) - 1)), max_size=5).map(tuple),
    st.none() | st.binary(max_size=200),
)
SMALL = CID(1, 0x55, 0, b"\0\1\2\3\4")

# Block in hex, and the node it means: fixtures of the codec's own suite.
VECTORS = {
    "": Node(),
    "0a00": Node(data=b""),
    "0a050001020304": Node(data=b"\0\1\2\3\4"),
    "12240a2212207521fe19c374a97759226dc5c0c8e674e73950e81b211f7dd3b6b30883a08a51": Node(
        (Link(CID.decode(bytes.fromhex("12207521fe19c374a97759226dc5c0c8e674e73950e81b211f7dd3b6b30883a08a51"))),)
    ),
    "120d0a09015500050001020304" + "1200": Node((Link(SMALL),)),
    "12160a090155000500010203041209736f6d65206e616d65": Node((Link(SMALL, b"some name"),)),
    "12140a0901550005000102030418ffffffffffffff0f": Node((Link(SMALL, tsize=(1 << 53) - 1),)),
    "120d0a090155000500010203041800": Node((Link(SMALL),)),
    "120b0a09015500050001020304120e0a09015500050001020304120161120e0a09015500050001020304120161": Node(
        (Link(SMALL), Link(SMALL, b"a"), Link(SMALL, b"a"))
    ),
}
LINK = "120f0a0901550005000102030412001801"


@pytest.mark.parametrize("raw", VECTORS)
def test_the_codecs_fixtures_are_read(raw: str) -> None:
    """Each fixture means the node that stands beside it, missing names and sizes as empty and 0."""
    assert VECTORS[raw] == dagpb.decode(bytes.fromhex(raw))


def test_written_bytes_are_kubos() -> None:
    """Links come before data, and each has hash, name and size, the name also when empty."""
    node = Node((Link(SMALL, b"", 1), Link(SMALL, b"x", 300)), b"\x08\x01")
    assert LINK + "12110a09015500050001020304" + "12017818ac02" + "0a020801" == dagpb.encode(node).hex()


@given(nodes)
def test_nodes_come_back(node: Node) -> None:
    """A node survives its block."""
    assert node == dagpb.decode(dagpb.encode(node))


@given(nodes, st.data())
def test_bytes_are_refused_or_mean_one_node(node: Node, data: st.DataObject) -> None:
    """A damaged block is refused, or read as a node that is written and read again without change."""
    block = bytearray(dagpb.encode(node) or b"\0")
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = dagpb.decode(bytes(block[: data.draw(st.integers(0, len(block)))]))
    except Malformed:
        return
    assert found == dagpb.decode(dagpb.encode(found))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_node_or_malformed(raw: bytes) -> None:
    """No bytes raise anything but Malformed."""
    try:
        dagpb.decode(raw)
    except Malformed:
        return


def test_data_may_come_before_the_links() -> None:
    """A reader takes data before the links as well as behind them."""
    assert dagpb.decode(bytes.fromhex(LINK + "0a0101")) == dagpb.decode(bytes.fromhex("0a0101" + LINK))


@pytest.mark.parametrize(
    "raw",
    [
        LINK + "0a0101" + LINK,  # data between links
        "0a01010a0101",  # data twice
        "1200",  # a link without hash
        "1202" + "1200",  # a name without hash
        "12110a0901550005000102030418011200" + "00",  # size before name, and one more
        "120f0a0901550005000102030418011200",  # size before name
        LINK[:-2],  # cut short
        "0a05",  # data cut short
        "0aff",  # length cut short
        "0a8000",  # length not minimal
        "1801",  # a field that nodes have not
        "0b0101",  # a wire type that data has not
        "12040a020155",  # hash cut short
        "12150a0901550005000102030418ffffffffffffffffff01",  # size of 64 bits
    ],
)
def test_wrong_nodes_are_malformed(raw: str) -> None:
    """Order, repetition, truncation and foreign fields are told."""
    with pytest.raises(Malformed):
        dagpb.decode(bytes.fromhex(raw))


def test_links_and_bytes_are_bounded() -> None:
    """A block with very many links, or very long, is refused before it fills the memory."""
    link = bytes.fromhex("12060a0401550000")
    assert dagpb.MAX_LINKS == len(dagpb.decode(link * dagpb.MAX_LINKS).links)
    with pytest.raises(Malformed, match="too many"):
        dagpb.decode(link * (dagpb.MAX_LINKS + 1))
    with pytest.raises(Malformed, match="more than"):
        dagpb.decode(bytes(dagpb.MAX_BLOCK + 1))
