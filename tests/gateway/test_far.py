"""Blocks of stores far away are fetched ahead, within what all answers may hold together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from gateway.door import Counting, ask
from ipld.memory import Blocks, entries
from pinfold.door import Request
from pinfold.errors import Unavailable
from pinfold.gateway import Gateway, Settings, gateway
from pinfold.ipld import CID, add_file, build_folder
from pinfold.store.layers import ReadOnly

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1000
CAR = {"format": "car"}
SECONDS = 10


class Far(Counting):
    """A store that answers a question only once `wanted` of them have been asked at the same time."""

    def __init__(self, blocks: Blocks, wanted: int, at_once: int = 8) -> None:
        super().__init__(blocks.items())
        self.at_once = at_once
        self.most = 0
        self._under_way = 0
        self._wanted = wanted
        self._changed = threading.Condition()

    def get(self, cid: CID) -> bytes:
        """Wait for company, once, then answer."""
        with self._changed:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self.most >= self._wanted or len(self.asked) < 3, SECONDS):
                raise Unavailable("nobody else asked")
        try:
            return super().get(cid)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()


@pytest.fixture
def opened() -> Iterator[list[Gateway]]:
    """Gateways that end with the test."""
    doors: list[Gateway] = []
    yield doors
    for door in doors:
        door.close()


def file(chunks: int) -> tuple[Blocks, CID]:
    """A file of so many leaves."""
    made = Blocks()
    pieces = (number.to_bytes(2, "big") * (CHUNK // 2) for number in range(chunks))
    return made, add_file(pieces, made.emit, chunk_size=CHUNK, width=64).cid


@pytest.mark.parametrize("query", [{}, CAR, CAR | {"dag-scope": "entity"}])
def test_leaves_are_fetched_ahead(opened: list[Gateway], query: dict[str, str]) -> None:
    """About as many blocks are asked for at once as the store can answer, each once, and come in order."""
    made, root = file(100)
    store = Far(made, wanted=6)
    opened.append(gateway(ReadOnly(store)))
    answer = ask(opened[0], f"/ipfs/{root}", query={"filename": "a.bin"} | query)
    assert (200, False) == (answer.status, answer.broken)
    assert set(made) == set(store.asked)
    assert len(made) == len(store.asked)
    near = ask(gateway(Counting(made.items())), f"/ipfs/{root}", query={"filename": "a.bin"} | query)
    assert near.body == answer.body


def test_shards_are_fetched_ahead(opened: list[Gateway]) -> None:
    """The shards of a large folder are asked for at once too."""
    made = Blocks()
    root, _ = build_folder(entries(3000), made.emit, threshold=100)
    store = Far(made, wanted=6)
    opened.append(gateway(store))
    answer = ask(opened[0], f"/ipfs/{root}", query=CAR | {"dag-scope": "entity"})
    assert set(made) == set(answer.car)


def test_what_is_held_ahead_is_bounded(opened: list[Gateway]) -> None:
    """Many readers that stop in the middle hold no more than they may together, and others still get their answer."""
    made, root = file(100)
    store = Far(made, wanted=1, at_once=8)
    opened.append(gateway(store, Settings(held_bytes=4 << 20)))
    stuck = [opened[0](Request("GET", f"/ipfs/{root}", tuple(CAR.items()))) for _ in range(20)]
    bodies = [response.body for response in stuck if not isinstance(response.body, bytes)]
    for body in bodies:
        next(body)
    before = len(store.asked)
    answer = ask(opened[0], f"/ipfs/{root}", query=CAR)
    assert len(made) == len(answer.car)
    assert before <= 20 * (66 + 2) + 4
    for body in bodies:
        close = getattr(body, "close", None)
        assert close is not None
        close()


def test_marks_are_bounded_together() -> None:
    """CARs without duplicates that remember too much together are broken off, and give back what they had."""
    made, root = file(25_000)
    door = gateway(Counting(made.items()), Settings(remembered=5_000))
    assert ask(door, f"/ipfs/{root}", query=CAR).broken
    assert not ask(door, f"/ipfs/{root}", query=CAR | {"car-dups": "y"}).broken
    door = gateway(Counting(made.items()), Settings(remembered=10_000))
    for _ in range(3):
        assert not ask(door, f"/ipfs/{root}", query=CAR).broken
