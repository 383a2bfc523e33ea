"""Files: written balanced, read in any shape, by range, and with hostile trees refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipld.memory import Blocks, identity
from pinfold.errors import Malformed, Missing
from pinfold.ipld import CID, Kind, add_file, dagpb, file_size, files, kind, read_file, split, unixfs
from pinfold.ipld.dagpb import Link

EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
CHECKER = "bafybeifx7yeb55armcsxwwitkymga5xf53dxiarykms3ygqic223w5sk3m"


def read(blocks: Blocks, cid: CID, start: int = 0, end: int | None = None) -> bytes:
    """Return a range of a file as one piece."""
    return b"".join(read_file(cid, blocks.fetch, start, end))


def depths(blocks: Blocks, cid: CID) -> set[int]:
    """Return at which depths the leaves lie."""
    if cid.codec == 0x55:
        return {0}
    return {depth + 1 for link in dagpb.decode(blocks[cid]).links for depth in depths(blocks, link.cid)}


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(1, 40))
def test_splitting_keeps_bytes_and_lengths(pieces: list[bytes], size: int) -> None:
    """Pieces of any length become chunks of one length, the last one shorter and never empty."""
    chunks = list(split(pieces, size))
    assert b"".join(pieces) == b"".join(chunks)
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(chunks)


@given(st.integers(0, 700), st.integers(1, 9), st.integers(2, 6), st.data())
def test_any_range_of_any_file_comes_back(size: int, chunk: int, width: int, data: st.DataObject) -> None:
    """What was written is read, whole and by range, and sizes agree."""
    content = random.Random(size).randbytes(size)
    blocks = Blocks()
    file = add_file([content], blocks.emit, chunk_size=chunk, width=width)
    start = data.draw(st.integers(0, size + 5))
    end = data.draw(st.none() | st.integers(start, size + 9))
    assert content[start:end] == read(blocks, file.cid, start, end)
    assert (size, size) == (file.size, file_size(file.cid, blocks.fetch))
    assert len(depths(blocks, file.cid)) == 1


def test_small_files_are_their_own_leaf() -> None:
    """An empty file and one of one chunk are raw blocks without a parent."""
    blocks = Blocks()
    assert EMPTY == str(add_file([], blocks.emit).cid)
    file = add_file([b"1234"], blocks.emit, chunk_size=4)
    assert (CID.of(0x55, b"1234"), 4, 4) == file
    assert 2 == len(blocks)


def test_a_lone_last_child_gets_its_parents() -> None:
    """The fifth leaf at width 2 hangs as deep as the others, below parents of one child."""
    blocks = Blocks()
    file = add_file([b"abcde"], blocks.emit, chunk_size=1, width=2)
    assert {3} == depths(blocks, file.cid)
    right = dagpb.decode(blocks[file.cid]).links[1].cid
    assert [1, 1] == [
        len(dagpb.decode(blocks[right]).links),
        len(dagpb.decode(blocks[dagpb.decode(blocks[right]).links[0].cid]).links),
    ]


def test_tsize_counts_every_block_below() -> None:
    """The tsize of a file is the sum of its blocks, repeated ones each time."""
    blocks = Blocks()
    file = add_file([b"a" * 10], blocks.emit, chunk_size=1, width=16)
    assert len(blocks[file.cid]) + 10 == file.tsize


def test_a_trickle_tree_with_bytes_inside_is_read() -> None:
    """Leaves beside subtrees, bytes in inner nodes, and wrapped leaves come back in their order."""
    blocks = Blocks()
    wrapped = blocks.node(unixfs.Data(unixfs.Kind.RAW, b"3", filesize=1))
    inner = blocks.file((blocks.leaf(b"56"), 2), (wrapped, 1), data=b"4")
    deeper = blocks.file((blocks.leaf(b"8"), 1), (inner, 4), data=b"7")
    root = blocks.file((blocks.leaf(b"12"), 2), (wrapped, 1), (inner, 4), (deeper, 6), data=b"0")
    content = b"0" + b"12" + b"3" + b"4563" + b"78" + b"4563"
    assert content == read(blocks, root)
    for start in range(len(content) + 1):
        for end in range(start, len(content) + 1):
            assert content[start:end] == read(blocks, root, start, end)


def test_a_file_inside_a_node_is_read() -> None:
    """The gateway checker's block of 40 bytes is a file of 32, and an empty wrapped file one of none."""
    blocks = Blocks()
    cid = blocks.node(unixfs.Data(unixfs.Kind.FILE, b"Hello from IPFS Gateway Checker\n", filesize=32))
    assert (CHECKER, 40, 32) == (str(cid), len(blocks[cid]), file_size(cid, blocks.fetch))
    assert b"Hello from IPFS Gateway Checker\n" == read(blocks, cid)
    empty = blocks.node(unixfs.Data(unixfs.Kind.FILE, filesize=0))
    assert ("bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y", b"") == (str(empty), read(blocks, empty))


def test_blocks_inside_cids_are_never_asked_for() -> None:
    """Identity CIDs, as root or as leaf, are read without a store."""
    blocks = Blocks()
    root = blocks.file((identity(0x55, b"in"), 2), (identity(0x70, b"\x0a\x07\x08\x02\x12\x01!\x18\x01"), 1))
    assert b"in!" == read(blocks, root)
    assert [root] == blocks.asked
    assert (b"", Kind.FILE) == (read(blocks, CID.parse("bafkqaaa")), kind(CID.parse("bafkqaaa"), blocks.fetch))


def test_a_range_fetches_only_what_it_needs() -> None:
    """Blocks outside the range are not asked for, and may be missing."""
    blocks = Blocks()
    file = add_file([bytes(range(64))], blocks.emit, chunk_size=4, width=4)
    parent, leaf = dagpb.decode(blocks[file.cid]).links[2].cid, CID.of(0x55, bytes(range(40, 44)))
    del blocks[CID.of(0x55, bytes(range(4)))]
    assert bytes((41, 42)) == read(blocks, file.cid, 41, 43)
    assert [file.cid, parent, leaf] == blocks.asked
    with pytest.raises(Missing):
        read(blocks, file.cid, 3, 5)


@pytest.mark.parametrize(
    ("data", "links"),
    [
        (unixfs.Data(unixfs.Kind.FILE, filesize=1, blocksizes=(1,)), 0),
        (unixfs.Data(unixfs.Kind.FILE, filesize=1, blocksizes=(1,)), 2),
        (unixfs.Data(unixfs.Kind.FILE, filesize=2, blocksizes=(1,)), 1),
        (unixfs.Data(unixfs.Kind.FILE, blocksizes=(1,)), 1),
        (unixfs.Data(unixfs.Kind.FILE, filesize=2, blocksizes=(2,)), 1),
        (unixfs.Data(unixfs.Kind.DIRECTORY), 0),
        (unixfs.Data(unixfs.Kind.METADATA, b"x"), 0),
    ],
)
def test_trees_that_contradict_themselves_are_refused(data: unixfs.Data, links: int) -> None:
    """Counts, sums, lengths and kinds that do not agree are Malformed, not other bytes."""
    blocks = Blocks()
    cid = blocks.node(data, [Link(blocks.leaf(b"x"))] * links)
    with pytest.raises(Malformed):
        read(blocks, cid)


def test_names_inside_files_and_foreign_codecs_are_refused() -> None:
    """A named link of a file, a node without data, and a block of another codec are Malformed."""
    blocks = Blocks()
    named = blocks.node(unixfs.Data(unixfs.Kind.FILE, filesize=1, blocksizes=(1,)), [Link(blocks.leaf(b"x"), b"n")])
    for cid in (named, identity(0x70, b""), identity(0x71, b"\xa0")):
        with pytest.raises(Malformed):
            read(blocks, cid)
        with pytest.raises(Malformed):
            file_size(cid, blocks.fetch)


def test_deep_trees_are_refused() -> None:
    """A chain of 65 single children is too deep, one of 64 is read."""
    blocks = Blocks()
    cid = blocks.leaf(b"x")
    for _ in range(64):
        cid = blocks.file((cid, 1))
    assert b"x" == read(blocks, cid)
    with pytest.raises(Malformed, match="deeper than 64"):
        read(blocks, blocks.file((cid, 1)))


def test_empty_trees_cost_nothing() -> None:
    """1000**60 paths to nothing are not walked: one block is read."""
    blocks = Blocks()
    cid = blocks.leaf(b"")
    for _ in range(60):
        cid = blocks.file(*[(cid, 0)] * 1000)
    assert b"" == read(blocks, cid)
    assert [cid] == blocks.asked


def test_waiting_links_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide nodes inside one another are refused before they fill the memory; the bound here is 1000 for 262144."""
    monkeypatch.setattr(files, "MAX_PENDING", 1000)
    blocks = Blocks()
    one = identity(0x55, b"x")
    cid, size = one, 1
    for _ in range(3):
        cid = blocks.file((cid, size), *[(one, 1)] * 400)
        size += 400
    with pytest.raises(Malformed, match="wait at once"):
        read(blocks, cid)


@pytest.mark.parametrize(("start", "end"), [(-1, None), (2, 1)])
def test_ranges_that_are_none_are_refused(start: int, end: int | None) -> None:
    """A negative start, or an end before the start, is the caller's mistake."""
    with pytest.raises(ValueError, match=str(start)):
        read(Blocks(), CID.parse("bafkqaaa"), start, end)


@pytest.mark.parametrize(("chunk", "width"), [(0, 2), (1, 1)])
def test_shapes_that_never_end_are_refused(chunk: int, width: int) -> None:
    """Chunks of no bytes and nodes of one link are the caller's mistake."""
    with pytest.raises(ValueError, match=r"0|1"):
        add_file([b"xx"], Blocks().emit, chunk_size=chunk, width=width)
