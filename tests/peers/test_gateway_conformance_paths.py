"""The rules of path gateways, held by pinfold's gateway and by Kubo's on the same content.

Each test is one rule of https://specs.ipfs.tech/http-gateways/path-gateway/.  Kubo passing shows that
the tests read the rules as others do; where Kubo departs from one, gateway.sites.DEVIATIONS says so and why, and the
test must then fail for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import content
from gateway.content import ASCII, HELLO, INDEX, MULTI

if TYPE_CHECKING:
    from gateway.sites import Site

pytest_plugins = ["gateway.sites"]

RECORD = "application/vnd.ipfs.ipns-record"
IMMUTABLE = "public, max-age=29030400, immutable"

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
