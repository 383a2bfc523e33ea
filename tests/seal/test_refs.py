"""Refs and their trees: every list comes back, lists that differ little share nodes, hostile nodes are refused."""

import copy
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.errors import Malformed
from pinfold.seal.refs import MAX_BLOCK, MAX_DEPTH, MAX_PLAIN, Ref, Tree, leaves, plant, split


class Sealed(dict[bytes, bytes]):
    """Nodes by the digest of their plaintext."""

    def seal(self, plain: bytes) -> Ref:
        """Keep a node."""
        digest = hashlib.sha256(plain).digest()
        self[digest] = plain
        return Ref.of(digest, b"k" * 32, len(plain), min(len(plain), MAX_BLOCK))

    def open(self, ref: Ref) -> bytes:
        """Return a node."""
        return self[ref.digest]


def ref(number: int, *, ends: bool | None = None) -> Ref:
    """Return a data ref; `ends`: whether a node is to end behind it."""
    digest = bytearray(hashlib.sha256(b"%d" % number).digest())
    if ends is not None:
        digest[2:4] = b"\0\0" if ends else b"\7\xff"
    return Ref.of(bytes(digest), hashlib.sha256(digest).digest(), number % MAX_PLAIN, number % MAX_BLOCK)


def round_trip(listed: list[Ref]) -> tuple[Tree | None, Sealed]:
    """Plant a list and see that its leaves are the list, and that `node` hears of every node once."""
    nodes = Sealed()
    tree = plant(iter(listed), nodes.seal)
    told: list[Ref] = []
    assert listed == ([] if tree is None else list(leaves(tree, nodes.open, told.append)))
    assert set(nodes) == {one.digest for one in told}
    return tree, nodes


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 2048, 8192, 8193, 30_000])
@pytest.mark.parametrize("ends", [None, True, False])
def test_lists_come_back(count: int, ends: bool | None) -> None:
    """A list of any length comes back in order, wherever its digests would have nodes end."""
    round_trip([ref(number, ends=ends) for number in range(count)])


@pytest.mark.parametrize(("count", "depth"), [(1, 0), (2, 1), (8192, 1), (8193, 2), (16_384, 2)])
def test_depths(count: int, depth: int) -> None:
    """One ref is its own tree; nodes hold at most 8192; none at all are no tree."""
    tree, _ = round_trip([ref(number, ends=False) for number in range(count)])
    assert tree is not None
    assert depth == tree.depth
    assert None is plant([], Sealed().seal)


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=60))
def test_small_lists_come_back(listed: list[tuple[int, bool]]) -> None:
    """Lists with repeats and with ends in any place come back, and a tree is never deeper than it may be."""
    tree, _ = round_trip([ref(number, ends=ends) for number, ends in listed])
    assert tree is None or tree.depth <= MAX_DEPTH


def test_a_chunk_that_repeats_without_end() -> None:
    """A hundred thousand times the same ref, even one behind which nodes end, makes a shallow tree of few nodes."""
    for ends in (True, False):
        tree, nodes = round_trip([ref(1, ends=ends)] * 100_000)
        assert tree is not None
        assert tree.depth <= 3
        assert len(nodes) <= 8


@pytest.mark.parametrize("at", [0, 1, 15_000, 29_999])
def test_one_insertion_leaves_other_nodes_alone(at: int) -> None:
    """Thirty thousand refs and one more share all nodes but those on one path, give or take a neighbour."""
    listed = [ref(number) for number in range(30_000)]
    _, before = round_trip(listed)
    _, after = round_trip([*listed[:at], ref(-1), *listed[at:]])
    assert len(before) > 8
    assert len(after.keys() - before.keys()) <= 3


def test_hostile_depths() -> None:
    """A tree says how deep it is, and no more than six is believed."""
    for depth in (-1, MAX_DEPTH + 1, 1 << 40):
        with pytest.raises(Malformed, match="out of bounds"):
            list(leaves(Tree(ref(1), depth), Sealed().open))


def test_a_ring_ends() -> None:
    """A node that names itself ends at the depth the tree says."""
    one = ref(1)
    assert [one] == list(leaves(Tree(one, MAX_DEPTH), lambda _: one.packed))


@given(st.binary(max_size=300) | st.lists(st.binary(min_size=72, max_size=72)).map(b"".join))
def test_any_node(packed: bytes) -> None:
    """Bytes that are read as refs are those refs to the last byte, or refused."""
    try:
        found = split(packed)
    except Malformed:
        return
    assert packed == b"".join(one.packed for one in found)
    assert all(one.length <= MAX_PLAIN and one.size <= MAX_BLOCK for one in found)


def test_refs_keep_their_keys() -> None:
    """A ref prints its digest only, and cannot be pickled or copied out."""
    one = ref(7)
    assert f"Ref({one.digest.hex()[:12]}…, 7 bytes)" == repr(one)
    assert one.key.hex() not in f"{one} {Tree(one, 0)}"
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            way(one)
    assert {one} == {Ref(one.packed), one}
