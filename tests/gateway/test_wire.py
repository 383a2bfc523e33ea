"""The gateway behind the real server: what only bytes on the wire can do."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway import serve
from gateway.client import ask, ask_raw
from ipld.memory import Blocks
from lab.process import Process
from pinfold.ipld import CID, add_file, build_folder
from pinfold.store.folder import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).resolve().parents[2] / "src"
SECOND = 5.0  # a loaded machine takes five for what takes one alone
BLOCK = 100_000


class Site(NamedTuple):
    """A server, a folder with the file a.txt, and a file of three blocks whose second is not there."""

    url: str
    root: CID
    torn: CID


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of its own process."""
    home = tmp_path_factory.mktemp("wire")
    made = Blocks()
    root, _ = build_folder([(b"a.txt", made.leaf(b"leaf"), 4)], made.emit)
    torn = add_file((bytes([number]) * BLOCK for number in range(3)), made.emit, chunk_size=BLOCK).cid
    del made[CID.of(0x55, b"\1" * BLOCK)]
    with FolderStore.create(home / "store") as store, store.session():
        store.put(made.items())
    command = [sys.executable, serve.__file__, home / "store"]
    process = Process("pinfold's gateway", command, home / "log", {"PYTHONPATH": str(SOURCE)})
    process.launch(lambda: "\n" in process.log)
    yield Site(process.log.split()[0], root, torn)
    process.kill()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/ipfs/ROOT/a.txt", 200),
        ("/ipfs/ROOT%2Fa.txt", 200),
        ("/ipfs//ROOT///a.txt", 200),
        ("/ipfs/ROOT/./a.txt", 200),
        ("/ipfs/ROOT/../ROOT/a.txt", 400),
        ("/ipfs/ROOT/%2e%2e/ROOT/a.txt", 400),
        ("/ipfs/ROOT/..%2f..%2f..%2fetc%2fpasswd", 400),
        ("/ipfs/ROOT/a.txt%00", 400),
        ("/ipfs/ROOT/%ff%fe", 400),
        ("/ipfs/ROOT/%zz", 400),
        ("/ipfs/ROOT/a.txt?format=%ff", 400),
        ("/ipfs/ROOT/a.txt?format=raw%00", 400),
        ("/ipfs/ROOT/a%0d%0aX-Evil:%201", 404),
        ("/ipfs/ROOT/?filename=%0d%0aX-Evil:%201", 200),
        ("/ipfs/ROOT?x=%0d%0aX-Evil:%201", 301),
        ("/ipfs/ROOT/a.txt?format=raw&filename=%0d%0aX-Evil:%201", 200),
        ("/ipfs/" + "b" * 6000, 400),
        ("/ipfs/" + "b" * 60_000, 414),
        ("/ipfs/ROOT/a.txt?" + "a=b&" * 500, 400),
    ],
)
def test_targets(site: Site, target: str, status: int) -> None:
    """Whatever stands in the first line, there is a status at once, and no header that nobody set."""
    began = time.monotonic()
    answer = ask_raw(site.url, target.replace("ROOT", str(site.root)))
    assert status == answer.status
    assert time.monotonic() - began < SECOND
    assert "" == answer.header("X-Evil")
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=" + "9" * 9000 + "-"}, 400),
        ({"Range": "bytes=0-" + "9" * 19}, 206),
        ({"Accept": "application/vnd.ipld.car;" * 1000}, 400),
        ({"If-None-Match": '"a",' * 6000}, 200),
        ({"Accept": "\xff\xfe"}, 200),
    ],
)
def test_headers(site: Site, headers: dict[str, str], status: int) -> None:
    """Headers that make no sense get a status at once."""
    began = time.monotonic()
    assert status == ask_raw(site.url, f"/ipfs/{site.root}/a.txt", headers=headers).status
    assert time.monotonic() - began < SECOND


@pytest.mark.parametrize("query", [{"format": "car"}, {"filename": "a.bin"}])
def test_a_missing_block_cuts_the_connection(site: Site, query: dict[str, str]) -> None:
    """A block found missing in the middle cuts the connection, so that nobody takes what came for the whole."""
    answer = ask(site.url, f"/ipfs/{site.torn}", query=query)
    assert (200, True) == (answer.status, answer.broken)
    assert len(answer.body) < BLOCK + 1000


@pytest.mark.parametrize("query", [{"format": "car"}, {"format": "raw"}, {}])
def test_head_has_no_body(site: Site, query: dict[str, str]) -> None:
    """HEAD has the length of GET where that is known, and never a wrong one."""
    got = ask(site.url, f"/ipfs/{site.root}/", query=query)
    told = ask(site.url, f"/ipfs/{site.root}/", "HEAD", query)
    assert (200, b"") == (told.status, told.body)
    assert told.header("Content-Length") in {"", str(len(got.body))}
