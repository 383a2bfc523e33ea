"""IPNS records: served as they were signed, followed only where the signature holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.door import ask, opened
from gateway.signing import Signer
from ipld.memory import Blocks
from pinfold.door import BadRequest
from pinfold.errors import Malformed
from pinfold.gateway import Settings, names, record
from pinfold.ipld import CID, build_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.gateway import Gateway

SIGNER = Signer()
RECORD = {"format": "ipns-record"}


class Held:
    """A gateway over a folder with one file, and a folder of records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = Blocks()
        self.leaf = self.made.leaf(b"leaf")
        inner, tsize = build_folder([(b"a.txt", self.leaf, 4)], self.made.emit)
        self.root, _ = build_folder([(b"in", inner, tsize)], self.made.emit)

    @property
    def door(self) -> Gateway:
        """The gateway."""
        return opened(self.made, Settings(records=self.folder))[0]

    def keep(self, signer: Signer, raw: bytes) -> None:
        """Put a record where the gateway looks for it."""
        (self.folder / f"{signer.text}.ipns-record").write_bytes(raw)


@pytest.fixture
def held(tmp_path: Path) -> Held:
    """An empty folder of records, and some content."""
    return Held(tmp_path)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("form", ["text", "binary", "path", "name"])
def test_a_name_leads_to_content(held: Held, form: str, first: bool) -> None:
    """A record may point at a CID, at a path below one, or at another name; what is behind it is served."""
    other = Signer()
    held.keep(other, other.record(b"/ipfs/%s" % str(held.root).encode()))
    value = {
        "text": f"/ipfs/{held.root}".encode(),
        "binary": bytes(held.root),
        "path": f"/ipfs/{held.root}/in/".encode(),
        "name": f"/ipns/{other.text}/in".encode(),
    }[form]
    held.keep(SIGNER, SIGNER.record(value, first=first))
    behind = "in/a.txt" if form in {"text", "binary"} else "a.txt"
    answer = ask(held.door, f"/ipns/{SIGNER.text}/{behind}")
    assert (200, b"leaf") == (answer.status, answer.body)
    assert "public, max-age=300" == answer.header("Cache-Control")
    assert f"/ipns/{SIGNER.text}/{behind}" == answer.header("X-Ipfs-Path")


def test_a_record_is_served_as_signed(held: Held) -> None:
    """A record comes byte for byte, under its type, with a tag and a name."""
    raw = SIGNER.record(b"/ipfs/bafkqaaa", minutes=60)
    held.keep(SIGNER, raw)
    answer = ask(held.door, f"/ipns/{SIGNER.text}", query=RECORD)
    assert (200, raw) == (answer.status, answer.body)
    assert "application/vnd.ipfs.ipns-record" == answer.header("Content-Type")
    assert "public, max-age=3600" == answer.header("Cache-Control")
    assert f'filename="{SIGNER.text}.ipns-record"' in answer.header("Content-Disposition")
    known = ask(held.door, f"/ipns/{SIGNER.text}", query=RECORD, If_None_Match=answer.header("Etag"))
    assert (304, b"") == (known.status, known.body)


def test_other_forms_of_a_name_are_sent_to_the_usual_one(held: Held) -> None:
    """A name in base32 or as a peer's ID is sent on to the form that Kubo writes."""
    answer = ask(held.door, f"/ipns/{SIGNER.name}/a b", query={"x": "1"})
    assert (302, f"/ipns/{SIGNER.text}/a%20b?x=1") == (answer.status, answer.header("Location"))
    assert SIGNER.name == names.parse(_peer(SIGNER.name))
    assert SIGNER.name == names.parse(SIGNER.text)


def _peer(name: CID) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    value, out = int.from_bytes(name.multihash, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        out = alphabet[digit] + out
    return "1" * (len(name.multihash) - len(name.multihash.lstrip(b"\0"))) + out


def test_what_is_not_held(held: Held) -> None:
    """A name without a record is 404; without a folder of records 501; below a record's name there is none."""
    assert 404 == ask(held.door, f"/ipns/{SIGNER.text}").status
    assert 501 == ask(opened({})[0], f"/ipns/{SIGNER.text}").status
    held.keep(SIGNER, SIGNER.record(b"/ipfs/bafkqaaa"))
    assert 400 == ask(held.door, f"/ipns/{SIGNER.text}/a", query=RECORD).status
    assert 400 == ask(held.door, "/ipfs/bafkqaaa", query=RECORD).status
    assert 400 == ask(held.door, f"/ipns/{held.leaf}").status


def test_a_record_that_has_ended(held: Held) -> None:
    """A record is neither served nor followed after its end, and the answer says when that was."""
    held.keep(SIGNER, SIGNER.record(b"/ipfs/bafkqaaa", "2020-02-03T04:05:06.123456789Z"))
    for query in (RECORD, {}):
        answer = ask(held.door, f"/ipns/{SIGNER.text}", query=query)
        assert (404, True) == (answer.status, b"2020-02-03 04:05 UTC" in answer.body)


def test_a_ring_of_names(held: Held) -> None:
    """Names that lead to one another in a ring are 404."""
    held.keep(SIGNER, SIGNER.record(f"/ipns/{SIGNER.text}".encode()))
    assert 404 == ask(held.door, f"/ipns/{SIGNER.text}").status


@pytest.mark.parametrize(
    "value", [b"", b"/", b"/ipfs", b"/ipfs/x", b"/ipns/x", b"/http/x", b"\xff", b"/ipfs/\xff", b"/ipfs/bafkqaaa/../x"]
)
def test_records_that_point_nowhere(held: Held, value: bytes) -> None:
    """A signed record that points at no content is an error, not a crash."""
    held.keep(SIGNER, SIGNER.record(value))
    assert ask(held.door, f"/ipns/{SIGNER.text}").status in {400, 422}


def test_a_record_of_another_name() -> None:
    """A record signed by one key is none of another name."""
    with pytest.raises(Malformed):
        record.decode(Signer().record(b"/ipfs/bafkqaaa"), SIGNER.name)


def test_a_record_of_another_kind_of_key() -> None:
    """Names of keys that are not Ed25519 are told as not served."""
    with pytest.raises(BadRequest) as told:
        record.decode(SIGNER.record(b"/ipfs/bafkqaaa"), CID(1, names.LIBP2P_KEY, 0x12, bytes(32)))
    assert 501 == told.value.status


@pytest.mark.parametrize(
    "said", [{"Value": 1}, {"TTL": b""}, {"ValidityType": 7}, {"Validity": b"soon"}, {"Sequence": "1"}]
)
def test_signed_nonsense(said: dict[str, object]) -> None:
    """A signature does not make a document that lacks sense a record."""
    with pytest.raises(Malformed):
        record.decode(SIGNER.record(b"/ipfs/bafkqaaa", **said), SIGNER.name)


def test_fields_that_were_not_signed() -> None:
    """Where the fields of version 1 say other things than what was signed, the record is none."""
    raw = SIGNER.record(b"/ipfs/bafkqaaa", first=True)
    with pytest.raises(Malformed):
        record.decode(raw.replace(b"/ipfs/bafkqaaa", b"/ipfs/bafkqaab", 1), SIGNER.name)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte(at: int, change: int) -> None:
    """A record with any byte changed says what was signed, or is none."""
    raw = bytearray(SIGNER.record(b"/ipfs/bafkqaaa"))
    raw[at % len(raw)] ^= change
    try:
        found = record.decode(bytes(raw), SIGNER.name)
    except Malformed:
        return
    assert b"/ipfs/bafkqaaa" == found.value


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    """Whatever the bytes, they are a record or Malformed."""
    with pytest.raises(Malformed):
        record.decode(raw, SIGNER.name)


def test_records_are_small(held: Held) -> None:
    """A file larger than a record may be is not read as one, and a folder in its place neither."""
    held.keep(SIGNER, SIGNER.record(b"/ipfs/bafkqaaa/" + b"a" * 20_000))
    assert 422 == ask(held.door, f"/ipns/{SIGNER.text}").status
    (held.folder / f"{SIGNER.text}.ipns-record").unlink()
    (held.folder / f"{SIGNER.text}.ipns-record").mkdir()
    assert 404 == ask(held.door, f"/ipns/{SIGNER.text}").status


def test_names_are_written_as_kubo_does() -> None:
    """The text of a name begins with k51 and has 62 characters."""
    assert re.fullmatch(r"k51[0-9a-z]{59}", SIGNER.text)
