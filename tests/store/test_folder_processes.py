"""Several processes at one store folder at once."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Refused
from pinfold.store import FolderStore
from store.dags import folder, hold, noise, trie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def child(work: Callable[[], None]) -> Iterator[None]:
    """Run `work` in a fork beside the block; it must succeed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    try:
        yield
    finally:
        assert (pid, 0) == os.waitpid(pid, 0)


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    """Overlapping blocks from two writers: all there, both pins whole, nothing damaged."""
    path = tmp_path / "store"
    FolderStore.create(path).close()
    blocks = noise(1, 300)

    def write(number: int) -> None:
        with FolderStore.open(path) as store:
            for start in range(0, 200, 20):
                with store.session():
                    mine = blocks[number * 100 + start : number * 100 + start + 20]
                    store.put(mine)
                    dag = folder(mine)
                    store.put(dag.blocks)
                    store.pin(dag.root, f"{number}/{start:03}")

    with child(lambda: write(0)):
        write(1)
    with FolderStore.open(path) as store:
        assert [] == list(store.check())
        assert dict(blocks) == {cid: store.get(cid) for cid, _ in blocks}
        # Where both wrote the same twenty blocks, the root is the same too and bears one name.
        assert {f"{number}/{start:03}" for number in (0, 1) for start in range(0, 200, 20)} >= {
            pin.name for pin in store.pins()
        }
        assert len({folder(blocks[start : start + 20]).root for start in range(0, 300, 20)}) == len(list(store.pins()))


def test_collecting_beside_writers_and_readers(tmp_path: Path) -> None:
    """While one process writes, pins and unpins, another collects all the time: no pinned block is ever lost."""
    path = tmp_path / "store"
    kept = trie(1)
    with FolderStore.create(path) as store:
        store.put(kept.blocks)
        store.pin(kept.root, "kept")

    def write() -> None:
        with FolderStore.open(path) as store:
            for seed in range(2, 40):
                # Half of each DAG was garbage a moment ago: `has` and `put` meet blocks being collected.
                dag = folder([*noise(seed, 10), *noise(seed - 1, 10)], fanout=8, threshold=100)
                with store.session():
                    there = store.has(dag.cids)
                    store.put(block for block in dag.blocks if block[0] not in there)
                    store.pin(dag.root, f"pins/{seed}")
                assert dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}
                if seed % 4:
                    store.unpin([dag.root])

    with child(write), FolderStore.open(path) as store:
        for _ in range(25):
            store.collect()
            assert dict(kept.blocks) == {cid: store.get(cid) for cid in kept.cids}
    with FolderStore.open(path) as store:
        assert [] == list(store.check())
        assert ["kept", *sorted(f"pins/{seed}" for seed in range(4, 40, 4))] == [pin.name for pin in store.pins()]


def test_a_reader_follows_blocks_that_move(tmp_path: Path) -> None:
    """A store opened before a collection reads what it moved, through cars that are gone by now."""
    path = tmp_path / "store"
    kept = trie(1)
    with FolderStore.create(path) as store:
        store.put([*noise(2, 400), *kept.blocks])
        store.pin(kept.root, "kept")
    with FolderStore.open(path) as reader:
        assert kept.blocks[0][1] == reader.get(kept.blocks[0][0])
        with FolderStore.open(path) as other:
            before = set((path / "cars").iterdir())
            assert other.collect().freed_blocks >= 400
            assert not before & set((path / "cars").iterdir())
        assert dict(kept.blocks) == {cid: reader.get(cid) for cid in kept.cids}
        assert kept.cids == reader.has(kept.cids)
        reader.pin(kept.root, "again")


def test_a_session_elsewhere_holds_what_it_saw(tmp_path: Path) -> None:
    """A collection waits for sessions of other stores at the same folder, and for no dead one's."""
    path = tmp_path / "store"
    dag = trie(1)
    with FolderStore.create(path) as store, FolderStore.open(path) as other:
        hold(store)
        store.put(dag.blocks)
        with other.session():
            assert dag.cids == other.has(dag.cids)
            assert store.collect().waiting_bytes == sum(len(block) for _, block in dag.blocks)
            with store.session():  # younger than the condemnation: nothing to wait for
                assert set() == store.has(dag.cids)
                assert store.collect().waiting_bytes > 0
            other.pin(dag.root, "one")
        store.collect()
        assert dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}
        store.unpin([dag.root])
        pid = os.fork()
        if pid == 0:
            with FolderStore.open(path).session():
                os._exit(0)  # without leaving the session
        os.waitpid(pid, 0)
        assert 1 == len(list((path / "writers").iterdir()))
        done = store.collect()
        assert (len(dag.blocks), 0) == (done.freed_blocks, done.waiting_bytes)


def test_sessions_after_the_condemnation_do_not_delay_it(tmp_path: Path) -> None:
    """Backups that follow one another without a gap cannot keep garbage for ever."""
    path = tmp_path / "store"
    dag = trie(1)
    with FolderStore.create(path) as store, FolderStore.open(path) as other:
        hold(store)
        store.put(dag.blocks)
        with other.session():
            assert store.collect().waiting_bytes > 0
            younger = other.session()
            younger.__enter__()
        assert store.collect().freed_blocks == len(dag.blocks)
        younger.__exit__(None, None, None)


def test_one_collection_at_a_time(tmp_path: Path) -> None:
    """A second collection is refused with a clear word while the first runs."""
    path = tmp_path / "store"
    dag = trie(1)
    with FolderStore.create(path) as store, FolderStore.open(path) as other:
        store.put(dag.blocks)
        store.pin(dag.root, "one")
        started, go_on = threading.Event(), threading.Event()

        def progress(_done: int, _total: int) -> None:
            started.set()
            assert go_on.wait(30)

        first = threading.Thread(target=lambda: store.collect(progress=progress))
        first.start()
        assert started.wait(30)
        with pytest.raises(Refused, match="running already"):
            other.collect()
        go_on.set()
        first.join()
        other.collect()


def test_many_small_cars_become_one(tmp_path: Path) -> None:
    """Cars that are wholly alive but small are merged once there are many."""
    path = tmp_path / "store"
    with FolderStore.create(path) as store:
        dags = [folder(noise(seed, 3)) for seed in range(20)]
        for number, dag in enumerate(dags):
            store.put(dag.blocks)
            store.pin(dag.root, str(number))
        assert 20 == len(list((path / "cars").iterdir()))
        done = store.collect()
        assert (0, 0) == (done.freed_blocks, done.waiting_bytes)
        assert 1 == len(list((path / "cars").iterdir()))
        for dag in dags:
            assert dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}
        assert [] == list(store.check())
