"""Sharded folders from inside: where names go, deep paths, any order of links, and hostile shards."""

from __future__ import annotations

import pytest

from ipld.memory import Blocks, entries
from pinfold.errors import Malformed
from pinfold.ipld import CID, build_folder, dagpb, hamt, list_folder, lookup, unixfs
from pinfold.ipld.dagpb import Link

LEAF = CID.of(0x55, b"x")
THOUSAND = "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i"


def shard(
    blocks: Blocks, links: list[Link], *, used: int | None = None, fanout: int = 256, hash_type: int = 0x22
) -> CID:
    """Keep a shard whose bitfield follows from its links unless `used` says otherwise."""
    width = len(f"{fanout - 1:X}")
    bits = sum({1 << int(link.name[:width], 16) for link in links}) if used is None else used
    raw = bits.to_bytes((bits.bit_length() + 7) // 8, "big")
    return blocks.node(unixfs.Data(unixfs.Kind.SHARD, raw, hash_type=hash_type, fanout=fanout), links)


def put(name: bytes, depth: int = 0) -> Link:
    """Return the link of an entry in the shard at `depth` on its path."""
    return Link(LEAF, hamt.layout(256).prefixes[hamt.layout(256).bucket(hamt.key(name), depth)] + name)


def test_names_fall_where_the_spec_says() -> None:
    """The spec's example: 470.txt goes to bucket 00 then 6E, 742.txt to 00 then FF."""
    assert ["006E", "00FF"] == [f"{hamt.key(name) >> 48:04X}" for name in (b"470.txt", b"742.txt")]


def test_the_specs_sharded_directory_is_rebuilt() -> None:
    """The thousand entries of the spec's fixture give its root, a block of 12046 bytes."""
    blocks = Blocks()
    file = CID.parse("bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa")
    root, _ = build_folder([(b"%d.txt" % number, file, 1271) for number in range(1, 1001)], blocks.emit, threshold=0)
    assert (THOUSAND, 12046) == (str(root), len(blocks[root]))


@pytest.mark.parametrize(("fanout", "levels"), [(8, 21), (16, 16), (256, 8), (512, 7), (1024, 6)])
def test_names_that_differ_in_the_last_bits_lie_deep(fanout: int, levels: int) -> None:
    """Two keys that part at the last level make a chain of shards; any nearer, they collide."""
    blocks = Blocks()
    builder = hamt.Builder(blocks.emit, fanout)
    last = 64 - levels * (fanout.bit_length() - 1)
    builder.add(0, b"a", LEAF, 1)
    builder.add(1 << last, b"b", LEAF, 1)
    root, tsize = builder.finish()
    assert (levels, 2 + sum(map(len, blocks.values()))) == (len(blocks), tsize)
    builder = hamt.Builder(blocks.emit, fanout)
    builder.add(0, b"a", LEAF, 1)
    with pytest.raises(ValueError, match="collide"):
        builder.add((1 << last) - 1, b"b", LEAF, 1)
    assert 1 == len(dagpb.decode(blocks[root]).links)


def test_entries_out_of_order_are_refused() -> None:
    """The builder takes entries by rising key only."""
    builder = hamt.Builder(Blocks().emit)
    builder.add(2, b"a", LEAF, 1)
    with pytest.raises(ValueError, match="out of order"):
        builder.add(1, b"b", LEAF, 1)


def test_the_builder_holds_one_path() -> None:
    """While 20000 entries pass, the shards kept open never hold more than a path's links."""
    builder = hamt.Builder(lambda _cid, _block: None)
    most = 0
    for key in range(0, 1 << 64, (1 << 64) // 20_000):
        builder.add(key, b"%d" % key, LEAF, 1)
        most = max(most, sum(len(shard.body) for shard in builder._open))
    builder.finish()
    assert most < 3 * 256 * 100


@pytest.mark.parametrize("fanout", [0, 4, 24, 2048, -8])
def test_fanouts_are_powers_of_two_from_8_to_1024(fanout: int) -> None:
    """Other fanouts are neither written nor read."""
    with pytest.raises(ValueError, match=str(fanout)):
        hamt.Builder(Blocks().emit, fanout)
    blocks = Blocks()
    root = blocks.node(unixfs.Data(unixfs.Kind.SHARD, b"", hash_type=0x22, fanout=fanout % (1 << 60)), [])
    with pytest.raises(Malformed, match="fanout"):
        list(list_folder(root, blocks.fetch))


def test_links_may_come_in_any_order() -> None:
    """A shard with its links reversed lists and finds the same entries."""
    blocks = Blocks()
    root, _ = build_folder(entries(400), blocks.emit, threshold=0)
    node = dagpb.decode(blocks[root])
    turned = blocks.node(unixfs.decode(node.data or b""), reversed(node.links))
    assert sorted(list_folder(root, blocks.fetch)) == sorted(list_folder(turned, blocks.fetch))
    assert lookup(root, b"file-7", blocks.fetch) == lookup(turned, b"file-7", blocks.fetch) is not None


def test_a_lookup_fetches_one_path() -> None:
    """One of 3000 entries is found through at most three shards."""
    blocks = Blocks()
    root, _ = build_folder(entries(3000), blocks.emit)
    blocks.asked.clear()
    cid = entries(1235)[1234][1]
    assert Link(cid, b"file-1234", 1234) == lookup(root, b"file-1234", blocks.fetch)
    assert root == blocks.asked[0]
    assert len(blocks.asked) <= 3


@pytest.mark.parametrize(
    "links",
    [
        [Link(LEAF, b"x")],  # no prefix
        [Link(LEAF, b"")],
        [Link(LEAF, b"a0name")],  # lower case
        [put(b"a"), put(b"a")],  # one bucket twice
    ],
)
def test_links_that_name_no_bucket_are_refused(links: list[Link]) -> None:
    """Without a prefix in upper-case hexadecimal, one for each link, a shard cannot be read."""
    blocks = Blocks()
    root = shard(blocks, links, used=1)
    for read in (lambda: list(list_folder(root, blocks.fetch)), lambda: lookup(root, b"a", blocks.fetch)):
        with pytest.raises(Malformed):
            read()


@pytest.mark.parametrize("used", [0, 1, 1 << 256, (1 << 256) - 1])
def test_bitfield_and_links_must_agree(used: int) -> None:
    """A bitfield with other buckets than the links name, or too long, is refused."""
    blocks = Blocks()
    with pytest.raises(Malformed, match="bitfield"):
        list(list_folder(shard(blocks, [put(b"a")], used=used), blocks.fetch))


def test_entries_must_lie_where_their_hash_belongs() -> None:
    """A name hung into another bucket would be listed and never found: it is refused."""
    blocks = Blocks()
    wrong = Link(LEAF, b"%02X" % (hamt.key(b"a") >> 56 ^ 1) + b"a")
    with pytest.raises(Malformed, match="does not belong"):
        list(list_folder(shard(blocks, [wrong]), blocks.fetch))


@pytest.mark.parametrize(("fanout", "hash_type"), [(512, 0x22), (256, 0x12)])
def test_every_shard_is_like_the_root(fanout: int, hash_type: int) -> None:
    """A deeper shard with another fanout or hash is refused."""
    blocks = Blocks()
    deeper = shard(blocks, [Link(LEAF, b"000a")], fanout=fanout, hash_type=hash_type)
    with pytest.raises(Malformed, match="HAMT shard"):
        list(list_folder(shard(blocks, [Link(deeper, b"00")]), blocks.fetch))


def test_shards_that_repeat_themselves_fail_at_once() -> None:
    """256**8 paths through eight blocks are given up after one path."""
    blocks = Blocks()
    cid = shard(blocks, [put(b"a", 7)])
    for _ in range(7):
        cid = shard(blocks, [Link(cid, b"%02X" % bucket) for bucket in range(256)])
    blocks.asked.clear()
    with pytest.raises(Malformed, match="does not belong"):
        list(list_folder(cid, blocks.fetch))
    assert 8 == len(blocks.asked)


def test_endless_and_empty_shards_are_refused() -> None:
    """Shards below the last level, and deeper shards without any link, are Malformed."""
    blocks = Blocks()
    place = hamt.key(b"a")
    deep = shard(blocks, [put(b"a", 7)])
    for depth in reversed(range(8)):
        deep = shard(blocks, [Link(deep, b"%02X" % hamt.layout(256).bucket(place, depth))])
    empty = shard(blocks, [Link(shard(blocks, []), b"%02X" % (place >> 56))])
    for root in (deep, empty):
        with pytest.raises(Malformed, match=r"deeper|0 links"):
            list(list_folder(root, blocks.fetch))
        with pytest.raises(Malformed, match=r"deeper|0 links"):
            lookup(root, b"a", blocks.fetch)
    assert [] == list(list_folder(shard(blocks, []), blocks.fetch))
