"""The gateway as operators see it: what it refuses, what it tells of errors, where it sends people on."""

from __future__ import annotations

import pytest

from gateway.door import Counting, ask, opened
from ipld.memory import Blocks
from pinfold.door import Request
from pinfold.errors import Corrupt, Full, StoreError, Unavailable
from pinfold.gateway import Settings, gateway
from pinfold.ipld import CID, add_file, build_folder

RAW = {"format": "raw"}


class Failing(Counting):
    """A store that fails at every block."""

    def __init__(self, error: StoreError) -> None:
        super().__init__()
        self._error = error

    def get(self, cid: CID) -> bytes:
        """Fail."""
        del cid
        raise self._error


def small() -> tuple[Blocks, CID, CID]:
    """A folder with one file, and the file."""
    made = Blocks()
    leaf = made.leaf(b"leaf")
    root, _ = build_folder([(b"a.txt", leaf, 4)], made.emit)
    return made, root, leaf


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Corrupt("bafy", "/srv/secret"), 500),
        (Unavailable("http://secret:5001 does not answer"), 503),
        (Full("/srv/secret is full"), 500),
    ],
)
def test_errors_of_the_store_tell_nothing_of_the_machine(error: StoreError, status: int) -> None:
    """A client is told what is wrong, the log all of it, and no path or address leaves the machine."""
    door = gateway(Failing(error))
    response = door(Request("GET", f"/ipfs/{CID.of(0x55, b'x')}", tuple(RAW.items())))
    assert isinstance(response.body, bytes)
    assert (status, False) == (response.status, b"secret" in response.body)
    assert str(error) == response.log["error"]


def test_trustless_only() -> None:
    """A gateway for machines alone serves blocks and CARs, and neither files nor pages nor blocks by path."""
    made, root, leaf = small()
    door, _ = opened(made, Settings(trustless_only=True))
    assert 200 == ask(door, f"/ipfs/{root}", query=RAW).status
    assert 200 == ask(door, f"/ipfs/{root}/a.txt", query={"format": "car"}).status
    assert 400 == ask(door, f"/ipfs/{leaf}").status
    assert 406 == ask(door, f"/ipfs/{leaf}", Accept="text/html").status
    assert 406 == ask(door, f"/ipfs/{root}/a.txt", query=RAW).status
    assert 406 == ask(door, f"/ipns/{root}", query={"format": "car"}).status
    assert 406 == ask(door, f"/ipfs/{leaf}", query={"format": "dag-cbor"}).status


def test_refused_content() -> None:
    """What is on the deny list is 410 by its CID in any form, and where a path leads to it."""
    made, root, leaf = small()
    door, _ = opened(made, Settings(refused=frozenset({leaf.multihash})))
    for path in (f"/ipfs/{leaf}", f"/ipfs/{CID(1, 0x70, 0x12, leaf.digest)}", f"/ipfs/{root}/a.txt"):
        assert 410 == ask(door, path).status
    assert 200 == ask(door, f"/ipfs/{root}/").status


@pytest.mark.parametrize(
    ("uri", "status", "place"),
    [
        ("ipfs://bafkqaaa/a b?x=1&y=ż", 301, "/ipfs/bafkqaaa/a%20b?x=1&y=%C5%BC"),
        ("ipns://example.org/a", 301, "/ipns/example.org/a"),
        ("https://example.org", 400, ""),
        ("ipfs:bafkqaaa", 400, ""),
        ("ipfs://[x", 400, ""),
        ("ipfs://x/\r\nX-Evil: 1", 301, "/ipfs/x/X-Evil:%201"),
    ],
)
def test_addresses_of_another_kind(uri: str, status: int, place: str) -> None:
    """Whoever comes with ipfs:// is sent to the path, and nowhere else."""
    door, _ = opened({})
    answer = ask(door, "/ipfs/", query={"uri": uri})
    assert (status, place) == (answer.status, answer.header("Location"))


def test_a_namespace_too_many() -> None:
    """/ipfs/ipfs/CID is sent to /ipfs/CID, with its query."""
    door, _ = opened({})
    answer = ask(door, "/ipfs/ipfs/bafkqaaa/a", query={"b": "c d"})
    assert (301, "/ipfs/bafkqaaa/a?b=c+d") == (answer.status, answer.header("Location"))


def test_folders_are_never_moved_to_other_hosts() -> None:
    """A folder asked for with slashes in front is sent to a path, not to a host of that name."""
    made, root, _ = small()
    door, _ = opened(made)
    answer = ask(door, f"//ipfs///{root}")
    assert (301, f"/ipfs/{root}/") == (answer.status, answer.header("Location"))


@pytest.mark.parametrize("form", ["v0", "upper", "base58"])
def test_forms_of_cids(form: str) -> None:
    """CIDs of version 0, in upper case and in other bases name the same content."""
    made, root, _ = small()
    door, _ = opened(made)
    forms = {"v0": str(CID(0, 0x70, 0x12, root.digest)), "upper": str(root).upper(), "base58": _base58(root)}
    answer = ask(door, f"/ipfs/{forms[form]}", query=RAW)
    assert (200, made[root]) == (answer.status, answer.body)


def _base58(cid: CID) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    value, out = int.from_bytes(bytes(cid), "big"), ""
    while value:
        value, digit = divmod(value, 58)
        out = alphabet[digit] + out
    return "z" + out


def test_hashes_that_are_not_kept() -> None:
    """CIDs of other hash functions are not here."""
    door, _ = opened({})
    assert 404 == ask(door, f"/ipfs/{CID(1, 0x55, 0x1E, bytes(32))}", query=RAW).status


def test_documents_come_as_they_are() -> None:
    """A document is served in its own codec, by default too, and in no other."""
    made = Blocks()
    cid = CID.of(0x71, b"\xa0")
    made[cid] = b"\xa0"
    door, _ = opened(made)
    for query in ({}, {"format": "dag-cbor"}):
        answer = ask(door, f"/ipfs/{cid}", query=query)
        assert (200, b"\xa0") == (answer.status, answer.body)
        assert "application/vnd.ipld.dag-cbor" == answer.header("Content-Type")
    assert 406 == ask(door, f"/ipfs/{cid}", query={"format": "dag-json"}).status
    assert 501 == ask(door, f"/ipfs/{cid}/a").status


def test_the_address_of_what_accept_chose() -> None:
    """What Accept chose has an address by which it can be kept; what the query says needs none."""
    made, root, _ = small()
    door, _ = opened(made)
    by_accept = ask(door, f"/ipfs/{root}", query={"dag-scope": "block"}, Accept="application/vnd.ipld.car; dups=y")
    assert f"/ipfs/{root}?dag-scope=block&format=car&car-dups=y" == by_accept.header("Content-Location")
    assert "" == ask(door, f"/ipfs/{root}", query=RAW).header("Content-Location")


def test_service_workers() -> None:
    """No service worker gets hold of the root of content."""
    door, _ = opened({})
    assert 400 == ask(door, "/ipfs/bafkqaaa", Service_Worker="script").status


def test_a_missing_leaf_breaks_the_file_off() -> None:
    """A file with a missing block is cut before it; the client sees that it is not whole."""
    made = Blocks()
    root = add_file([bytes([number]) * 100_000 for number in range(3)], made.emit, chunk_size=100_000).cid
    del made[CID.of(0x55, b"\1" * 100_000)]
    door, _ = opened(made)
    for query in ({"filename": "a.bin"}, {"format": "car"}):
        answer = ask(door, f"/ipfs/{root}", query=query)
        assert (200, True) == (answer.status, answer.broken)
        assert 100_000 <= len(answer.body) < 101_000
