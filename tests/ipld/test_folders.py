"""Folders: plain or sharded by their size alone, found again by name, and refused when they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipld.memory import Blocks, entries, identity
from pinfold.errors import Malformed, Missing
from pinfold.ipld import (
    CID,
    Entry,
    Kind,
    build_folder,
    build_sorted,
    build_symlink,
    dagpb,
    hamt,
    kind,
    list_folder,
    lookup,
    read_symlink,
    resolve,
    unixfs,
)
from pinfold.ipld.dagpb import Link

if TYPE_CHECKING:
    import random

EMPTY = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
SIMPLE = "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy"
DIRECTORY = unixfs.Data(unixfs.Kind.DIRECTORY)

names = st.binary(min_size=1, max_size=12).filter(lambda name: name not in {b".", b".."} and not set(name) & {0, 0x2F})


def test_an_empty_folder_has_its_well_known_cid() -> None:
    """The folder without entries is the block that everybody knows."""
    assert (CID.parse(EMPTY), 4) == build_folder([], Blocks().emit)


def test_the_specs_simple_directory_is_rebuilt() -> None:
    """Four entries in any order give the root of the spec's fixture, 227 bytes and 1345 below."""
    ascii_txt = CID.parse("bafkreifkam6ns4aoolg3wedr4uzrs3kvq66p4pecirz6y2vlrngla62mxm")
    hello = CID.parse("bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4")
    multi = CID.parse("bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa")
    simple = [
        (b"multiblock.txt", multi, 1271),
        (b"ascii.txt", ascii_txt, 31),
        (b"hello.txt", hello, 12),
        (b"ascii-copy.txt", ascii_txt, 31),
    ]
    assert (CID.parse(SIMPLE), 1572) == build_folder(simple, Blocks().emit)


@given(st.dictionaries(names, st.integers(0, 1 << 40), max_size=40), st.sampled_from([0, 100, 1 << 18]), st.randoms())
def test_entries_come_back_whatever_their_order(sizes: dict[bytes, int], threshold: int, rng: random.Random) -> None:
    """The order of entries does not matter; all are listed and each is found, plain or sharded."""
    given_ = [(name, CID.of(0x55, name), size) for name, size in sizes.items()]
    blocks = Blocks()
    root = build_folder(given_, blocks.emit, threshold=threshold, fanout=8)
    rng.shuffle(given_)
    assert root == build_folder(given_, Blocks().emit, threshold=threshold, fanout=8)
    expected = {Entry(cid, name, size) for name, cid, size in given_}
    assert expected == set(list_folder(root[0], blocks.fetch))
    assert sum(sizes.values()) + sum(map(len, blocks.values())) == root[1]
    for entry in expected:
        assert entry == lookup(root[0], entry.name, blocks.fetch)
    assert None is lookup(root[0], b"no such name", blocks.fetch)


def test_the_size_of_the_plain_block_decides() -> None:
    """A plain block as long as the threshold stays, one byte less of threshold shards it."""
    blocks = Blocks()
    root, _ = build_folder(entries(50), blocks.emit)
    size = len(blocks[root])
    assert root == build_folder(entries(50), blocks.emit, threshold=size)[0]
    sharded, _ = build_folder(entries(50), blocks.emit, threshold=size - 1)
    assert unixfs.Kind.SHARD == unixfs.decode(dagpb.decode(blocks[sharded]).data or b"").kind


def test_entries_may_come_as_a_stream_sorted_by_hash() -> None:
    """A stream sorted by the hash of names gives the folder that sorting in memory gives."""
    many = entries(5000)
    stream = (entry for entry in sorted(many, key=lambda entry: hamt.key(entry[0])))
    assert build_folder(many, Blocks().emit) == build_sorted(stream, Blocks().emit)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0"])
@pytest.mark.parametrize("place", [0, -1])
def test_names_no_disk_takes_are_not_written(name: bytes, place: int) -> None:
    """Empty names, dots, slashes and nought bytes are refused, in plain and in sharded folders."""
    many = sorted([*entries(40), (name, CID.of(0x55, b""), 0)], key=lambda entry: (entry[0] == name) == (place < 0))
    with pytest.raises(ValueError, match="no name"):
        build_sorted(many[:1] if place == 0 else many[-1:], Blocks().emit, threshold=place + 1)


@pytest.mark.parametrize("threshold", [100, 1 << 18])
def test_a_name_may_come_once(threshold: int) -> None:
    """An entry that comes twice is refused, in plain and in sharded folders."""
    with pytest.raises(ValueError, match="twice"):
        build_folder([*entries(20), *entries(1)], Blocks().emit, threshold=threshold)


def test_a_plain_folder_is_read_in_its_own_order() -> None:
    """Links out of order are listed as they stand and found."""
    blocks = Blocks()
    links = [Link(blocks.leaf(name), name, 1) for name in (b"z", b"..", b"a/b", b"m")]
    root = blocks.node(DIRECTORY, links)
    assert links == list(list_folder(root, blocks.fetch))
    assert links[3] == lookup(root, b"m", blocks.fetch)


def test_a_name_twice_is_refused_in_a_list_and_found_first() -> None:
    """Listing such a folder fails; looking a name up gives the first, as the spec wants."""
    blocks = Blocks()
    first, second = (Link(blocks.leaf(data), b"n", 1) for data in (b"1", b"2"))
    root = blocks.node(DIRECTORY, [first, second])
    with pytest.raises(Malformed, match="twice"):
        list(list_folder(root, blocks.fetch))
    assert first == lookup(root, b"n", blocks.fetch)


def test_paths_lead_through_folders_only() -> None:
    """A path is followed name by name; beyond files, links and the root there is nothing."""
    blocks = Blocks()
    leaf = blocks.leaf(b"x")
    link, _ = build_symlink(b"sub", blocks.emit)
    sub, _ = build_folder([(b"file", leaf, 1), *entries(30)], blocks.emit, threshold=9)
    root, _ = build_folder([(b"sub", sub, 1), (b"link", link, 5), (b"file", leaf, 1)], blocks.emit)
    assert [leaf, sub, root, root] == [
        resolve(root, path, blocks.fetch) for path in (b"/sub/./file", b"sub/", b"", b"/")
    ]
    for path in (b"none", b"file/x", b"link/file", b"..", b"sub/..", b"sub/nofile"):
        with pytest.raises(Missing):
            resolve(root, path, blocks.fetch)


def test_kinds_are_told() -> None:
    """Files, folders and symlinks are told apart; what is none of them is Malformed."""
    blocks = Blocks()
    sharded, _ = build_folder(entries(9), blocks.emit, threshold=9)
    plain, _ = build_folder([], blocks.emit)
    link, _ = build_symlink(b"t", blocks.emit)
    expected = {
        blocks.leaf(b""): Kind.FILE,
        blocks.file(): Kind.FILE,
        sharded: Kind.FOLDER,
        plain: Kind.FOLDER,
        link: Kind.SYMLINK,
    }
    assert expected == {cid: kind(cid, blocks.fetch) for cid in expected}
    for cid in (blocks.node(unixfs.Data(unixfs.Kind.METADATA)), identity(0x70, b""), identity(0x71, b"\xa0")):
        with pytest.raises(Malformed):
            kind(cid, blocks.fetch)


def test_a_symlink_keeps_any_target() -> None:
    """The target comes back byte for byte; the spec's fixture has nine bytes."""
    blocks = Blocks()
    cid, tsize = build_symlink(b"foo", blocks.emit)
    assert (9, 9, b"foo") == (tsize, len(blocks[cid]), read_symlink(cid, blocks.fetch))
    assert b"\xff/../\n" == read_symlink(build_symlink(b"\xff/../\n", blocks.emit)[0], blocks.fetch)
    broken = blocks.node(unixfs.Data(unixfs.Kind.SYMLINK, b"x"), [Link(cid)])
    for wrong in (broken, blocks.node(DIRECTORY)):
        with pytest.raises(Malformed, match="no symlink"):
            read_symlink(wrong, blocks.fetch)


def test_what_is_no_folder_is_not_listed() -> None:
    """Files, raw or wrapped, and symlinks have no entries."""
    blocks = Blocks()
    for cid in (blocks.leaf(b"x"), blocks.file(), build_symlink(b"x", blocks.emit)[0]):
        with pytest.raises(Malformed, match="is a"):
            list(list_folder(cid, blocks.fetch))
        with pytest.raises(Malformed, match="is a"):
            lookup(cid, b"x", blocks.fetch)
