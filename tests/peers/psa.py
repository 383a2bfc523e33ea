"""The nine groups of checks that the public compliance tool of the Pinning Service API makes, from the specification.

A group returns what did not hold, each in a few words.  Where the tool pins random bytes that nobody has, so do these
groups, unless `new_block` gives them to somebody.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pinning.served import EVERY, Answer, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PINS_FOR_PAGES = 15
STATUSES = set(EVERY.split(","))


@dataclass
class Check:
    """A service under test, and what did not hold so far."""

    client: Client
    new_block: Callable[[], str]
    failed: list[str] = field(default_factory=list)

    def expect(self, what: str, holds: object) -> None:
        """Remember `what` unless it holds."""
        if not holds:
            self.failed.append(what)

    def failure(self, answer: Answer) -> None:
        """A document that says why, for machines and people."""
        error = (answer.document or {}).get("error")
        self.expect("a Failure document", isinstance(error, dict) and isinstance(error.get("reason"), str))

    def status(self, told: Any) -> None:  # noqa: ANN401  JSON
        """A PinStatus document."""
        for flaw in flaws(told):
            self.expect(f"PinStatus: {flaw}", holds=False)

    def results(self, answer: Answer) -> list[Any]:
        """A PinResults document; returns its results."""
        told = answer.document
        fine = isinstance(told, dict) and isinstance(told.get("count"), int) and isinstance(told.get("results"), list)
        self.expect("a PinResults document", fine)
        found: list[Any] = told["results"] if fine else []
        for one in found:
            self.status(one)
        return found

    def added(self, **pin: object) -> dict[str, Any]:
        """A new pin."""
        answer = self.client.add(self.new_block(), **pin)
        self.expect("POST /pins answers 202", answer.status == 202)
        self.status(answer.document)
        return answer.document or {}


def flaws(told: Any) -> Iterator[str]:  # noqa: ANN401  JSON
    """What is wrong with a PinStatus."""
    if not isinstance(told, dict) or not isinstance(told.get("pin"), dict):
        yield "no object"
        return
    if not isinstance(told.get("requestid"), str):
        yield "requestid"
    if told.get("status") not in STATUSES:
        yield "status"
    if not isinstance(told["pin"].get("cid"), str) or not isinstance(told["pin"].get("name", ""), str):
        yield "pin"
    try:
        datetime.fromisoformat(told.get("created"))
    except (TypeError, ValueError):
        yield "created"
    delegates = told.get("delegates")
    if not isinstance(delegates, list) or not 1 <= len(delegates) <= 20:
        yield "delegates"
    if not all(isinstance(value, str) for value in (told.get("info") or {}).values()):
        yield "info"


def no_token(check: Check) -> None:
    """Without a token there is nothing to be seen."""
    answer = Client(check.client.url, None).list()
    check.expect("401", answer.status == 401)
    check.failure(answer)


def bad_token(check: Check) -> None:
    """Nor is there with one that is none."""
    answer = Client(check.client.url, "purposefullyInvalid").list()
    check.expect("401", answer.status == 401)
    check.failure(answer)


def add(check: Check) -> None:
    """A pin is taken."""
    made = check.added()
    check.expect("status queued, pinning or pinned", made.get("status") in {"queued", "pinning", "pinned"})


def add_and_delete(check: Check) -> None:
    """A new pin can be dropped."""
    made = check.added()
    check.expect("DELETE answers 202", check.client.delete(made.get("requestid", "")).status == 202)


def list_all(check: Check) -> None:
    """Pins are listed, whatever has become of them."""
    answer = check.client.list(status=EVERY)
    check.expect("200", answer.status == 200)
    check.results(answer)


def replace_pin(check: Check) -> None:
    """A pin that takes another's place has an id of its own, and the old id is gone."""
    old, cid = check.added(), check.new_block()
    answer = check.client.replace(old["requestid"], cid)
    check.expect("POST /pins/ID answers 202", answer.status == 202)
    check.status(answer.document)
    new = answer.document or {}
    check.expect("the new CID", new.get("pin", {}).get("cid") == cid)
    check.expect("a new id", new.get("requestid") != old["requestid"])
    check.expect("the old id is gone", check.client.get(old["requestid"]).status == 404)
    check.expect("the new id is there", check.client.get(new.get("requestid", "")).status == 200)


def match_names(check: Check) -> None:
    """A pin is found by its name, in four ways."""
    name = str(uuid.uuid4())
    part = name[9:27]
    made = check.added(name=name)
    check.expect("the name as given", made.get("pin", {}).get("name") == name)
    for match, text in (("exact", name), ("iexact", name.upper()), ("partial", part), ("ipartial", part.upper())):
        answer = check.client.list(match=match, name=text)
        found = check.results(answer)
        check.expect(f"found by {match}", [name] == [one["pin"].get("name") for one in found])


def pagination(check: Check) -> None:
    """Ten pins come at a time, and the next page holds none of the first."""
    there = (check.client.list(status=EVERY).document or {}).get("count", 0)
    for _ in range(there, PINS_FOR_PAGES):
        check.added()
    answer = check.client.list(status=EVERY)
    first = check.results(answer)
    check.expect("10 of at least 15", len(first) == 10 and answer.document["count"] >= PINS_FOR_PAGES)
    oldest = min((one["created"] for one in first), default="")
    second = check.results(check.client.list(status=EVERY, before=oldest))
    cids = {one["pin"]["cid"] for one in first + second}
    check.expect("no pin on two pages", len(cids) == len(first) + len(second) > len(first))


def delete_all(check: Check) -> None:
    """Everything that is listed can be dropped, and then nothing is left."""
    for _ in range(100):
        found = check.client.list(status=EVERY).document or {}
        if not found.get("results"):
            break
        for one in found["results"]:
            check.expect("DELETE answers 202", check.client.delete(one["requestid"]).status == 202)
    answer = check.client.list(status=EVERY)
    check.expect("nothing is left", check.results(answer) == [] and answer.document.get("count") == 0)


GROUPS: list[Callable[[Check], None]] = [
    no_token,
    bad_token,
    add,
    add_and_delete,
    list_all,
    replace_pin,
    match_names,
    pagination,
    delete_all,
]


def run(check: Check) -> dict[str, list[str]]:
    """Every group in turn; what did not hold in those that failed, each once."""
    found = {}
    for group in GROUPS:
        one = replace(check, failed=[])
        group(one)
        if one.failed:
            found[group.__name__] = sorted(set(one.failed))
    return found
