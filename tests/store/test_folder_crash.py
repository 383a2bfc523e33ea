"""Killed at any system call, cut at any byte: what was pinned stays whole, and the next run goes on.

The child of a fork does the work and kills itself before its n-th call into the operating system or
the database; no call is replaced by another.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pinfold.store import FolderStore
from store.dags import folder, hold, noise, trie

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store.dags import Dag

ONE, TWO, THREE = trie(1), trie(2, 40), folder([*noise(1, 30), *noise(3, 30)], fanout=8, threshold=100)
GARBAGE = noise(4, 200)
POINTS = 30


def whole(store: FolderStore, dag: Dag) -> bool:
    """Whether every block of the DAG is there and got."""
    return dag.cids == store.has(dag.cids) and dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}


def prepare(path: Path) -> None:
    """Two pins and some garbage, spread over several cars."""
    with FolderStore.create(path) as store:
        for blocks in (ONE.blocks[:20], GARBAGE[:100] + list(ONE.blocks[20:]), GARBAGE[100:] + list(TWO.blocks)):
            with store.session():
                store.put(blocks)
        store.pin(ONE.root, "one")
        store.pin(TWO.root, "two")


def put(store: FolderStore) -> None:
    """Store the third DAG."""
    store.put(THREE.blocks)


def pin(store: FolderStore) -> None:
    """Store and pin the third DAG in place of the first."""
    with store.session():
        store.put(THREE.blocks)
        store.pin(THREE.root, "three", replaces=ONE.root)


def collect(store: FolderStore) -> None:
    """Unpin one and collect."""
    store.unpin([TWO.root])
    store.collect()


def run_and_die(path: Path, work: Callable[[FolderStore], object], at: int) -> int | None:
    """Do `work` in a child that dies before system call number `at`; None if it died, else how many there were."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _child(path, work, at, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    assert os.WEXITSTATUS(status) == 0
    return int(told)


def _child(path: Path, work: Callable[[FolderStore], object], at: int, writing: int) -> NoReturn:
    count = 0

    def before(_frame: object, event: str, function: Any) -> None:  # noqa: ANN401 (any built-in function)
        nonlocal count
        owner = getattr(function, "__self__", None)
        if event == "c_call" and getattr(owner, "__name__", type(owner).__module__) in {"posix", "sqlite3"}:
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        threading.setprofile(before)
        sys.setprofile(before)
        with FolderStore.open(path) as store:
            work(store)
        sys.setprofile(None)
        os.write(writing, str(count).encode())
        code = 0
    finally:
        os._exit(code)


@pytest.mark.parametrize("work", [put, pin, collect], ids=lambda work: work.__name__)
def test_killed_at_any_call(tmp_path: Path, work: Callable[[FolderStore], None]) -> None:
    """Wherever a writer or a collection is killed, all pins are whole, and the same work then succeeds."""
    prepare(tmp_path / "whole")
    calls = run_and_die(tmp_path / "whole", work, 0)
    assert calls is not None
    chance = random.Random(work.__name__)
    for point in sorted(chance.sample(range(1, calls + 1), min(POINTS, calls))):
        path = tmp_path / str(point)
        prepare(path)
        assert run_and_die(path, work, point) is None
        with FolderStore.open(path) as store:
            for held in store.pins():
                assert whole(store, {ONE.root: ONE, TWO.root: TWO, THREE.root: THREE}[held.root]), (point, held)
            assert [] == list(store.check()), point
            assert ONE.root in {held.root for held in store.pins()} or work is pin
            work(store)
            store.collect()
            expected = {put: [ONE, TWO], pin: [THREE, TWO], collect: [ONE]}[work]
            assert sorted(dag.root for dag in expected) == sorted(held.root for held in store.pins())
            assert all(whole(store, dag) for dag in expected)
            assert set() == store.has(cid for cid, _ in GARBAGE)
        assert [] == list((path / "writers").iterdir())


def test_a_killed_collection_still_waits_for_sessions(tmp_path: Path) -> None:
    """Wherever a collection is killed, the next one frees nothing that a session saw before either."""
    path = tmp_path / "store"
    with FolderStore.create(path) as store:
        hold(store)
    calls = run_and_die(path, lambda store: store.collect(), 0)
    assert calls is not None
    for point in sorted(random.Random(1).sample(range(1, calls + 1), POINTS)):
        with FolderStore.open(path) as store:
            store.put(THREE.blocks)
            with store.session():
                assert THREE.cids == store.has(THREE.cids)
                run_and_die(path, lambda other: other.collect(), point)
                store.collect()
                store.collect()
                store.pin(THREE.root, "three")
            store.collect()
            assert whole(store, THREE), point
            store.unpin([THREE.root])
            store.collect()
            assert set() == store.has(THREE.cids), point


def test_a_torn_tail_is_cut_at_every_byte(tmp_path: Path) -> None:
    """A car that ends anywhere in its last section keeps all sections before, and takes no harm from the rest."""
    path = tmp_path / "store"
    blocks = noise(5, 4, 50)
    FolderStore.create(path).close()
    run_and_die(path, lambda store: _put_and_die(store, blocks), 0)
    (car,) = (path / "cars").iterdir()
    torn = car.read_bytes()
    last = len(torn) - 50 - 37
    for end in range(last, len(torn)):
        for file in [*path.glob("index.db*"), *(path / "cars").iterdir()]:
            file.unlink()
        car.write_bytes(torn[:end])
        with FolderStore.open(path) as store:
            assert {cid for cid, _ in blocks[:3]} == store.has(cid for cid, _ in blocks)
            assert [] == list(store.check())
            assert 50 == store.put(blocks)


def _put_and_die(store: FolderStore, blocks: list[tuple[Any, bytes]]) -> None:
    with store.session():
        store.put(blocks)
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_lies_behind_the_last_sync_is_checked(tmp_path: Path) -> None:
    """After a power cut a car may end in zeros or old bytes: they are cut, not believed."""
    path = tmp_path / "store"
    blocks = noise(6, 6, 50)
    FolderStore.create(path).close()
    run_and_die(path, lambda store: _put_and_die(store, blocks[:3]), 0)
    (car,) = (path / "cars").iterdir()
    whole_car = car.read_bytes()
    for tail in (bytes(500), whole_car[-60:], b"\x55" + whole_car[-86:-10] + b"xx"):
        for file in [*path.glob("index.db*"), *(path / "cars").iterdir()]:
            file.unlink()
        car.write_bytes(whole_car + tail)
        with FolderStore.open(path) as store:
            assert {cid for cid, _ in blocks[:3]} == store.has(cid for cid, _ in blocks)
            assert [] == list(store.check())


def test_a_living_writers_car_is_left_alone(tmp_path: Path) -> None:
    """Opening a store never cuts or seals what another is writing."""
    path = tmp_path / "store"
    with FolderStore.create(path) as first:
        hold(first)
    held = set((path / "cars").iterdir())
    with FolderStore.open(path) as writer, writer.session():
        writer.put(noise(7, 3))
        (car,) = set((path / "cars").iterdir()) - held
        before = car.read_bytes()
        for file in path.glob("index.db*"):
            file.unlink()
        with FolderStore.open(path) as reader:
            assert 3 == len(reader.has(cid for cid, _ in noise(7, 3)))
            reader.collect()
        assert before == car.read_bytes()
        writer.put(noise(8, 3))
        dag = folder([*noise(7, 3), *noise(8, 3)])
        writer.put(dag.blocks)
        writer.pin(dag.root, "one")
    with FolderStore.open(path) as store:
        assert whole(store, dag)
