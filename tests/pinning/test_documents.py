"""What a pin object may be, and what becomes of everything else."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.door import BadRequest
from pinfold.ipld.cid import CID, DAG_CBOR, IDENTITY, RAW
from pinfold.pinning import documents, moments
from pinfold.pinning.documents import Wanted, wanted

ROOT = CID.raw(bytes(32))
OLD = CID(0, 0x70, 0x12, bytes(32))


def sent(**pin: object) -> bytes:
    """The body of a request."""
    return json.dumps({"cid": str(ROOT), **pin}).encode()


def test_a_pin_object_is_read_as_it_is() -> None:
    """All its fields arrive, and origins given twice count once."""
    body = sent(name="a/b", origins=["/dns4/h/tcp/443/https", "/dns4/h/tcp/443/https"], meta={"k": "v"})
    assert Wanted(str(ROOT), ROOT, "a/b", ("/dns4/h/tcp/443/https",), {"k": "v"}) == wanted(body)
    assert Wanted(str(ROOT), ROOT, None, (), {}) == wanted(sent(name=None, origins=None, meta=None))


def test_the_root_is_always_version_one() -> None:
    """An old CID is told back as it came, and pinned as what it stands for today."""
    told = wanted(json.dumps({"cid": str(OLD)}).encode())
    assert (str(OLD), CID.dag_pb(bytes(32))) == (told.cid, told.root)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 50_000,
        b"{}",
        b'{"cid": 1}',
        b'{"cid": "no CID"}',
        json.dumps({"cid": str(CID(1, DAG_CBOR, 0x12, bytes(32)))}).encode(),
        json.dumps({"cid": str(CID(1, RAW, 0x1E, bytes(32)))}).encode(),
        sent(name="x" * 256),
        sent(name=1),
        sent(name="\ud800"),
        sent(name="a\0b"),
        sent(origins="/dns4/h/tcp/443/https"),
        sent(origins=[1]),
        sent(origins=[""]),
        sent(origins=["a\nb"]),
        sent(origins=["/x"] * 21),
        sent(origins=["/" + "x" * 2000]),
        sent(meta=[]),
        sent(meta={"k": 1}),
        sent(meta={"k": "\ud800"}),
        sent(meta={str(number): "" for number in range(1001)}),
        sent(meta={"k": "v" * 40_000}),
        sent(name="x" * 200_000),
    ],
)
def test_what_is_no_pin_object_is_refused(body: bytes) -> None:
    """Each is told with a status of the client's fault."""
    with pytest.raises(BadRequest) as caught:
        wanted(body)
    assert caught.value.status in {400, 413}


@given(st.binary(max_size=200) | st.from_regex(rb'\{"cid": ?"[^"]*"(, ?"(name|meta|origins)": ?[^}]*)?\}'))
def test_no_body_breaks_it(body: bytes) -> None:
    """Whatever is sent is a pin object, or a bad request."""
    with suppress(BadRequest):
        assert isinstance(wanted(body), Wanted)


@pytest.mark.parametrize(
    "name", [None, "", "/", "a//b", "/a", "a/", ".", "..", "a/../b", " ", "a\nb", "x" * 201, "é" * 101, "a/ /b"]
)
def test_names_that_are_no_paths_are_not_the_stores(name: str | None) -> None:
    """A pin in the store is called for its root where its name would lead astray there."""
    assert f"pinning/{ROOT}" == Wanted(str(ROOT), ROOT, name).label


@pytest.mark.parametrize("name", ["a", "pinfold/0123/4567/directory/2026-11-21T06:00:00.000000Z", "é/ü", "x" * 200])
def test_other_names_are(name: str) -> None:
    """So a snapshot pinned for somebody is found by its name in the store."""
    assert name == Wanted(str(ROOT), ROOT, name).label


def test_identity_cids_can_be_pinned() -> None:
    """They carry their bytes: nothing is to be fetched."""
    cid = CID(1, RAW, IDENTITY, b"abc")
    assert cid == documents.root_of(str(cid))


@given(st.integers(min_value=-(10**15), max_value=10**17))
def test_times_come_back(moment: int) -> None:
    """What is written is read as the same microsecond."""
    assert moment == moments.parse(moments.text(moment))


def test_times_as_others_write_them() -> None:
    """Zones count, nanoseconds are cut, and a plus that became a blank is one again."""
    expected = moments.parse("2026-11-21T06:00:00.123456Z")
    assert expected == moments.parse("2026-11-21T06:00:00.123456789Z")
    assert expected == moments.parse("2026-11-21T08:00:00.123456+02:00")
    assert expected == moments.parse("2026-11-21T08:00:00.123456 02:00")


@pytest.mark.parametrize("text", ["", "now", "2026-11-21", "2026-11-21T06:00:00", "20261121", "9" * 99, "T" * 70])
def test_what_is_no_time(text: str) -> None:
    """Dates without a time, times without a zone, and other texts are none."""
    with pytest.raises(ValueError):  # noqa: PT011  # whoever asks words it
        moments.parse(text)
