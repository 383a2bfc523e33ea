"""Pinning services that lie: every call ends, nothing false is told as true."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.liar import Answer, Liar
from lab.lies import bomb, deep_json, endless, garbage, never, no_http, redirects, refuses, says, says_json
from pinfold.clock import rfc3339
from pinfold.errors import PinfoldError, Refused, StoreError, Unavailable
from pinfold.gateway import gateway
from pinfold.store import MemoryStore, PinState, address
from pinfold.store.pinning import PinningStore, records
from pinning.served import served
from store.dags import raw, trie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.liar import Request

ROOT = raw(b"what was asked for")[0]
OTHER = raw(b"something else")[0]
BEGIN = datetime(2026, 11, 21, tzinfo=UTC)


def told(cid: object = ROOT, number: int = 0, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  JSON
    """A pin status."""
    return {
        "requestid": f"id-{number}",
        "status": "pinned",
        "created": rfc3339(BEGIN - timedelta(seconds=number)),
        "pin": {"cid": str(cid), "name": f"pins/{number}"},
        "delegates": ["/dns4/h/tcp/443/https"],
        **changes,
    }


def listed(*found: dict[str, Any], count: int | None = None) -> dict[str, Any]:
    """A list of pins."""
    return {"count": len(found) if count is None else count, "results": list(found)}


@pytest.fixture
def liar() -> Iterator[Liar]:
    """A service that knows nothing but lies."""
    with Liar() as made:
        yield made


@pytest.fixture
def store(liar: Liar) -> Iterator[PinningStore]:
    """The store of its pins."""
    made = opened(liar)
    yield made
    made.close()


def opened(liar: Liar, **asked: str) -> PinningStore:
    """The store of a liar's pins."""
    where = address.parse(
        f"psa+{liar.url}?" + "&".join(f"{key}={value}" for key, value in {"wait": "1", **asked}.items())
    )
    assert where is not None
    made = PinningStore(where)
    made._api._client._timeout = 2.0  # it is patient with honest ones
    return made


ANSWERS = {
    "no HTTP": no_http(),
    "no JSON": garbage(),
    "endless": endless(),
    "deep": deep_json(),
    "silence": never(),
    "bomb": bomb(1 << 26),
    "away": redirects("http://127.0.0.1:9{target}"),
    "not allowed": refuses(401),
    "broken": refuses(500),
    "a list": says_json([]),
    "null": says_json(None),
    "nothing": says(b""),
    "no results": says_json({"count": 1}),
    "no objects": says_json(listed(1, "x")),  # type: ignore[arg-type]
    "no pin": says_json(listed({**told(), "pin": None})),
    "no id": says_json(listed(told(requestid=None))),
    "a way elsewhere": says_json(listed(told(requestid="../../admin"))),
    "dots": says_json(listed(told(requestid=".."))),
    "another word": says_json(listed(told(status="perhaps"))),
    "no time": says_json(listed(told(created="yesterday"))),
    "no CID": says_json(listed(told("none"))),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_whatever_is_answered_calls_end(liar: Liar, store: PinningStore, kind: str) -> None:
    """With a store's error, within the time they have, and without taking endless bytes."""
    liar.lie("", ANSWERS[kind])
    began = time.monotonic()
    for call in (
        lambda: list(store.pins()),
        lambda: store.pin(ROOT, "one"),
        lambda: store.status(ROOT),
        lambda: store.unpin([ROOT]),
    ):
        with pytest.raises(StoreError):
            call()
    assert time.monotonic() - began < 30
    assert liar.sent < 1 << 29


def pages(page: Callable[[int], dict[str, Any]]) -> Callable[[Request], Answer]:
    """Answers that differ from call to call."""
    numbers = itertools.count()
    return lambda _: Answer(200, {}, [json.dumps(page(next(numbers))).encode()])


def test_pages_without_end(liar: Liar, store: PinningStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever new pins, ever older: there is a last one that is believed."""
    monkeypatch.setattr("pinfold.store.pinning.api.MAX_PINS", 5000)
    liar.lie("/pins", pages(lambda page: listed(*(told(number=page * 1000 + one) for one in range(1000)), count=10**9)))
    with pytest.raises(Refused, match="more than 5000"):
        list(store.pins())
    assert 6 == len(liar.asked)


def test_the_same_page_again(liar: Liar, store: PinningStore) -> None:
    """A service that does not turn its pages is told so, full ones or short."""
    for size in (1000, 10):
        liar.asked.clear()
        liar.lie("/pins", says_json(listed(*(told(number=one) for one in range(size)), count=5000)))
        with pytest.raises(Refused, match="again and again"):
            list(store.pins())
        assert 2 == len(liar.asked)


def test_pages_in_no_order(liar: Liar, store: PinningStore) -> None:
    """What cannot be read page by page is not taken for the whole; one page in no order is."""
    mixed = [told(number=(one * 7) % 1000) for one in range(1000)]
    liar.lie("/pins", says_json(listed(*mixed, count=2000)))
    with pytest.raises(Refused, match="no order"):
        list(store.pins())
    liar.lie("/pins", says_json(listed(*mixed[:900])))
    assert 1 == len(list(store.pins()))


def test_fewer_than_it_told_of(liar: Liar, store: PinningStore) -> None:
    """A list that ends before its count is none to go by."""
    liar.lie("before=", says_json(listed(count=0)))
    liar.lie("/pins[^&]*&[^&]*$", says_json(listed(told(), count=3)))
    with pytest.raises(Unavailable, match="told of 3 pins and listed 1"):
        list(store.pins())


def test_the_same_time_for_all(liar: Liar, store: PinningStore) -> None:
    """Pins that were made at one moment are listed as far as a page goes, then it is said that they cannot be."""
    moment = rfc3339(BEGIN)
    liar.lie("/pins", pages(lambda page: listed(*(told(number=page * 10 + one, created=moment) for one in range(10)))))
    assert 1 == len(list(store.pins()))
    liar.lie("/pins", says_json(listed(*(told(number=one, created=moment) for one in range(1000)))))
    with pytest.raises(Refused):
        list(store.pins())


def test_answers_about_other_cids(liar: Liar, store: PinningStore) -> None:
    """A list is read for what was asked; an answer to a request that is about another is a lie."""
    liar.lie("GET /pins", says_json(listed(told(OTHER))))
    assert PinState.ABSENT == store.status(ROOT).copies[0].state
    store.unpin([ROOT])
    assert not [asked for asked in liar.asked if asked.startswith("DELETE")]
    liar.lie("POST /pins", says_json(told(OTHER)))
    with pytest.raises(Refused, match=str(OTHER)):
        store.pin(ROOT, "one")


def test_pinned_and_not_there(liar: Liar) -> None:
    """A service that says pinned and has nothing, or other bytes, is noticed by its gateway."""
    liar.lie("GET /pins", says_json(listed()))
    liar.lie("POST /pins", says_json(told(), status=202))
    for lie, why in ((refuses(404), "missing"), (says(b"other bytes"), "damaged")):
        liar.lie(f"/ipfs/{ROOT}", lie)
        liar.lie("/ipfs/bafkqaaa", says(b""))  # it is a gateway
        store = opened(liar, gateway=liar.url)
        copy = store.pin(ROOT, "one").copies[0]
        store.close()
        assert PinState.FAILED == copy.state
        assert why in copy.detail
        assert "says pinned" in copy.detail


def test_half_of_it_is_there(liar: Liar) -> None:
    """A service that keeps the upper half of a DAG is noticed by a sample of its leaves."""
    dag, kept = trie(1), MemoryStore()
    kept.put(block for block in dag.blocks if block[0] not in dag.leaves)
    liar.lie("GET /pins", says_json(listed()))
    liar.lie("POST /pins", says_json(told(dag.root), status=202))
    door = gateway(kept)
    with served(door) as url:
        store = opened(liar, gateway=url)
        assert PinState.FAILED == store.pin(dag.root, "one").copies[0].state
        store.close()
    door.close()


def test_a_gateway_that_is_away_proves_nothing(liar: Liar) -> None:
    """What cannot be looked into counts for no copy yet."""
    liar.lie("GET /pins", says_json(listed()))
    liar.lie("POST /pins", says_json(told(), status=202))
    store = opened(liar, gateway="http://127.0.0.1:9")
    status = store.pin(ROOT, "one")
    store.close()
    assert (True, PinState.PINNING) == (status.short, status.copies[0].state)


def test_what_it_says_is_one_line(liar: Liar, store: PinningStore) -> None:
    """Whatever a service tells people stays on one line of printable letters."""
    liar.lie(
        "GET /pins", says_json(listed(told(status="failed", info={"status_details": "a\nb\x1b[31m" + "x" * 9999})))
    )
    detail = store.status(ROOT).copies[0].detail
    assert detail.startswith("a b?[31m")
    assert len(detail) <= 300
    assert detail.isprintable()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(list(told().values())),  # type: ignore[arg-type]
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*told(), "cid", "name"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_document_breaks_it(document: object) -> None:
    """Whatever JSON comes is a record, or refused."""
    for read in (records.record, records.results):
        try:
            read(json.loads(json.dumps(document)), "https://h")
        except PinfoldError as error:
            assert isinstance(error, Refused)  # noqa: PT017  both ends are fine
