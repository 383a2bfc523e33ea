"""The rules of trustless gateways, held by pinfold's gateway and by Kubo's on the same content.

Each test is one rule of https://specs.ipfs.tech/http-gateways/trustless-gateway/.  Kubo passing shows that
the tests read the rules as others do; where Kubo departs from one, gateway.sites.DEVIATIONS says so and why, and the
test must then fail for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.content import ASCII, HELLO, IDENTITY, NOWHERE, Content
from pinfold.ipld import CID, hamt, lookup, unixfs, walk
from pinfold.ipld.cid import RAW
from pinfold.ipld.dagpb import decode

if TYPE_CHECKING:
    from gateway.sites import Site

pytest_plugins = ["gateway.sites"]

CAR = "application/vnd.ipld.car"
RAW_TYPE = "application/vnd.ipld.raw"
IMMUTABLE = "public, max-age=29030400, immutable"

# Blocks, byte for byte


@pytest.mark.parametrize("name", ["tree", "tree/subdir/ascii.txt", "hamt", "tree/document"])
@pytest.mark.parametrize("by", ["query", "accept"])
def test_a_block_comes_as_it_is(site: Site, name: str, by: str) -> None:
    """A block is asked for by the query or by Accept, and comes byte for byte, whatever its codec."""
    path = f"/ipfs/{site.content[name]}"
    answer = site.ask(path, query={"format": "raw"}) if by == "query" else site.ask(path, Accept=RAW_TYPE)
    assert (200, site.content.blocks[site.content[name]]) == (answer.status, answer.body)


def test_headers_of_a_block(site: Site) -> None:
    """Type, length, name, sniffing, path, roots, tag and caching of a block are those of the specification."""
    cid = site.content["tree/hello.txt"]
    answer = site.ask(f"/ipfs/{cid}", Accept=RAW_TYPE)
    assert RAW_TYPE == answer.header("Content-Type")
    assert str(len(HELLO)) == answer.header("Content-Length")
    assert answer.header("Content-Disposition").startswith(f'attachment; filename="{cid}.bin"')
    assert "nosniff" == answer.header("X-Content-Type-Options")
    assert f"/ipfs/{cid}" == answer.header("X-Ipfs-Path")
    assert str(cid) == answer.header("X-Ipfs-Roots")
    assert f'"{cid}.raw"' == answer.header("Etag")
    assert IMMUTABLE == answer.header("Cache-Control")


def test_a_block_may_be_given_a_name(site: Site) -> None:
    """`filename` names the download, in ASCII and in UTF-8."""
    answer = site.ask("/ipfs/{tree/hello.txt}", query={"format": "raw", "filename": "testżółw.bin"})
    expected = "attachment; filename=\"test___w.bin\"; filename*=UTF-8''test%C5%BC%C3%B3%C5%82w.bin"
    assert expected == answer.header("Content-Disposition")


@pytest.mark.parametrize("kind", ["raw", "car"])
def test_head_is_get_without_a_body(site: Site, kind: str) -> None:
    """HEAD gives the status and the headers of GET, and no body."""
    got, told = (site.ask("/ipfs/{tree/hello.txt}", method, {"format": kind}) for method in ("GET", "HEAD"))
    assert (200, b"") == (told.status, told.body)
    for name in ("Content-Type", "Etag", "Cache-Control", "X-Ipfs-Roots", "Content-Disposition"):
        assert got.header(name) == told.header(name)


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [("bytes=0-3", 206, 0, 4), ("bytes=4-", 206, 4, 36), ("bytes=-4", 206, 32, 36), ("bytes=30-99", 206, 30, 36)],
)
def test_a_range_of_a_block(site: Site, asked: str, status: int, start: int, end: int) -> None:
    """Byte ranges of a block are served, cut to its length."""
    answer = site.ask("/ipfs/{tree/subdir/ascii.txt}", query={"format": "raw"}, Range=asked)
    assert (status, ASCII[start:end]) == (answer.status, answer.body)
    assert f"bytes {start}-{end - 1}/{len(ASCII)}" == answer.header("Content-Range")


def test_a_range_outside_a_block(site: Site) -> None:
    """A range beyond the end is answered with 416 and the true length."""
    answer = site.ask("/ipfs/{tree/hello.txt}", query={"format": "raw"}, Range="bytes=1000-")
    assert (416, f"bytes */{len(HELLO)}") == (answer.status, answer.header("Content-Range"))


@pytest.mark.parametrize("kind", ["raw", "car"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_missing_root_is_404(site: Site, kind: str, method: str) -> None:
    """What is not in the store is 404, for blocks and CARs alike."""
    assert 404 == site.ask(f"/ipfs/{NOWHERE}", method, {"format": kind}).status


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_only_if_cached(site: Site, method: str) -> None:
    """Cache-Control: only-if-cached is 412 for what is not here, and 200 for what is."""
    missing = site.ask(f"/ipfs/{NOWHERE}", method, {"format": "raw"}, Cache_Control="only-if-cached")
    here = site.ask("/ipfs/{tree/hello.txt}", method, {"format": "raw"}, Cache_Control="only-if-cached")
    assert (412, 200) == (missing.status, here.status)


@pytest.mark.parametrize("kind", ["raw", "car", ""])
def test_a_known_tag_is_304(site: Site, kind: str) -> None:
    """If-None-Match with the tag that was given is 304 without a body, weak or among others; another tag is 200."""
    query = {"format": kind} if kind else {}
    tag = site.ask("/ipfs/{tree}/hello.txt", query=query).header("Etag")
    for known in (tag, f'"x", {tag}', "W/" + tag.removeprefix("W/")):
        answer = site.ask("/ipfs/{tree}/hello.txt", query=query, If_None_Match=known)
        assert (304, b"") == (answer.status, answer.body)
    assert 200 == site.ask("/ipfs/{tree}/hello.txt", query=query, If_None_Match='"other"').status


def test_tags_differ_by_representation(site: Site) -> None:
    """Each format, scope, range and choice of duplicates has a tag of its own."""
    cars = ({}, {"dag-scope": "block"}, {"dag-scope": "entity"}, {"car-dups": "y"})
    ranges = ({"dag-scope": "entity", "entity-bytes": span} for span in ("1:*", "1:300", "2:300"))
    queries = [{}, {"format": "raw"}, *({"format": "car"} | more for more in (*cars, *ranges))]
    tags = [site.ask("/ipfs/{tree/subdir/multiblock.txt}", query=query).header("Etag") for query in queries]
    assert len(queries) == len(set(tags) - {""})


# Probes and identity CIDs


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_probe(site: Site, method: str) -> None:
    """/ipfs/bafkqaaa tells that a trustless gateway is here: an empty block."""
    answer = site.ask("/ipfs/bafkqaaa", method, {"format": "raw"})
    assert (200, b"") == (answer.status, answer.body)


def test_the_probe_as_a_car(site: Site) -> None:
    """The probe as a CAR has a header that names it and no block."""
    answer = site.ask("/ipfs/bafkqaaa", query={"format": "car"})
    assert (200, []) == (answer.status, answer.car)


def test_identity_cids_are_not_sent(site: Site) -> None:
    """An identity CID carries its bytes itself: it is never in a CAR, even where duplicates are asked for."""
    answer = site.ask(f"/ipfs/{IDENTITY}", Accept=f"{CAR}; dups=y")
    assert (200, []) == (answer.status, answer.car)
    assert "dups=y" in answer.header("Content-Type")


# CARs: which blocks


def below(made: Content, name: str) -> list[CID]:
    """All blocks of a DAG in order, each once."""
    return list(walk(made[name], made.blocks.__getitem__))


def shards(made: Content, name: str) -> list[CID]:
    """The shards of a folder in order."""
    return [cid for cid in below(made, name) if cid.codec != RAW and is_shard(made.blocks[cid])]


def is_shard(block: bytes) -> bool:
    """Whether a dag-pb block is part of a sharded folder."""
    return unixfs.decode(decode(block).data or b"").kind == unixfs.Kind.SHARD


def on_the_way(made: Content, folder: str, name: str) -> list[CID]:
    """The shards read to find a name."""
    met: list[CID] = []

    def get(cid: CID) -> bytes:
        met.append(cid)
        return made.blocks[cid]

    assert lookup(made[folder], name.encode(), get) is not None
    return met


def expected(made: Content, case: str) -> list[CID]:
    """The blocks that a case of CAR_CASES must give, in order."""
    tree, subdir = made["tree"], made["tree/subdir"]
    multi, parts = made["tree/subdir/multiblock.txt"], made.parts["tree/subdir/multiblock.txt"]
    torn, torn_parts = made["torn"], made.parts["torn"]
    return {
        "all of a file on a path": [tree, subdir, made["tree/subdir/ascii.txt"]],
        "all of a large file": [tree, subdir, multi, *parts],
        "all of a folder": [tree, *below(made, "tree/subdir")],
        "all through a trie": [*on_the_way(made, "hamt", "685.txt"), *below(made, "hamt/685.txt")],
        "block of a folder": [tree, subdir],
        "block of a file": [tree, subdir, multi],
        "block through a trie": [*on_the_way(made, "hamt", "1.txt"), made["hamt/1.txt"]],
        "entity of a folder": [tree],
        "entity of a trie": shards(made, "hamt"),
        "entity of a trie with bytes": shards(made, "hamt"),
        "entity of a file": [tree, subdir, multi, *parts],
        "entity of a symlink": [tree, made["tree/link"]],
        "entity of a document": [tree, made["tree/document"]],
        "bytes 0:*": [tree, subdir, multi, *parts],
        "bytes 512:*": [multi, *parts[2:]],
        "bytes 512:1023": [multi, *parts[2:4]],
        "bytes 512:-256": [multi, *parts[2:4]],
        "bytes -5:*": [multi, *parts[3:]],
        "bytes -9999:*": [multi, *parts],
        "bytes -9999:-3": [multi, *parts[:4]],
        "bytes 0:0": [multi, parts[0]],
        "bytes without a scope": [multi, *parts[2:4]],
        "bytes before a missing block": [torn, torn_parts[0]],
        "bytes behind a missing block": [torn, torn_parts[2]],
    }[case]


MULTIBLOCK = "/ipfs/{tree/subdir/multiblock.txt}"
CAR_CASES = {
    "all of a file on a path": ("/ipfs/{tree}/subdir/ascii.txt", {}),
    "all of a large file": ("/ipfs/{tree}/subdir/multiblock.txt", {"dag-scope": "all"}),
    "all of a folder": ("/ipfs/{tree}/subdir", {"dag-scope": "all"}),
    "all through a trie": ("/ipfs/{hamt}/685.txt", {}),
    "block of a folder": ("/ipfs/{tree}/subdir", {"dag-scope": "block"}),
    "block of a file": ("/ipfs/{tree}/subdir/multiblock.txt", {"dag-scope": "block"}),
    "block through a trie": ("/ipfs/{hamt}/1.txt", {"dag-scope": "block"}),
    "entity of a folder": ("/ipfs/{tree}", {"dag-scope": "entity"}),
    "entity of a trie": ("/ipfs/{hamt}", {"dag-scope": "entity"}),
    "entity of a trie with bytes": ("/ipfs/{hamt}", {"dag-scope": "entity", "entity-bytes": "0:*"}),
    "entity of a file": ("/ipfs/{tree}/subdir/multiblock.txt", {"dag-scope": "entity"}),
    "entity of a symlink": ("/ipfs/{tree}/link", {"dag-scope": "entity"}),
    "entity of a document": ("/ipfs/{tree}/document", {"dag-scope": "entity"}),
    "bytes 0:*": ("/ipfs/{tree}/subdir/multiblock.txt", {"dag-scope": "entity", "entity-bytes": "0:*"}),
    "bytes 512:*": (MULTIBLOCK, {"dag-scope": "entity", "entity-bytes": "512:*"}),
    "bytes 512:1023": (MULTIBLOCK, {"dag-scope": "entity", "entity-bytes": "512:1023"}),
    "bytes 512:-256": (MULTIBLOCK, {"dag-scope": "entity", "entity-bytes": "512:-256"}),
    "bytes -5:*": (MULTIBLOCK, {"dag-scope": "entity", "entity-bytes": "-5:*"}),
    "bytes -9999:*": (MULTIBLOCK, {"dag-scope": "entity", "entity-bytes": "-9999:*"}),
    "bytes -9999:-3": (MULTIBLOCK, {"dag-scope": "entity", "entity-bytes": "-9999:-3"}),
    "bytes 0:0": (MULTIBLOCK, {"dag-scope": "entity", "entity-bytes": "0:0"}),
    "bytes without a scope": (MULTIBLOCK, {"entity-bytes": "512:1023"}),
    "bytes before a missing block": ("/ipfs/{torn}", {"dag-scope": "entity", "entity-bytes": "0:1000"}),
    "bytes behind a missing block": ("/ipfs/{torn}", {"dag-scope": "entity", "entity-bytes": "2200:*"}),
}


@pytest.mark.parametrize("case", CAR_CASES)
def test_blocks_of_a_car(site: Site, case: str) -> None:
    """A CAR holds the blocks of the path, then exactly those of its scope and bytes, depth first."""
    path, query = CAR_CASES[case]
    answer = site.ask(path, query={"format": "car"} | query)
    assert 200 == answer.status
    assert expected(site.content, case) == answer.car


def test_headers_of_a_car(site: Site) -> None:
    """A CAR tells its version, order and duplicates, a name, and that it has no ranges and no kind to sniff."""
    answer = site.ask("/ipfs/{tree}", Accept=CAR)
    assert f"{CAR}; version=1; order=dfs; dups=n" == answer.header("Content-Type")
    assert answer.header("Content-Disposition").startswith(f'attachment; filename="{site.content["tree"]}.car"')
    assert "none" == answer.header("Accept-Ranges")
    assert "nosniff" == answer.header("X-Content-Type-Options")
    assert IMMUTABLE == answer.header("Cache-Control")


@pytest.mark.parametrize("by", ["query", "accept"])
@pytest.mark.parametrize("dups", ["y", "n"])
def test_duplicates(site: Site, by: str, dups: str) -> None:
    """dups=y sends a block each time it occurs, dups=n once; the query may say it as well as Accept."""
    if by == "query":
        answer = site.ask("/ipfs/{dups}", query={"format": "car", "car-order": "dfs", "car-dups": dups})
    else:
        answer = site.ask("/ipfs/{dups}", Accept=f"{CAR}; version=1; order=dfs; dups={dups}")
    once = below(site.content, "dups")
    assert (once if dups == "n" else [*once[:2], once[1], *once[2:]]) == answer.car
    assert f"dups={dups}" in answer.header("Content-Type")


def test_the_query_wins_over_accept(site: Site) -> None:
    """Where the query and Accept differ, in the format or in its options, the query is heeded."""
    raw = site.ask("/ipfs/{dups}", query={"format": "raw"}, Accept=CAR)
    dups = site.ask("/ipfs/{dups}", query={"format": "car", "car-dups": "n"}, Accept=f"{CAR}; dups=y")
    assert RAW_TYPE == raw.header("Content-Type")
    assert "dups=n" in dups.header("Content-Type")


def test_options_in_accept_count_beside_the_format(site: Site) -> None:
    """format=car takes the options of a CAR from Accept where the query has none."""
    answer = site.ask("/ipfs/{dups}", query={"format": "car"}, Accept=f"{CAR}; version=1; order=dfs; dups=y")
    assert "dups=y" in answer.header("Content-Type")
    assert len(below(site.content, "dups")) + 1 == len(answer.car)


def test_order_unknown(site: Site) -> None:
    """order=unk is served, in an order that is told."""
    answer = site.ask("/ipfs/{dups}", Accept=f"{CAR}; version=1; order=unk")
    assert "order=" in answer.header("Content-Type")
    assert set(below(site.content, "dups")) == set(answer.car)


@pytest.mark.parametrize(
    "query",
    [
        {"dag-scope": "some"},
        {"car-version": "2"},
        {"car-order": "bfs"},
        {"car-dups": "maybe"},
        {"entity-bytes": "1"},
        {"entity-bytes": "a:b"},
        {"entity-bytes": "9:1"},
        {"entity-bytes": "-1:-9"},
        {"entity-bytes": "1:2:3"},
    ],
)
def test_options_that_make_no_sense(site: Site, query: dict[str, str]) -> None:
    """Unknown scopes, versions, orders and spans that are none are 400 or 406."""
    assert site.ask("/ipfs/{tree}", query={"format": "car"} | query).status in {400, 406}


def test_a_car_version_in_accept_that_is_not_served(site: Site) -> None:
    """Accept with another version of CAR is 400 or 406."""
    assert site.ask("/ipfs/{tree}", Accept=f"{CAR}; version=2").status in {400, 406}


def test_bytes_outside_the_file(site: Site) -> None:
    """A span wholly outside is 400, or a CAR of the file's first block to learn its length from."""
    query = {"format": "car", "dag-scope": "entity", "entity-bytes": "99999:*"}
    answer = site.ask(MULTIBLOCK, query=query)
    assert answer.status == 400 or answer.car == [site.content["tree/subdir/multiblock.txt"]]


def test_a_path_that_is_not_there(site: Site) -> None:
    """A CAR of a path that does not exist is 404, or holds no more than the blocks that show it."""
    answer = site.ask("/ipfs/{tree}/subdir/i-do-not-exist", query={"format": "car"})
    assert answer.status == 404 or answer.car == [site.content["tree"], site.content["tree/subdir"]]


def test_a_missing_block_is_not_passed_over(site: Site) -> None:
    """A block found missing on the way is an error, or the CAR ends before it: nothing comes behind the gap."""
    answer = site.ask("/ipfs/{torn}", query={"format": "car"})
    assert answer.status == 404 or answer.car_begun == [site.content["torn"], site.content.parts["torn"][0]]


def test_the_shards_are_what_they_seem(made: Content) -> None:
    """The sharded folder of these tests has several levels."""
    assert len(shards(made, "hamt")) > 1
    assert hamt.FANOUT == 256
