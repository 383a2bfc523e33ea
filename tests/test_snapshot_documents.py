"""The documents of a snapshot: header and manifest come back, and other bytes are refused."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents import HEADER, MANIFEST, SOME
from pinfold import snapshot
from pinfold.errors import Malformed
from pinfold.ipld import CID, dagcbor
from pinfold.ipld.cid import DAG_PB, RAW
from pinfold.seal import canonical
from pinfold.seal.refs import MAX_DEPTH, Ref, Tree
from pinfold.snapshot import Header, Manifest


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "half"},
        {"started": "2026-11-21T01:02:03Z"},
        {"finished": "2026-13-21T01:02:03.000004Z"},
        {"finished": "../../../../../../../../etc"},
        {"finished": "2026-11-21T01:02:03.000004+"},
        {"finished": "2026-11-21 01:02:03.000004Z"},
        {"finished": "2026-11-21T24:00:00.000000Z"},
        {"repository": "0" * 15},
        {"source": "../" * 5 + "x"},
        {"agent": "A" * 64},
        {"sequence": -1},
        {"sequence": 1 << 63},
        {"sequence": True},
        {"generation": 1.0},
        {"previous": "not a CID"},
        {"previous": str(SOME).upper()},
        {"base": 1},
        {"base": "\x1b[2J"},
        {"interval": -1},
        {"interval": "x"},
        {"blocks": None},
        {"blocks": {"root": "", "count": -1, "bytes": 0}},
        {"stored": {}},
        {"stored": {"new_blocks": 1, "new_bytes": 40, "more": 1}},
        {"format": "pinfold/2"},
        {"more": 1},
    ],
)
def test_malformed_headers(change: dict[str, object]) -> None:
    """A header with anything missing, foreign or out of bounds is refused."""
    with pytest.raises(Malformed):
        Header.decode(canonical.encode(canonical.decode(HEADER.encode(), "x") | change))


headers = st.builds(
    dataclasses.replace,
    st.just(HEADER),
    kind=st.sampled_from(snapshot.KINDS),
    base=st.none() | st.binary().map(lambda data: str(CID.of(RAW, data))),
    previous=st.none() | st.binary().map(lambda data: str(CID.of(DAG_PB, data))),
    sequence=st.integers(0, (1 << 63) - 1),
    interval=st.none() | st.integers(0, (1 << 63) - 1),
    manifest=st.text(max_size=80),
    new_bytes=st.integers(0, (1 << 63) - 1),
)


@given(headers, st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 3))
def test_headers_come_back_or_are_refused(header: Header, at: int, put: bytes, cut: int) -> None:
    """Every header comes back; with bytes changed it is refused, or is another header to the last byte."""
    data = header.encode()
    assert header == Header.decode(data)
    changed = data[:at] + put + data[at + cut :]
    try:
        found = Header.decode(changed)
    except Malformed:
        return
    assert changed == found.encode()


texts = st.text(max_size=10)
manifests = st.builds(
    Manifest,
    source=texts,
    type=texts,
    host=texts,
    versions=st.dictionaries(texts, texts, max_size=3),
    options=st.dictionaries(texts, st.none() | st.booleans() | st.binary(max_size=5) | texts, max_size=3),
    streams=st.lists(st.dictionaries(texts, st.integers(0, 1 << 60), max_size=2), max_size=2),
    index=st.none()
    | st.builds(
        Tree, st.binary(min_size=64, max_size=64).map(lambda one: Ref(one + bytes(8))), st.integers(0, MAX_DEPTH)
    ),
    counts=st.dictionaries(texts, st.integers(0, 1 << 60), max_size=3),
    errors=st.lists(st.tuples(texts, texts).map(list), max_size=2),
    sparse=st.lists(st.binary(min_size=32, max_size=32), max_size=2),
    secret=texts,
    tags=st.lists(texts, max_size=2),
)


@given(manifests, st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))
def test_manifests_come_back_or_are_refused(manifest: Manifest, at: int, put: bytes, cut: int) -> None:
    """Every manifest comes back; with bytes changed it is refused, or is a manifest that comes back."""
    data = manifest.encode()
    assert manifest == Manifest.decode(data)
    try:
        found = Manifest.decode(data[:at] + put + data[at + cut :])
    except Malformed:
        return
    assert found == Manifest.decode(found.encode())


@pytest.mark.parametrize(
    "change",
    [
        {"tags": [1]},
        {"sparse": b"d" * 33},
        {"index": [b"", 1]},
        {"index": [b"r" * 64 + bytes(8), MAX_DEPTH + 1]},
        {"index": [b"r" * 64 + bytes(8), -1]},
        {"index": b"r" * 72},
        {"counts": {"files": "3"}},
        {"counts": {"files": True}},
        {"versions": {"pinfold": 1}},
        {"streams": [1]},
        {"errors": ["ab"]},
        {"errors": [["a"]]},
        {"errors": [["a", 1]]},
        {"options": []},
        {"host": b"x"},
        {"secret": None},
    ],
)
def test_malformed_manifests(change: dict[str, object]) -> None:
    """A manifest with anything of another type or out of bounds is refused."""
    document = dagcbor.decode(MANIFEST.encode(), "x")
    assert isinstance(document, dict)
    with pytest.raises(Malformed, match=r"manifest|ref"):
        Manifest.decode(dagcbor.encode(document | change))


@pytest.mark.parametrize("data", [b"", b"\xf6", b"\x80", b"\xa0", b"\x81" * 100_000, b"\xff", b"\x9b" + b"\xff" * 8])
def test_what_is_no_manifest(data: bytes) -> None:
    """Bytes of any other kind are refused, however deep they go."""
    with pytest.raises(Malformed):
        Manifest.decode(data)
