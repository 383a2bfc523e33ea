"""Walking a DAG: everything once, raw blocks unread, hostile graphs bounded."""

from __future__ import annotations

import tracemalloc
from importlib import import_module

import pytest

from ipld.memory import Blocks, entries, identity
from pinfold.errors import Malformed, Missing
from pinfold.ipld import CID, SeenMarks, add_file, build_folder, dagpb, links, unixfs, walk
from pinfold.ipld.dagpb import Link


def test_every_block_is_met_once_parents_first() -> None:
    """A folder of files that share leaves is walked depth first, each block once, no leaf fetched."""
    blocks = Blocks()
    one = add_file([b"aabb"], blocks.emit, chunk_size=1)
    two = add_file([b"abc"], blocks.emit, chunk_size=1)
    root, _ = build_folder([(b"1", one.cid, 1), (b"2", two.cid, 1)], blocks.emit)
    a, b, c = (CID.of(0x55, data) for data in (b"a", b"b", b"c"))
    assert [root, one.cid, a, b, two.cid, c] == list(walk(root, blocks.fetch))
    assert [root, one.cid, two.cid] == blocks.asked


def test_what_is_seen_is_left_out() -> None:
    """A second walk over the same memory yields what is new."""
    blocks = Blocks()
    old, _ = build_folder(entries(2000), blocks.emit, threshold=0)
    new, _ = build_folder(entries(2001), blocks.emit, threshold=0)
    seen = SeenMarks()
    assert 2000 < len(list(walk(old, blocks.fetch, seen)))
    more = list(walk(new, blocks.fetch, seen))
    assert entries(2001)[2000][1] in more
    assert len(more) < 6


def test_missing_blocks_raise_or_are_passed_over() -> None:
    """A getter that raises ends the walk; one that returns None lets it tell the rest."""
    blocks = Blocks()
    file = add_file([b"abcd"], blocks.emit, chunk_size=1, width=2)
    lost = dagpb.decode(blocks[file.cid]).links[0].cid
    kept = dict(blocks)
    del blocks[lost]
    with pytest.raises(Missing):
        list(walk(file.cid, blocks.fetch))
    assert set(kept) - {CID.of(0x55, b"a"), CID.of(0x55, b"b")} == set(walk(file.cid, blocks.get))


def test_identity_cids_are_entered_and_not_named() -> None:
    """Links inside an identity CID are followed; nothing stores the CID itself."""
    blocks = Blocks()
    leaf = blocks.leaf(b"x")
    inner = dagpb.encode(dagpb.Node((Link(leaf, b"", 1),), b"\x08\x01"))
    root = blocks.node(unixfs.Data(unixfs.Kind.DIRECTORY), [Link(identity(0x70, inner), b"n", 1)])
    assert [root, leaf] == list(walk(root, blocks.fetch))
    assert [] == list(walk(CID.parse("bafkqaaa"), blocks.fetch))


def test_other_codecs_are_refused() -> None:
    """dag-cbor below a root is told, not passed over in silence."""
    blocks = Blocks()
    cbor = CID.of(0x71, b"\xa0")
    blocks[cbor] = b"\xa0"
    with pytest.raises(Malformed, match="0x71"):
        list(walk(blocks.node(unixfs.Data(unixfs.Kind.DIRECTORY), [Link(cbor, b"n", 1)]), blocks.fetch))
    assert [] == links(CID.of(0x55, b""), b"not a node at all")


def test_long_chains_and_many_paths_are_walked_in_step() -> None:
    """5000 levels need no recursion, and 100**5000 paths no more than a visit a block."""
    blocks = Blocks()
    cid = blocks.leaf(b"")
    for _ in range(5000):
        cid = blocks.file(*[(cid, 0)] * 100)
    assert 5001 == sum(1 for _ in walk(cid, blocks.fetch))


def test_waiting_links_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide nodes inside one another are refused before they fill the memory; the bound here is 1000 for 262144."""
    monkeypatch.setattr(import_module("pinfold.ipld.walk"), "MAX_PENDING", 1000)
    blocks = Blocks()
    filler = b"".join(b"\x12\x09\x0a\x07\x01\x55\x00\x03" + number.to_bytes(3, "big") for number in range(400))
    cid = blocks.leaf(b"")
    for _ in range(3):
        block = dagpb.encode_link(Link(cid)) + filler
        cid = CID.of(0x70, block)
        blocks[cid] = block
    with pytest.raises(Malformed, match="wait at once"):
        list(walk(cid, blocks.fetch))


def test_marks_remember_much_in_little_memory() -> None:
    """20000 CIDs are all new once and known afterwards, at less than 50 bytes each."""
    digests = [number.to_bytes(32, "little") for number in range(20_000)]
    seen = SeenMarks()
    tracemalloc.start()
    try:
        new = sum(seen.add(CID.raw(digest)) for digest in digests)
        memory = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert (20_000, 20_000) == (new, len(seen))
    assert memory < 50 * 20_000
    assert not any(seen.add(CID.raw(digest)) for digest in digests[::97])
    assert seen.add(CID.dag_pb(digests[0]))
