"""Listing: filters, pages, and what is no filter."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pinfold.ipld.cid import CID, IDENTITY, RAW
from pinning.served import EVERY

if TYPE_CHECKING:
    from pinning.conftest import Running
    from pinning.served import Client

NAMES = ["Photos/2026", "photos", "PHOTOS", "a photo", "Straße", "100%_a", None, "q"]


def cid(number: int) -> CID:
    """A CID that needs no fetching."""
    return CID(1, RAW, IDENTITY, b"%d" % number)


@pytest.fixture
def client(at_work: Running) -> Client:
    """A client with one pin of each name, all pinned but the last."""
    for number, name in enumerate(NAMES[:-1]):
        at_work.client.add(cid(number), name=name, meta={"number": str(number), "app": "x"})
    at_work.client.add(CID.raw(bytes(32)), name=NAMES[-1], meta={"app": "y"})
    return at_work.client


def names(client: Client, **query: str) -> list[str | None]:
    """The names of what is listed, newest first."""
    answer = client.list(**query)
    assert 200 == answer.status, answer
    found = [one["pin"].get("name") for one in answer.document["results"]]
    assert answer.document["count"] >= len(found)
    return found


@pytest.mark.parametrize(
    ("match", "name", "expected"),
    [
        ("", "photos", ["photos"]),
        ("exact", "photos", ["photos"]),
        ("iexact", "Photos", ["PHOTOS", "photos"]),
        ("iexact", "STRASSE", ["Straße"]),
        ("partial", "hoto", ["a photo", "photos", "Photos/2026"]),
        ("ipartial", "HOTO", ["a photo", "PHOTOS", "photos", "Photos/2026"]),
        ("partial", "%", ["100%_a"]),
        ("partial", "_", ["100%_a"]),
        ("exact", "", []),
        ("partial", "", ["100%_a", "Straße", "a photo", "PHOTOS", "photos", "Photos/2026"]),
        ("exact", "'; DROP TABLE requests; --", []),
    ],
)
def test_names_are_matched(client: Client, match: str, name: str, expected: list[str]) -> None:
    """In four ways, each letter for itself."""
    assert expected == names(client, name=name, **({"match": match} if match else {}))


def test_only_what_is_pinned_is_listed_unless_asked(client: Client) -> None:
    """The status is pinned by default; others can be asked for, one or several."""
    assert NAMES[-2::-1] == names(client)
    assert ["q"] == names(client, status="queued")
    assert NAMES[::-1] == names(client, status=EVERY)
    assert [] == names(client, status="failed,pinning")


def test_cids_are_found(client: Client) -> None:
    """One or ten, in either version; more are refused."""
    assert ["photos"] == names(client, cid=str(cid(1)))
    assert ["PHOTOS", "photos"] == names(client, cid=f"{cid(1)},{cid(2)}")
    assert [] == names(client, cid=str(cid(99)))
    assert 200 == client.list(cid=",".join(str(cid(number)) for number in range(10))).status
    assert 400 == client.list(cid=",".join(str(cid(number)) for number in range(11))).status


def test_meta_must_match_in_all(client: Client) -> None:
    """Each key with its value, any number of others beside."""
    assert ["photos"] == names(client, meta=json.dumps({"number": "1"}))
    assert ["photos"] == names(client, meta=json.dumps({"number": "1", "app": "x"}))
    assert [] == names(client, meta=json.dumps({"number": "1", "app": "y"}))
    assert [] == names(client, meta=json.dumps({'a"].b': "$.c"}))
    assert len(NAMES) - 1 == len(names(client, meta="{}"))


def test_pages_follow_each_other(client: Client) -> None:
    """Before the last of one page begins the next; nothing is left out, nothing comes twice."""
    found: list[str | None] = []
    before: dict[str, str] = {}
    while page := client.list(status=EVERY, limit="3", **before).document["results"]:
        found += [one["pin"].get("name") for one in page]
        before = {"before": page[-1]["created"]}
    assert NAMES[::-1] == found
    third = client.list(status=EVERY).document["results"][2]["created"]
    assert NAMES[:-3:-1] == names(client, status=EVERY, after=third)


def test_ten_come_unless_asked(at_work: Running) -> None:
    """The default is ten, and the count tells of all."""
    for number in range(12):
        at_work.client.add(cid(number))
    answer = at_work.client.list().document
    assert (12, 10) == (answer["count"], len(answer["results"]))
    assert 12 == len(at_work.client.list(limit="1000").document["results"])


@pytest.mark.parametrize(
    "query",
    [
        {"status": "gone"},
        {"match": "fuzzy"},
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "-1"},
        {"limit": "ten"},
        {"limit": "9" * 500},
        {"limit": "00000000190000"},
        {"limit": "000000001" + "9" * 25},
        {"limit": "000000001" + "9" * 5000},
        {"meta": json.dumps(dict.fromkeys("abcdefghijk", "1"))},
        {"limit": "²"},
        {"before": "yesterday"},
        {"after": "2026-11-21"},
        {"cid": "none"},
        {"meta": "{"},
        {"meta": "[]"},
        {"meta": '{"a": 1}'},
        {"name": "x" * 256},
        {"name": "a\0b"},
    ],
)
def test_what_is_no_filter(at_work: Running, query: dict[str, str]) -> None:
    """Each is a bad request, and said so."""
    answer = at_work.client.list(**query)
    assert (400, "BAD_REQUEST") == (answer.status, answer.document["error"]["reason"])
