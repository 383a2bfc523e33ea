"""The layers: what each adds, and that it leaves the rest alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Corrupt, Full, Missing, Refused, Unavailable
from pinfold.store import (
    Collects,
    Counting,
    Fault,
    Faulty,
    FolderStore,
    Heals,
    MemoryStore,
    PinState,
    ReadOnly,
    Retry,
    power,
)
from pinfold.store.layers import NobodyListens, Unreachable
from store.dags import folder, noise, raw, trie

if TYPE_CHECKING:
    from pathlib import Path


def test_retry_waits_longer_each_time_and_gives_up() -> None:
    """Six attempts, five waits, each twice the last give or take half; then the error passes through."""
    waits: list[float] = []
    store = Retry(Faulty(MemoryStore(), Fault("usage", error=Unavailable("away"))), sleep=waits.append)
    with pytest.raises(Unavailable, match="away"):
        store.usage()
    assert 5 == len(waits)
    assert all(0.5 * 2**at * 0.5 <= wait <= 0.5 * 2**at * 1.5 for at, wait in enumerate(waits))


def test_retry_tries_nothing_else_again() -> None:
    """Only Unavailable is worth another try."""
    for error in (Full("full"), Refused("no"), Missing("x"), Corrupt("x")):
        faulty = Faulty(MemoryStore(), Fault("get", error=error))
        with pytest.raises(type(error)):
            Retry(faulty, sleep=lambda _seconds: pytest.fail("waited")).get(raw(b"x")[0])
        assert 1 == faulty.calls["get"]


def test_retry_never_waits_longer_than_a_minute() -> None:
    """Waits stop growing at sixty seconds."""
    waits: list[float] = []
    store = Retry(Faulty(MemoryStore(), Fault("usage", error=Unavailable("away"))), attempts=30, sleep=waits.append)
    with pytest.raises(Unavailable):
        store.usage()
    assert 60.0 == max(waits)


def test_retry_does_not_try_again_what_stays_so() -> None:
    """What is Unreachable fails at once, and nobody is told to wait."""
    faulty = Faulty(MemoryStore(), Fault("usage", error=Unreachable("no such name")))
    with pytest.raises(Unreachable):
        Retry(faulty, sleep=lambda _seconds: pytest.fail("waited"), tell=pytest.fail).usage()
    assert 1 == faulty.calls["usage"]


@pytest.mark.parametrize(("before", "attempts"), [([], 3), (["has"], 6), (["get"], 6)])
def test_retry_has_less_patience_with_a_stranger(before: list[str], attempts: int) -> None:
    """Where nobody listens three attempts are made, and six at a store that answered before, if only with a no."""
    faulty = Faulty(MemoryStore(), Fault("usage", error=NobodyListens("refused")))
    store = Retry(faulty, sleep=lambda _seconds: None)
    if "has" in before:
        store.has([])
    if "get" in before:
        with pytest.raises(Missing):
            store.get(raw(b"x")[0])
    with pytest.raises(NobodyListens):
        store.usage()
    assert attempts == faulty.calls["usage"]


def test_retry_tells_people_that_it_waits() -> None:
    """One line for each series of waits, with the reason and the time, after the first attempt and not later."""
    told: list[str] = []
    waits: list[int] = []
    faulty = Faulty(MemoryStore(), Fault("usage", frozenset({1, 2, 4}), Unavailable("x does not answer")))
    store = Retry(faulty, sleep=lambda _seconds: waits.append(len(told)), tell=told.append)
    for _ in range(2):
        store.usage()
    assert ["x does not answer; trying again for 15 s"] * 2 == told
    assert [1, 1, 2] == waits


def test_retry_tells_calls_that_wait_together_once() -> None:
    """A call that fails while another waits adds no line."""
    told: list[str] = []
    waiting: list[bool] = []
    faulty = Faulty(
        MemoryStore(),
        Fault("usage", frozenset({1}), Unavailable("away")),
        Fault("status", frozenset({1}), Unavailable("away")),
    )

    def sleep(_seconds: float) -> None:
        waiting.append(True)
        if len(waiting) == 1:
            store.status(raw(b"x")[0])

    store = Retry(faulty, sleep=sleep, tell=told.append)
    store.usage()
    assert 2 == len(waiting)
    assert ["away; trying again for 15 s"] == told


def test_retry_is_silent_about_short_waits() -> None:
    """Nobody is told of a wait that is over before the line is read."""
    faulty = Faulty(MemoryStore(), Fault("usage", frozenset({1}), Unavailable("away")))
    Retry(faulty, attempts=3, sleep=lambda _seconds: None, tell=pytest.fail).usage()


def test_retry_puts_a_broken_batch_again() -> None:
    """A put that broke off in the middle is tried again, and every block is there."""
    blocks = noise(1, 100)
    memory = MemoryStore()
    faulty = Faulty(memory, Fault("put", frozenset({2, 3}), Unavailable("away"), after=5))
    assert 95 * 200 == Retry(faulty, batch=2000, sleep=lambda _seconds: None).put(iter(blocks))
    assert dict(blocks) == {cid: memory.get(cid) for cid, _ in blocks}


def test_read_only_lets_nothing_change() -> None:
    """Reading works, writing raises Refused."""
    memory = MemoryStore()
    dag = trie(1)
    memory.put(dag.blocks)
    memory.pin(dag.root, "one")
    store = ReadOnly(memory)
    with store.session():
        for change in (
            lambda: store.put(noise(2, 1)),
            lambda: store.pin(dag.root, "two"),
            lambda: store.unpin([dag.root]),
        ):
            with pytest.raises(Refused, match="reading only"):
                change()
    assert ["one"] == [pin.name for pin in store.pins()]
    assert dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}


def test_counting_counts() -> None:
    """Calls, blocks and bytes, as they went through."""
    store = Counting(MemoryStore())
    blocks = noise(1, 10)
    store.put(blocks)
    store.has([])
    store.get(blocks[0][0])
    expected = {"put": 1, "blocks_put": 10, "bytes_put": 2000, "has": 1, "get": 1, "bytes_got": 200}
    assert expected == dict(store.counts)


def test_powers_are_found_through_layers(tmp_path: Path) -> None:
    """Layers do not hide what the store below can do, except what a reader may not."""
    with FolderStore.create(tmp_path / "store") as folder_store:
        assert folder_store is power(Retry(Counting(folder_store)), Collects)
        assert power(ReadOnly(folder_store), Heals) is None


def test_faults_happen_as_planned() -> None:
    """Torn puts, flipped bits, missing blocks and lies, each at its call and not before."""
    blocks = noise(1, 10)
    dag = folder(blocks)
    memory = MemoryStore()
    store = Faulty(
        memory,
        Fault("put", frozenset({1}), Full("full"), after=4),
        Fault("get", frozenset({1}), flip=9),
        Fault("get", frozenset({2}), missing=True),
        Fault("has", lie=True),
        Fault("pin", lie=True),
    )
    with pytest.raises(Full):
        store.put(blocks)
    assert {cid for cid, _ in blocks[:4]} == memory.has(cid for cid, _ in blocks)
    assert {dag.root} == store.has([dag.root])
    assert PinState.PINNED == store.pin(dag.root, "one").copies[0].state
    assert [] == list(store.pins())
    cid, block = blocks[0]
    assert bytes([block[0], block[1] ^ 2]) + block[2:] == store.get(cid)
    with pytest.raises(Missing):
        store.get(cid)
    assert block == store.get(cid)
