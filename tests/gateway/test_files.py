"""Files for people: what they are called, of what kind they are, and what a browser may do with them."""

from __future__ import annotations

import pytest

from gateway.door import ask, opened
from ipld.memory import Blocks
from pinfold.gateway import mediatypes
from pinfold.ipld import add_file, build_folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.HTML", "text/html"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.tar.gz", "application/gzip"),
        ("a.pdf", "application/pdf"),
        ("a.webp", "image/webp"),
        ("a.car", "application/vnd.ipld.car"),
        ("a", ""),
        ("txt", ""),
        ("a.unheard", ""),
        ("data:text/html,x", ""),
        ("http://x/a.png?x", ""),
    ],
)
def test_types_by_name(name: str, expected: str) -> None:
    """The ending of a name tells the type, the same on every machine."""
    assert expected == mediatypes.by_name(name)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", "text/plain; charset=utf-8"),
        (b"plain\n", "text/plain; charset=utf-8"),
        ("zażółć".encode(), "text/plain; charset=utf-8"),
        (("ż" * 256).encode()[:511] + b"\xc5", "text/plain; charset=utf-8"),
        ("zażółć".encode("utf-16"), "application/octet-stream"),
        (b"a\0b", "application/octet-stream"),
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"%PDF-1.7", "application/pdf"),
        (b"  <!DOCTYPE html>", "text/html"),
        (b"<HTML lang=en>", "text/html"),
        (b"<svg onload=x>", "text/plain; charset=utf-8"),
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"\xc5", "application/octet-stream"),
    ],
)
def test_types_by_content(head: bytes, expected: str) -> None:
    """The first bytes tell the type where the name does not."""
    assert expected == mediatypes.by_content(head)


def served(data: bytes, name: str, query: dict[str, str] | None = None) -> dict[str, str]:
    """The headers of a file of one block in a folder."""
    made = Blocks()
    root, _ = build_folder([(name.encode(), made.leaf(data), len(data))], made.emit)
    door, _ = opened(made)
    answer = ask(door, f"/ipfs/{root}/{name}", query=query)
    assert (200, data) == (answer.status, answer.body)
    return dict(answer.headers)


def test_what_has_scripts_is_locked_up() -> None:
    """Files that a browser runs scripts of have no origin of their own; others need no lock."""
    assert served(b"<html>", "a.html")["Content-Security-Policy"].startswith("sandbox ")
    assert served(b"<svg>", "a.svg")["Content-Security-Policy"].startswith("sandbox ")
    assert "allow-same-origin" not in served(b"<html>", "a")["Content-Security-Policy"]
    assert "Content-Security-Policy" not in served(b"x", "a.txt")


def test_nothing_is_sniffed_by_browsers() -> None:
    """Every file says that its type is meant."""
    assert "nosniff" == served(b"<html>", "a.txt")["X-Content-Type-Options"]


def test_the_given_name_counts() -> None:
    """`filename` decides the type where it has an ending, and is told."""
    headers = served(b"x", "a", {"filename": "b.css", "download": "true"})
    assert "text/css; charset=utf-8" == headers["Content-Type"]
    assert "attachment; filename=\"b.css\"; filename*=UTF-8''b.css" == headers["Content-Disposition"]


@pytest.mark.parametrize("name", ['a"b', "a\r\nX-Evil: 1", "a\\b", "../../x", "\u202ex", "x" * 2000])
def test_names_for_downloads_are_harmless(name: str) -> None:
    """No name leaves its place in the header."""
    door, _ = opened({})
    answer = ask(door, "/ipfs/bafkqaaa", query={"format": "raw", "filename": name})
    if len(name) > 1024:
        assert 400 == answer.status
        return
    told = answer.header("Content-Disposition")
    assert 2 == told.count('"')
    assert "\r" not in told
    assert "\\" not in told


@pytest.mark.parametrize(("tag", "status"), [("same", 206), ("other", 200)])
def test_if_range(tag: str, status: int) -> None:
    """A range is served only of the representation that the client has begun with."""
    made = Blocks()
    leaf = made.leaf(b"0123456789")
    door, _ = opened(made)
    for query in ({}, {"format": "raw"}):
        etag = ask(door, f"/ipfs/{leaf}", query=query).header("Etag") if tag == "same" else '"other"'
        assert status == ask(door, f"/ipfs/{leaf}", query=query, Range="bytes=2-3", If_Range=etag).status


@pytest.mark.parametrize(
    ("data", "chunk", "expected"),
    [
        ("zażółć".encode(), 3, "text/plain; charset=utf-8"),
        (b"<html>" * 500, 512, "text/html"),
        (b"plain" + b"\0" * 5000, 512, "application/octet-stream"),
        (b"ok" + b"\xc5", 3, "application/octet-stream"),
    ],
)
def test_the_first_block_tells_the_type(data: bytes, chunk: int, expected: str) -> None:
    """The type of a file of several blocks is told by the first one, for HEAD as for GET; no other is fetched."""
    made = Blocks()
    root = add_file([data], made.emit, chunk_size=chunk).cid
    door, store = opened(made)
    head = ask(door, f"/ipfs/{root}", "HEAD")
    assert (200, expected) == (head.status, head.header("Content-Type"))
    assert len(store.asked) <= 2
    assert (expected, data) == ((got := ask(door, f"/ipfs/{root}")).header("Content-Type"), got.body)


@pytest.mark.parametrize(("depth", "expected"), [(7, "text/plain; charset=utf-8"), (8, "application/octet-stream")])
def test_deep_files_have_no_type(depth: int, expected: str) -> None:
    """A type is looked for in eight blocks and no more; the file itself comes whole."""
    made = Blocks()
    root = made.leaf(b"text")
    for _ in range(depth):
        root = made.file((root, 4))
    door, store = opened(made)
    answer = ask(door, f"/ipfs/{root}", "HEAD")
    assert (200, expected) == (answer.status, answer.header("Content-Type"))
    assert len(store.asked) <= 9
    assert (expected, b"text") == ((got := ask(door, f"/ipfs/{root}")).header("Content-Type"), got.body)
