"""Whatever is asked and whatever lies in the store: a status within a second, or a stream in bounded memory."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
import tracemalloc
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.door import ask, opened
from ipld.memory import Blocks
from pinfold.door import Request, Response
from pinfold.errors import PinfoldError
from pinfold.gateway import filetree, shards
from pinfold.gateway.blocks import Blocks as Supplied
from pinfold.gateway.blocks import Supply
from pinfold.gateway.ranges import Span
from pinfold.ipld import CID, add_file, car, dagpb, hamt, unixfs, varint
from pinfold.ipld.cid import DAG_PB, IDENTITY, RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.gateway import Gateway

SECOND = 1.0
LEAF = b"leaf" * 1000
FOLDER = unixfs.Data(unixfs.Kind.DIRECTORY)
CAR = {"format": "car"}


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Each of these tests is done within seconds: nothing hangs."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 20


def asked(door: Gateway, path: str, query: dict[str, str] | None = None, **headers: str) -> Response:
    """Ask, and see that the status came within a second, with headers that are such."""
    began = time.thread_time()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = door(Request("GET", path, tuple((query or {}).items()), named))
    assert time.thread_time() - began < SECOND
    assert [] == [(name, value) for name, value in response.headers if not re.fullmatch(r"[\x20-\x7e]*", name + value)]
    return response


def streamed(response: Response, most: int) -> tuple[int, int]:
    """Take up to `most` pieces; return the bytes, and the most memory that was held meanwhile."""
    assert not isinstance(response.body, bytes)
    tracemalloc.start()
    try:
        size = sum(len(piece) for piece in islice(response.body, most))
    except PinfoldError:
        size = -1
    finally:
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return size, held


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ipfs/../../etc/passwd", 400),
        ("/ipfs/bafkqaaa/../x", 400),
        ("//ipfs//bafkqaaa", 200),
        ("/ipfs/./bafkqaaa", 200),
        ("/ipfs/bafkqaaa/\0", 400),
        ("/ipfs/bafkqaaa\r\nX-Evil: 1", 400),
        ("/ipfs/" + "b" * 5000, 400),
        ("/ipfs/" + "k" * 512, 400),
        ("/ipfs/z" + "z" * 511, 400),
        ("/ipfs/bafkqaaa" + "/a" * 300, 400),
        ("/ipfs/bafkqaaa" + "/a" * 200, 404),
        ("/ipfs/" + "/" * 9000, 400),
        ("/ipfs/bafkqaaa/" + "\u202e\U0001f4a3" * 100, 404),
        ("/ipfs/", 400),
        ("/ipfs", 400),
        ("/ipns/", 400),
        ("/ipns/example.org", 501),
        ("/ipns/12D3KooWnotakey0OIl", 400),
        ("/ipns/k51" + "0" * 500, 400),
        ("/ipld/bafkqaaa", 404),
        ("/", 404),
        ("", 404),
        ("/ipfs/ipfs/ipfs/bafkqaaa", 301),
        ("/ipfs/bafk2bzaceaa", 400),
        ("/ipfs/\ud7ff", 400),
    ],
)
def test_paths(path: str, status: int) -> None:
    """Tricks with paths and roots that are none get a status and no traceback."""
    door, _ = opened({})
    assert status == asked(door, path, {"format": "raw"} if status == 200 else None).status


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=" + "9" * 5000 + "-"},
        {"range": "bytes=" + "0-0," * 2000},
        {"range": "bytes=0-0" + "x" * 5000},
        {"if_none_match": '"' * 9000},
        {"if_none_match": "W/" * 4000},
        {"if_none_match": ", " * 4000},
        {"if_none_match": '"a",' * 2000},
        {"if_range": '"' * 5000, "range": "bytes=0-1"},
        {"accept": ";" * 8000},
        {"accept": "application/vnd.ipld.car;" + "a=b;" * 1900},
        {"accept": "application/vnd.ipld.raw;q=1e999999"},
        {"cache_control": "only-if-cached," * 500},
        {"service_worker": "script"},
    ],
)
def test_headers(headers: dict[str, str]) -> None:
    """Headers that make no sense get a status quickly."""
    door, _ = opened({})
    assert asked(door, "/ipfs/bafkqaaa", **headers).status in {200, 206, 304, 400, 406, 416}


@given(
    st.text(max_size=40).filter(lambda text: text.isprintable()),
    st.dictionaries(
        st.sampled_from(["format", "dag-scope", "entity-bytes", "car-dups", "filename", "from", "uri", "download"]),
        st.text(max_size=20) | st.sampled_from(["raw", "car", "ipns-record", "dag-cbor", "y", "0:*", "-1:*"]),
    ),
    st.dictionaries(
        st.sampled_from(["accept", "range", "if-none-match", "if-range", "cache-control"]), st.text(max_size=20)
    ),
)
def test_any_request(path: str, query: dict[str, str], headers: dict[str, str]) -> None:
    """Whatever is asked, there is a status, and no error but the project's own in the stream."""
    door, _ = opened({})
    for root in ("bafkqaaa", "bafkqaaik"):
        answer = ask(door, f"/ipfs/{root}/{path}", "GET", query, **headers)
        assert 200 <= answer.status < 600
        assert [] == [value for value in answer.headers.values() if re.search(r"[^\x20-\x7e]", value)]


def doubled(made: Blocks, depth: int, kind: str) -> CID:
    """A DAG of `depth` blocks that stands for 2**depth leaves."""
    child, size = made.leaf(LEAF), len(LEAF)
    for _ in range(depth):
        if kind == "file":
            child, size = made.file((child, size), (child, size)), size * 2
        else:
            links = (dagpb.Link(child, b"a"), dagpb.Link(child, b"b"))
            child = made.node(FOLDER, links)
    return child


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("scope", ["all", "entity"])
def test_a_bomb_without_duplicates(kind: str, scope: str) -> None:
    """A small DAG that refers to itself over and over is a small CAR where duplicates are left out."""
    made = Blocks()
    root = doubled(made, 50, kind)
    door, _ = opened(made)
    response = asked(door, f"/ipfs/{root}", CAR | {"dag-scope": scope})
    assert not isinstance(response.body, bytes)
    _, found = car.read_car(io.BytesIO(b"".join(response.body)))
    assert (51 if scope == "all" or kind == "file" else 1) == len(list(found))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_bomb_with_duplicates(kind: str) -> None:
    """With duplicates the same DAG is a stream without end, taken piece by piece from little memory."""
    made = Blocks()
    root = doubled(made, 50, kind)
    door, _ = opened(made)
    size, held = streamed(asked(door, f"/ipfs/{root}", CAR | {"car-dups": "y"}), 40)
    assert size > 40 * 60_000
    assert held < 4 << 20


def test_a_file_of_petabytes() -> None:
    """A file larger than all disks has its length, its ranges, and a stream from little memory."""
    made = Blocks()
    root = doubled(made, 50, "file")
    door, _ = opened(made)
    length = len(LEAF) << 50
    response = asked(door, f"/ipfs/{root}", None, range=f"bytes={length - 2 - len(LEAF)}-")
    assert not isinstance(response.body, bytes)
    assert (206, b"af" + LEAF) == (response.status, b"".join(response.body))
    size, held = streamed(asked(door, f"/ipfs/{root}"), 40)
    assert size > 40 * 60_000
    assert held < 4 << 20


def test_a_deep_dag() -> None:
    """Folders in one another, thousands deep, are a CAR, and files deeper than any that is honest are cut."""
    made = Blocks()
    child = made.leaf(LEAF)
    for _ in range(5000):
        child = made.node(FOLDER, [dagpb.Link(child, b"a")])
    door, _ = opened(made)
    response = asked(door, f"/ipfs/{child}", CAR)
    assert not isinstance(response.body, bytes)
    _, found = car.read_car(io.BytesIO(b"".join(response.body)))
    assert 5001 == len(list(found))
    file = made.leaf(LEAF)
    for _ in range(200):
        file = made.file((file, len(LEAF)))
    door, _ = opened(made)
    assert ask(door, f"/ipfs/{file}", query={"filename": "a.txt"}).broken


def wide(made: Blocks, count: int, children: list[CID]) -> CID:
    """A folder of `count` entries over these children in turn."""
    links = tuple(dagpb.Link(children[at % len(children)], b"%07d" % at) for at in range(count))
    return made.node(FOLDER, links)


def test_wide_dags() -> None:
    """Wide folders below wide folders end with an error, before what waits has filled the memory."""
    made = Blocks()
    level = [made.leaf(LEAF)]
    for generation in range(6):
        level = [wide(made, 30_000 + generation, level)]
    door, _ = opened(made)
    response = asked(door, f"/ipfs/{level[0]}", CAR | {"car-dups": "y"})
    assert -1 == streamed(response, 100_000)[0]


def test_a_path_through_wide_folders() -> None:
    """A path through many folders as wide as they can be is refused before it has taken a second."""
    made = Blocks()
    child = made.leaf(LEAF)
    for generation in range(20):
        links = [dagpb.Link(made.leaf(LEAF), b"%06d" % at) for at in range(20_000 + generation)]
        child = made.node(FOLDER, [*links, dagpb.Link(child, b"zzz")])
    door, _ = opened(made)
    assert 422 == asked(door, f"/ipfs/{child}" + "/zzz" * 20).status


def shard(made: Blocks, links: dict[int, tuple[bytes, CID]]) -> CID:
    """A shard as written, right or wrong."""
    used = sum(1 << bucket for bucket in links)
    field = used.to_bytes((used.bit_length() + 7) // 8, "big")
    data = unixfs.Data(unixfs.Kind.SHARD, data=field, hash_type=unixfs.MURMUR3, fanout=256)
    return made.node(data, [dagpb.Link(cid, b"%02X" % at + name) for at, (name, cid) in sorted(links.items())])


@pytest.mark.parametrize("page", [True, False])
def test_a_trie_of_itself(page: bool) -> None:
    """A trie whose shards all are one and the same ends at the first entry in the wrong place."""
    made = Blocks()
    child = shard(made, {hamt.key(b"a") >> 56: (b"a", made.leaf(LEAF))})
    for _ in range(7):
        child = shard(made, dict.fromkeys(range(256), (b"", child)))
    door, _ = opened(made)
    if page:
        assert 422 == asked(door, f"/ipfs/{child}/").status
    else:
        assert ask(door, f"/ipfs/{child}", query=CAR | {"dag-scope": "entity"}).broken


def test_a_trie_without_an_end() -> None:
    """A trie deeper than hashes are long is an error, on a path and on a page."""
    made = Blocks()
    child = shard(made, {0: (b"", made.leaf(LEAF))})
    for _ in range(20):
        child = shard(made, dict.fromkeys(range(256), (b"", child)))
    door, _ = opened(made)
    assert 422 == asked(door, f"/ipfs/{child}/").status
    assert 422 == asked(door, f"/ipfs/{child}/name").status


def test_nodes_that_are_none() -> None:
    """Blocks that break their format are 422, and no traceback; their bytes are still served as they lie."""
    made = Blocks()
    broken = [b"\xff" * 100, b"\x0a\x02\x08\x09", b"\x12\x00", b"", b"\x0a\x00"]
    cids = [CID.of(DAG_PB, block) for block in broken]
    made.update(zip(cids, broken, strict=True))
    door, _ = opened(made)
    for cid, block in zip(cids, broken, strict=True):
        assert 422 == asked(door, f"/ipfs/{cid}/").status
        assert (200, block) == ((answer := ask(door, f"/ipfs/{cid}", query={"format": "raw"})).status, answer.body)


def test_lies_about_length() -> None:
    """A file that promises other lengths than its blocks have breaks off, and sends nothing that is not there."""
    made = Blocks()
    leaf = made.leaf(LEAF)
    liar = made.file((leaf, 1 << 40), (leaf, 4))
    door, _ = opened(made)
    answer = ask(door, f"/ipfs/{liar}", query={"filename": "a.txt"})
    assert (True, b"") == (answer.broken, answer.body)


def test_a_node_larger_than_any() -> None:
    """A node of many megabytes of links is refused, not read for seconds."""
    made = Blocks()
    links = [dagpb.Link(CID.of(RAW, b""), b"%07d" % at) for at in range(90_000)]
    root = made.node(FOLDER, links)
    door, _ = opened(made)
    assert 422 == asked(door, f"/ipfs/{root}/").status


def test_identity_in_identity() -> None:
    """Identity CIDs that hold nodes are read, at no cost and with no block sent."""
    inner = CID(1, RAW, IDENTITY, b"inlined")
    message = unixfs.encode(unixfs.Data(unixfs.Kind.FILE, filesize=14, blocksizes=(7, 7)))
    outer = CID(1, DAG_PB, IDENTITY, dagpb.encode(dagpb.Node((dagpb.Link(inner), dagpb.Link(inner)), message)))
    door, store = opened({})
    assert b"inlinedinlined" == ask(door, f"/ipfs/{outer}").body
    assert [] == ask(door, f"/ipfs/{outer}", query=CAR | {"car-dups": "y"}).car
    assert [] == list(store.asked)


def chain(made: Blocks, depth: int, width: int, data: bytes = b"", link: bytes | None = None) -> CID:
    """A file of nodes in one another, each of `width` links: the first goes on, the others are one leaf."""
    child, size = made.leaf(b"x"), 1
    others = (link or dagpb.encode_link(dagpb.Link(child))) * (width - 1)
    for _ in range(depth):
        total = len(data) + size + width - 1
        message = b"\x08\x02" + (b"\x12" + varint.encode(len(data)) + data if data else b"")
        message += b"\x18" + varint.encode(total) + b"\x20" + varint.encode(size) + b"\x20\x01" * (width - 1)
        block = dagpb.encode_link(dagpb.Link(child)) + others + dagpb.encode_data(message)
        child, size = CID.of(DAG_PB, block), total
        made[child] = block
    return child


def test_many_heads_on_deep_and_wide_files() -> None:
    """Ten HEADs at once on nodes of 60,000 links inside one another take less than a second each, and read one."""
    made = Blocks()
    root = chain(made, 12, 60_000)
    door, store = opened(made)
    took: list[tuple[int, str | None, bool]] = []

    def head() -> None:
        began = time.thread_time()
        response = door(Request("HEAD", f"/ipfs/{root}"))
        kind = dict(response.headers).get("Content-Type")
        took.append((response.status, kind, time.thread_time() - began < SECOND))

    crew = [threading.Thread(target=head) for _ in range(10)]
    for one in crew:
        one.start()
    for one in crew:
        one.join()
    assert [(200, "application/octet-stream", True)] * 10 == took
    assert [root] * 10 == list(store.asked)
    began = time.thread_time()
    assert ask(door, f"/ipfs/{root}").broken
    assert time.thread_time() - began < 2 * SECOND
    assert [root, made_below(made, root)] == list(store.asked)[10:]


def made_below(made: Blocks, root: CID) -> CID:
    """The first child of a node."""
    return dagpb.decode(made[root]).links[0].cid


def test_sizes_are_told_without_memory() -> None:
    """To tell the size of a file of 60,000 links, none of them is read into memory."""
    made = Blocks()
    root = chain(made, 1, 60_000)
    tracemalloc.start()
    try:
        assert 60_000 == filetree.file_size(root, made[root])
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < 3 << 20


def test_short_links_count_as_long_ones() -> None:
    """Links of eight bytes take as long as others: a file or a folder of too many is refused, however small."""
    short = b"\x12\x06\x0a\x04\x01\x55\x00\x00"
    made = Blocks()
    root = chain(made, 1, 70_000, link=short)
    folder = dagpb.encode_data(unixfs.encode(FOLDER)) + short * 100_000
    wide = CID.of(DAG_PB, folder)
    made[wide] = folder
    door, _ = opened(made)
    assert 422 == asked(door, f"/ipfs/{root}").status
    assert 422 == asked(door, f"/ipfs/{wide}/name").status


def test_a_few_bytes_do_not_wait_for_megabytes() -> None:
    """Nodes of a megabyte with one byte of the file each come byte by byte: who has left is noticed in between."""
    made = Blocks()
    root = chain(made, 5, 25_000, b"y")
    door, store = opened(made)
    response = asked(door, f"/ipfs/{root}")
    assert not isinstance(response.body, bytes)
    before = len(store.asked)
    assert [b"y", b"y", b"y"] == list(islice(response.body, 3))
    assert 2 == len(store.asked) - before  # the root was at hand


def test_ranges_behind_wide_nodes() -> None:
    """Bytes outside the range make no way free: the end of a file behind many megabytes of nodes is not looked for."""
    made = Blocks()
    root = chain(made, 12, 60_000, b"y")
    door, store = opened(made)
    answer = ask(door, f"/ipfs/{root}", Range="bytes=12-12")
    assert (True, 2) == (answer.broken, len(store.asked))


def test_nobody_holds_what_was_handed_on() -> None:
    """A block that a client is taking is never a copy, and the answer holds it no more."""
    made = Blocks()
    content = bytes(range(256)) * 1024
    file = add_file([content], made.emit, chunk_size=1 << 16)
    door, store = opened(made)
    leaf = CID.of(RAW, content[: 1 << 16])
    held = store.get(leaf)
    body = asked(door, f"/ipfs/{file.cid}", {"filename": "a.bin"}).body
    assert not isinstance(body, bytes)
    before = sys.getrefcount(held)
    assert next(body) is held
    assert before == sys.getrefcount(held)


def test_walks_hold_no_block() -> None:
    """While whoever walks a file or a trie waits, the walk itself holds no block."""
    made = Blocks()
    leaf = made.leaf(LEAF)
    trie = shard(made, {hamt.key(b"a") >> 56: (b"a", leaf)})
    _, store = opened(made)
    supply = Supply(store, 1 << 20, 1000)
    blocks = Supplied(supply)
    try:
        for walk, block in (
            (filetree.visit(leaf, blocks, Span(0, len(LEAF))), store.get(leaf)),
            (shards.trie(trie, blocks), store.get(trie)),
        ):
            before = sys.getrefcount(block)
            next(iter(walk))
            assert before == sys.getrefcount(block)
    finally:
        blocks.close()
        supply.close()
