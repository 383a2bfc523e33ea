"""The rules of trustless and path gateways, held by pinfold's gateway and by Kubo's, on the same content.

Each test is one rule of https://specs.ipfs.tech/http-gateways/trustless-gateway/ or path-gateway.  Kubo passing shows
that the tests read the rules as others do; where Kubo departs from a rule, DEVIATIONS says so and why, and the
test must then fail for Kubo.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway import content, serve
from gateway.client import Answer, ask
from gateway.content import ASCII, HELLO, IDENTITY, INDEX, MULTI, NOWHERE, Content
from lab.process import Process
from pinfold.ipld import CID, hamt, lookup, unixfs, walk
from pinfold.ipld.cid import RAW
from pinfold.ipld.dagpb import decode
from pinfold.store.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.kubo import Node

CAR = "application/vnd.ipld.car"
RAW_TYPE = "application/vnd.ipld.raw"
RECORD = "application/vnd.ipfs.ipns-record"
IMMUTABLE = "public, max-age=29030400, immutable"
SOURCE = Path(__file__).resolve().parents[2] / "src"

DEVIATIONS: dict[str, str] = {}
"""Rules that Kubo 0.42 does not hold, by the name of the test and its case, and why."""


class Site(NamedTuple):
    """A gateway: its URL, what it serves, and an IPNS name it knows, which leads to content["tree"]."""

    url: str
    content: Content
    name: str

    def ask(self, path: str, method: str = "GET", query: dict[str, str] | None = None, **headers: str) -> Answer:
        """Ask for a path, in which {a/b} is the CID of that content."""
        path = re.sub(r"\{(.*?)\}", lambda found: str(self.content[found[1]]), path)
        return ask(self.url, path, method, query, **headers)


@pytest.fixture(scope="module")
def made() -> Content:
    """The content, the middle of whose torn file nobody gets."""
    return content.make()


@pytest.fixture(scope="module")
def kubo_site(shared_node: Node, made: Content) -> Site:
    """Kubo's own gateway."""
    shared_node.run("dag", "import", "--pin-roots=false", input=made.as_car(without=made.parts["torn"][1]))
    name = shared_node.run("key", "gen", "conformance").decode().strip()
    published = ["--key=conformance", "--allow-offline", "--lifetime=800h", f"/ipfs/{made['tree']}"]
    shared_node.run("name", "publish", *published)
    return Site(shared_node.gateway, made, name)


@pytest.fixture(scope="module")
def pinfold_site(kubo_site: Site, made: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Pinfold's gateway over a store folder, which holds the record that Kubo signed."""
    home = tmp_path_factory.mktemp("gateway")
    with FolderStore.create(home / "store") as store, store.session():
        store.put((cid, block) for cid, block in made.blocks.items() if cid != made.parts["torn"][1])
    (home / "records").mkdir()
    record = ask(kubo_site.url, f"/ipns/{kubo_site.name}", query={"format": "ipns-record"})
    (home / "records" / f"{kubo_site.name}.ipns-record").write_bytes(record.body)
    command = [sys.executable, serve.__file__, home / "store", home / "records"]
    process = Process("pinfold's gateway", command, home / "log", {"PYTHONPATH": str(SOURCE)})
    process.launch(lambda: "\n" in process.log)
    yield Site(process.log.split()[0], made, kubo_site.name)
    process.kill()


@pytest.fixture(params=["pinfold", "kubo"])
def site(request: pytest.FixtureRequest, kubo_site: Site, pinfold_site: Site) -> Site:
    """Each gateway in turn; a rule that Kubo does not hold must fail for it."""
    if request.param == "pinfold":
        return pinfold_site
    name = request.node.name.replace("[kubo-", "[").replace("[kubo]", "")
    if name in DEVIATIONS:
        request.applymarker(pytest.mark.xfail(raises=AssertionError, strict=True, reason=DEVIATIONS[name]))
    return kubo_site


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
    assert once if dups == "n" else [*once[:2], once[1], *once[2:]] == answer.car
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
    """A CAR of a path that does not exist is 404."""
    assert 404 == site.ask("/ipfs/{tree}/subdir/i-do-not-exist", query={"format": "car"}).status


def test_a_stream_with_a_missing_block_is_cut(site: Site) -> None:
    """A block found missing on the way ends the stream in a way that no client takes for the whole."""
    answer = site.ask("/ipfs/{torn}", query={"format": "car"})
    assert (200, True) == (answer.status, answer.broken)
    assert [site.content["torn"], site.content.parts["torn"][0]] == answer.car_begun


# Paths for people


def test_a_file(site: Site) -> None:
    """A file comes with its type, length, tag, and the roots of its path."""
    answer = site.ask("/ipfs/{tree}/hello.txt")
    roots = f"{site.content['tree']},{site.content['tree/hello.txt']}"
    assert (200, HELLO) == (answer.status, answer.body)
    assert ("text/plain; charset=utf-8", str(len(HELLO))) == (
        answer.header("Content-Type"),
        answer.header("Content-Length"),
    )
    assert (f'"{site.content["tree/hello.txt"]}"', IMMUTABLE) == (answer.header("Etag"), answer.header("Cache-Control"))
    assert (f"/ipfs/{site.content['tree']}/hello.txt", roots) == (
        answer.header("X-Ipfs-Path"),
        answer.header("X-Ipfs-Roots"),
    )


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=200-700", 200, 701), ("bytes=1000-", 1000, 1026), ("bytes=-30", 996, 1026)],
)
def test_a_range_of_a_file(site: Site, asked: str, start: int, end: int) -> None:
    """Ranges of files that span blocks are served; of several the first."""
    for header in (asked, f"{asked},1-2"):
        answer = site.ask("/ipfs/{tree}/subdir/multiblock.txt", Range=header)
        assert (206, MULTI[start:end]) == (answer.status, answer.body)
        assert f"bytes {start}-{end - 1}/{len(MULTI)}" == answer.header("Content-Range")


def test_a_range_outside_a_file(site: Site) -> None:
    """A range beyond the end of a file is 416."""
    assert 416 == site.ask("/ipfs/{tree}/subdir/multiblock.txt", Range="bytes=5000-").status


def test_a_range_of_an_empty_file(site: Site) -> None:
    """An empty file has no ranges and is sent as it is."""
    answer = site.ask("/ipfs/{tree}/empty", Range="bytes=0-10")
    assert (200, b"") == (answer.status, answer.body)


def test_a_download_has_a_name(site: Site) -> None:
    """`filename` names what is shown, and with `download` what is saved."""
    shown = site.ask("/ipfs/{tree/hello.txt}", query={"filename": "a b.txt"})
    saved = site.ask("/ipfs/{tree/hello.txt}", query={"filename": "a b.txt", "download": "true"})
    assert "filename*=UTF-8''a%20b.txt" in shown.header("Content-Disposition")
    assert shown.header("Content-Disposition").startswith("inline;")
    assert saved.header("Content-Disposition").startswith("attachment;")
    assert "text/plain; charset=utf-8" == shown.header("Content-Type")


def test_a_folder_without_its_slash_is_moved(site: Site) -> None:
    """A folder asked for without a slash at the end is 301 to the address with one, encoded."""
    answer = site.ask("/ipfs/{tree}/ą/ę")
    assert (301, f"/ipfs/{site.content['tree']}/%C4%85/%C4%99/") == (answer.status, answer.header("Location"))


def test_a_folder_lists_what_it_holds(site: Site) -> None:
    """The page of a folder names and links its entries, and may change, so it is not kept for ever."""
    answer = site.ask("/ipfs/{tree}/ą/ę/")
    assert (200, True) == (answer.status, answer.header("Content-Type").startswith("text/html"))
    assert "file-źł.txt" in answer.body.decode()
    assert "file-%C5%BA%C5%82.txt" in answer.body.decode()
    assert "DirIndex-" in answer.header("Etag")
    assert str(site.content["tree/ą/ę"]) in answer.header("Etag")
    assert "public, max-age=604800, stale-while-revalidate=2678400" == answer.header("Cache-Control")


def test_the_tag_of_a_page(site: Site) -> None:
    """The page of a folder is 304 for its own tag and for the folder's CID."""
    tag = site.ask("/ipfs/{tree}/subdir/").header("Etag")
    for known in (tag, f"W/{tag}", f'W/"{site.content["tree/subdir"]}"'):
        assert 304 == site.ask("/ipfs/{tree}/subdir/", If_None_Match=known).status


def test_a_sharded_folder_lists_what_it_holds(site: Site) -> None:
    """A folder of a thousand entries in a trie has its page too, and its files are found by name."""
    page = site.ask("/ipfs/{hamt}/").body.decode()
    assert [] == [number for number in range(content.MANY) if f">{number}.txt<" not in page]
    answer = site.ask("/ipfs/{hamt}/685.txt")
    assert b"".join(site.content.blocks[cid] for cid in site.content.parts["hamt/685.txt"]) == answer.body


def test_an_index_page(site: Site) -> None:
    """A folder with an index.html is that file, under the folder's own tag."""
    answer = site.ask("/ipfs/{tree}/page/")
    assert (200, INDEX, "text/html") == (answer.status, answer.body, answer.header("Content-Type"))
    assert (f'"{site.content["tree/page"]}"', IMMUTABLE) == (answer.header("Etag"), answer.header("Cache-Control"))


def test_a_symlink(site: Site) -> None:
    """A symlink is not followed: its target is the body."""
    answer = site.ask("/ipfs/{tree}/link")
    assert (200, b"hello.txt", "inode/symlink") == (answer.status, answer.body, answer.header("Content-Type"))


def test_raw_of_a_path(site: Site) -> None:
    """Where files are served, a block may be asked for by a path."""
    answer = site.ask("/ipfs/{tree}/subdir/ascii.txt", query={"format": "raw"})
    assert (200, ASCII) == (answer.status, answer.body)


def test_nothing_is_converted(site: Site) -> None:
    """A folder as DAG-CBOR, or as JSON by its media type, would be a conversion: 406."""
    assert 406 == site.ask("/ipfs/{tree}", query={"format": "dag-cbor"}).status
    assert 406 == site.ask("/ipfs/{tree}", Accept="application/vnd.ipld.dag-json").status


@pytest.mark.parametrize("path", ["/ipfs/{tree}/nothing", "/ipfs/{tree}/hello.txt/below", "/ipfs/{hamt}/nothing"])
def test_names_that_are_not_there(site: Site, path: str) -> None:
    """A name that is not there is 404, in folders, tries, and below files."""
    assert 404 == site.ask(path).status


def test_a_root_that_is_no_cid(site: Site) -> None:
    """A root that is no CID is 400."""
    assert 400 == site.ask("/ipfs/this-is-no-cid").status


def test_other_methods(site: Site) -> None:
    """Other methods are 405 and told which there are; OPTIONS is answered."""
    for method in ("POST", "PUT", "DELETE"):
        answer = site.ask("/ipfs/{tree}", method)
        assert (405, True) == (answer.status, "GET" in answer.header("Allow"))
    assert site.ask("/ipfs/{tree}", "OPTIONS").status in {200, 204}


def test_scripts_of_other_origins(site: Site) -> None:
    """Pages of other origins may read answers and their headers."""
    answer = site.ask("/ipfs/{tree/hello.txt}", Origin="https://example.org")
    assert "*" == answer.header("Access-Control-Allow-Origin")


# Names


def test_a_record(site: Site) -> None:
    """A record comes signed as it is, under its own type, kept as long as it says."""
    answer = site.ask(f"/ipns/{site.name}", query={"format": "ipns-record"})
    assert (200, RECORD) == (answer.status, answer.header("Content-Type"))
    assert answer.header("Content-Disposition").startswith("attachment;")
    assert "public, max-age=300" == answer.header("Cache-Control")
    assert f"/ipfs/{site.content['tree']}".encode() in answer.body


def test_a_record_by_accept(site: Site) -> None:
    """A record may be asked for by Accept."""
    answer = site.ask(f"/ipns/{site.name}", Accept=RECORD)
    assert (200, RECORD) == (answer.status, answer.header("Content-Type"))


def test_a_path_below_a_name(site: Site) -> None:
    """A path below a name leads to the content, which is not kept for ever."""
    answer = site.ask(f"/ipns/{site.name}/subdir/ascii.txt")
    assert (200, ASCII) == (answer.status, answer.body)
    assert f"/ipns/{site.name}/subdir/ascii.txt" == answer.header("X-Ipfs-Path")
    assert answer.header("Cache-Control").startswith("public, max-age=")
    assert "immutable" not in answer.header("Cache-Control")


def test_the_shards_are_what_they_seem(made: Content) -> None:
    """The sharded folder of these tests has several levels."""
    assert len(shards(made, "hamt")) > 1
    assert hamt.FANOUT == 256
