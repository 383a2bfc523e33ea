"""Threads for what takes its time, and walks that ask ahead."""

from __future__ import annotations

import threading

import pytest

from engine import noise
from lab.process import wait_until
from pinfold.errors import Missing, Unavailable
from pinfold.ipld import build_folder, walk
from pinfold.ipld.cid import CID, RAW
from pinfold.store import MemoryStore
from pinfold.store.ahead import ahead
from pinfold.store.crew import Crew
from store.distant import AT_ONCE, Distant

LONGEST = 30


def test_as_many_at_once_as_there_are_threads() -> None:
    """Tasks run at the same time up to the number asked for, and the rest behind them."""
    crew, barrier = Crew(8, "test"), threading.Barrier(8, timeout=LONGEST)
    assert [True] * 16 == [future.result() < 8 for future in [crew.submit(barrier.wait) for _ in range(16)]]
    crew.close(wait=True)


def test_errors_come_to_whoever_asks() -> None:
    """What a task raises is raised where its result is asked for."""
    crew = Crew(1, "test")
    with pytest.raises(ZeroDivisionError):
        crew.submit(lambda: 1 // 0).result()
    crew.close(wait=True)


def test_nobody_waits_for_a_closed_crew() -> None:
    """On close whoever waits gets Unavailable at once, though the task goes on; later tasks fail at once."""
    crew, gate = Crew(1, "test"), threading.Event()
    running, waiting = crew.submit(gate.wait, LONGEST), crew.submit(int)
    crew.close()
    for future in (running, waiting, crew.submit(int)):
        with pytest.raises(Unavailable):
            future.result(timeout=1)
    gate.set()
    crew.close(wait=True)


def test_threads_end_with_their_crew() -> None:
    """No thread is left after close, and none is begun before it is needed."""
    crew = Crew(64, "test-ends")
    for _ in range(10):
        crew.submit(int).result()
    assert 2 >= sum(thread.name.startswith("test-ends") for thread in threading.enumerate())
    crew.close()
    wait_until(lambda: not any(one.name.startswith("test-ends") for one in threading.enumerate()), what="no thread")


def wide(store: MemoryStore, files: int = 300) -> CID:
    """A sharded folder of so many files."""
    blocks = []
    entries = []
    for seed in range(files):
        data = noise(seed, 100 + seed)
        cid = CID.of(RAW, data)
        blocks.append((cid, data))
        entries.append((str(cid).encode(), cid, len(data)))
    root, _ = build_folder(entries, lambda cid, data: blocks.append((cid, data)), threshold=1000, fanout=8)
    store.put(blocks)
    return root


@pytest.mark.parametrize("leaves", [True, False])
def test_a_walk_asks_ahead(*, leaves: bool) -> None:
    """A walk of a far graph has 64 blocks under way at once, gives what a near one gives, and asks for each once."""
    memory = MemoryStore()
    root = wide(memory)
    order = list(walk(root, memory.get))
    far = Distant(memory)
    with ahead(far, leaves=leaves) as get:
        found = []
        for cid in walk(root, get):
            found.append(cid)
            if leaves:
                assert memory.get(cid) == get(cid)
    assert order == found
    assert len(far.asked) == len(set(far.asked))
    assert len(order if leaves else [cid for cid in order if cid.codec != RAW]) == len(far.asked)
    assert far.most >= (AT_ONCE if leaves else AT_ONCE // 2)


def test_a_walk_of_what_is_near_asks_the_store_itself() -> None:
    """Nothing is asked ahead of a store that answers at once."""
    memory = MemoryStore()
    with ahead(memory) as get:
        assert memory.get == get


def test_what_a_walk_does_not_find() -> None:
    """A block that is missing is raised where the walk comes to it; what lies before comes all the same."""
    memory = MemoryStore()
    root = wide(memory)
    order = list(walk(root, memory.get))
    del memory._blocks[order[-1].digest]
    found = []
    with ahead(Distant(memory), leaves=True) as get:
        for cid in walk(root, get):
            if cid == order[-1]:
                with pytest.raises(Missing):
                    get(cid)
            else:
                found.append(get(cid))
    assert len(order) - 1 == len(found)
