"""Which representation a request gets: the query first, then what its Accept likes best."""

from __future__ import annotations

import pytest

from pinfold.door import BadRequest, Request
from pinfold.gateway.formats import Scope, wanted

CAR = "application/vnd.ipld.car"
RAW = "application/vnd.ipld.raw"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def asked(accept: str = "", **query: str) -> Request:
    """A request with an Accept and a query."""
    return Request(
        "GET", "/", tuple((key.replace("_", "-"), value) for key, value in query.items()), {"accept": accept}
    )


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", ""),
        ("*/*", ""),
        (BROWSER, ""),
        ("application/json", ""),
        (RAW, "raw"),
        (f"{BROWSER},{RAW};q=0.1", "raw"),
        (f"{CAR}, {RAW}", "car"),
        (f"{CAR};q=0.5, {RAW};q=0.9", "raw"),
        (f"{CAR};q=0, {RAW};q=0.1", "raw"),
        (CAR.upper(), "car"),
        (f"{CAR};order=foo, {CAR};order=dfs;dups=y;q=0.5", "car"),
        ("application/vnd.ipfs.ipns-record", "ipns-record"),
    ],
)
def test_accept(accept: str, expected: str) -> None:
    """The type of IPFS liked best is taken; types of the web mean files and pages."""
    assert expected == wanted(asked(accept)).name


def test_the_second_choice_is_heeded() -> None:
    """Where the first variant of a CAR is not served the next is, with its own options."""
    assert wanted(asked(f"{CAR};order=foo, {CAR};order=dfs;dups=y;q=0.5")).car.dups


def test_the_query_wins() -> None:
    """`format` and the options in the query win over those of Accept, and those of another type do not count."""
    car = wanted(asked(f'{CAR};dups="y"', format="car"))
    assert (True, True) == (car.car.dups, car.explicit)
    assert not wanted(asked(f"{CAR};dups=y", format="car", car_dups="n")).car.dups
    assert "raw" == wanted(asked(f"{CAR};dups=y", format="raw")).name


def test_entity_bytes_imply_entity() -> None:
    """A span means an entity where no scope is given; with another scope it does not count."""
    assert Scope.ENTITY == wanted(asked(format="car", entity_bytes="0:*")).car.scope
    assert None is wanted(asked(format="car", entity_bytes="0:*", dag_scope="block")).car.entity


@pytest.mark.parametrize(
    ("accept", "query", "status"),
    [
        ("", {"format": "zip"}, 406),
        ("application/vnd.ipld.zip", {}, 406),
        (f"{CAR};version=2", {}, 400),
        (f"{RAW};q=much", {}, 400),
        (f"{RAW};q=7", {}, 400),
        (f"{RAW};q=nan", {}, 400),
        ("a," * 100, {}, 400),
        ("a" * 9000, {}, 400),
    ],
)
def test_what_is_not_served(accept: str, query: dict[str, str], status: int) -> None:
    """Unknown formats are 406, and what makes no sense is 400."""
    with pytest.raises(BadRequest) as told:
        wanted(asked(accept, **query))
    assert status == told.value.status
