"""Pages of folders: complete, in order, and safe whatever their entries are called."""

from __future__ import annotations

import html
import re
from urllib.parse import unquote

import pytest

from gateway.door import ask, opened
from ipld.memory import Blocks, entries
from pinfold.gateway import Gateway, Settings, page
from pinfold.ipld import CID, build_folder, dagpb, unixfs

NAMES = re.compile(r'<tr><td><a href="([^"]*)">(.*?)</a></td><td><a href="([^"]*)">', re.DOTALL)
NEXT = re.compile(r'href="\?from=(\d+)"')


def listed(text: str) -> list[tuple[str, str]]:
    """The links and names on a page."""
    return [(html.unescape(link), html.unescape(name)) for link, name, _ in NAMES.findall(text)]


def pages(door: Gateway, cid: CID) -> list[list[str]]:
    """The names on each page of a folder, one page after the other."""
    found, query = [], {}
    while True:
        answer = ask(door, f"/ipfs/{cid}/", query=query)
        assert 200 == answer.status
        found.append([name for _, name in listed(answer.body.decode())])
        more = NEXT.search(answer.body.decode())
        if not more:
            return found
        query = {"from": more[1]}


@pytest.mark.parametrize("threshold", [262144, 100])
@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 777])
def test_every_entry_is_on_one_page(count: int, threshold: int) -> None:
    """All entries of a folder, plain or sharded, are on its pages, each once, and sorted on each."""
    made = Blocks()
    root, _ = build_folder(entries(count), made.emit, threshold=threshold)
    door, _ = opened(made, Settings(page=50))
    found = pages(door, root)
    assert sorted(f"file-{number}" for number in range(count)) == sorted(name for one in found for name in one)
    assert [sorted(one) for one in found] == found
    assert [50] * (count // 50) == [len(one) for one in found if len(one) == 50]


def test_a_folder_of_a_hundred_thousand() -> None:
    """A page of a very large folder costs few of its shards, wherever it begins."""
    made = Blocks()
    root, _ = build_folder(entries(100_000), made.emit)
    door, store = opened(made)
    for begin in (0, 1 << 63):
        store.asked.clear()
        answer = ask(door, f"/ipfs/{root}/", query={"from": str(begin)})
        assert 1000 == len(listed(answer.body.decode()))
        assert len(store.asked) < len(made) / 50


HOSTILE = [
    b"<script>alert(1)</script>",
    b'"><img src=x onerror=alert(1)>',
    b"javascript:alert(1)",
    b"..",
    b"a/b",
    b"/etc/passwd",
    b"",
    b"\xff\xfe",
    b"?from=1",
    b"#x",
    b"%2e%2e",
    b"new\nline",
    b"nul\0l",
    b"x" * 3000,
    "\u202egnp.exe".encode(),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: bytes) -> None:
    """No name becomes markup, and each link leads to the entry itself."""
    made = Blocks()
    leaf = made.leaf(b"leaf")
    root = made.node(unixfs.Data(unixfs.Kind.DIRECTORY), [dagpb.Link(leaf, name)])
    door, _ = opened(made)
    text = ask(door, f"/ipfs/{root}/").body.decode()
    assert not re.search(r"<(script|img)", text)
    ((link, shown),) = listed(text)
    if link.startswith("/ipfs/"):
        assert link.startswith(f"/ipfs/{leaf}")
    else:
        assert (f"./{link[2:]}", name.decode()) == (link, unquote(link[2:]))
        assert 200 == ask(door, f"/ipfs/{root}/{unquote(link[2:])}").status or b"\0" in name
    assert len(shown) <= 300


def test_a_page_runs_no_scripts() -> None:
    """A page allows its own style and nothing else."""
    made = Blocks()
    root, _ = build_folder([], made.emit)
    door, _ = opened(made)
    answer = ask(door, f"/ipfs/{root}/")
    assert answer.header("Content-Security-Policy").startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in answer.body.decode()


def test_the_way_up() -> None:
    """A page below another links up; the page of a root does not."""
    made = Blocks()
    inner, tsize = build_folder([], made.emit)
    root, _ = build_folder([(b"in", inner, tsize)], made.emit)
    door, _ = opened(made)
    assert 'href=".."' in ask(door, f"/ipfs/{root}/in/").body.decode()
    assert 'href=".."' not in ask(door, f"/ipfs/{root}/").body.decode()


@pytest.mark.parametrize("begin", ["-1", "x", "1.5", str(1 << 64), "9" * 400, "٣"])
def test_places_that_are_none(begin: str) -> None:
    """A page that begins nowhere is 400."""
    made = Blocks()
    root, _ = build_folder([], made.emit)
    door, _ = opened(made)
    assert 400 == ask(door, f"/ipfs/{root}/", query={"from": begin}).status


def test_an_index_that_is_no_file() -> None:
    """A folder called index.html does not hide the page."""
    made = Blocks()
    inner, tsize = build_folder([], made.emit)
    root, _ = build_folder([(b"index.html", inner, tsize)], made.emit)
    door, _ = opened(made)
    assert "index.html" in ask(door, f"/ipfs/{root}/").body.decode()


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, ""), (1, "1 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (150 << 10, "150 KiB"), (1 << 62, "4.0 EiB")],
)
def test_sizes(count: int, expected: str) -> None:
    """Sizes are told in units that people read."""
    assert expected == page.size(count)
