"""A store whose own files were bent: it opens or says in one line why not, and harms no block that was good."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzzing import bent
from pinfold.errors import StoreError
from pinfold.store import FolderStore
from store.dags import noise, trie

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.ipld import CID
    from pinfold.store.seam import Block

DAG = trie(1)
SEALED, UNSEALED = list(DAG.blocks), noise(5, 40)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a pin, a sealed car, and a car whose writer died."""
    path = tmp_path_factory.mktemp("whole") / "store"
    with FolderStore.create(path) as store, store.session():
        store.put(SEALED)
        store.pin(DAG.root, "pinned/by/name")
    child = os.fork()
    if child == 0:
        store = FolderStore.open(path)
        with store.session():
            store.put(UNSEALED)
            with closing(sqlite3.connect(path / "index.db")) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            os._exit(0)
    assert (child, 0) == os.waitpid(child, 0)
    return path


def use(path: Path) -> dict[CID, bytes]:
    """Open the store and do everything that reads; what it gave.  Only errors of stores may come."""
    given: dict[CID, bytes] = {}
    with suppress(StoreError), FolderStore.open(path) as store:
        for work in (lambda: list(store.pins()), lambda: list(store.check()), lambda: store.status(DAG.root)):
            with suppress(StoreError):
                work()
        for cid, _ in (*SEALED, *UNSEALED):
            with suppress(StoreError):
                given[cid] = store.get(cid)
        with suppress(StoreError):
            store.put(noise(9, 3))
    return given


def all_there(path: Path, blocks: list[Block]) -> bool:
    """Whether every block is read from the cars alone."""
    for file in path.glob("index.db*"):
        file.unlink()
    with FolderStore.open(path) as store:
        return dict(blocks) == {cid: store.get(cid) for cid, _ in blocks}


def bend(data: st.DataObject, file: Path) -> None:
    """Change a file somehow."""
    before = file.read_bytes()
    file.write_bytes(data.draw(st.one_of(bent((before,)), bent((before,)), st.binary(max_size=100))))


@settings(max_examples=60)
@given(data=st.data())
def test_a_bent_index(whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever index.db says, no block is given wrong, and none is lost: without it all are there."""
    path = tmp_path_factory.mktemp("bent") / "store"
    shutil.copytree(whole, path)
    bend(data, path / "index.db")
    assert use(path).items() <= dict([*SEALED, *UNSEALED]).items()
    assert all_there(path, [*SEALED, *UNSEALED])
    shutil.rmtree(path)


@settings(max_examples=60)
@given(
    values=st.lists(
        st.tuples(st.sampled_from(["indexed", "sealed", "listing"]), st.integers(-5, 10_000)), min_size=1, max_size=3
    )
)
def test_an_index_that_lies_about_cars(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, int]]
) -> None:
    """Where the index has a wrong idea of how far cars are known, no block is cut off."""
    path = tmp_path_factory.mktemp("lies") / "store"
    shutil.copytree(whole, path)
    with closing(sqlite3.connect(path / "index.db")) as db:
        for column, value in values:
            db.execute(f"UPDATE cars SET {column} = ?", (value,))  # noqa: S608  # one of three words
        db.commit()
    assert use(path).items() <= dict([*SEALED, *UNSEALED]).items()
    assert all_there(path, [*SEALED, *UNSEALED])
    shutil.rmtree(path)


@settings(max_examples=40)
@given(data=st.data())
def test_bent_small_files(whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A marker or a pin file of any bytes is refused or read; with the right one back all is as before."""
    path = tmp_path_factory.mktemp("small") / "store"
    shutil.copytree(whole, path)
    file = path / data.draw(st.sampled_from(["pinfold-store.json", "pins/pinned/by/name"]))
    before = file.read_bytes()
    bend(data, file)
    use(path)
    file.write_bytes(before)
    assert all_there(path, [*SEALED, *UNSEALED])
    with FolderStore.open(path) as store:
        assert [DAG.root] == [pin.root for pin in store.pins()]
    shutil.rmtree(path)


@settings(max_examples=60)
@given(data=st.data())
def test_a_bent_car(whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Of a car with a few bytes changed nothing wrong is given; the other car is untouched."""
    path = tmp_path_factory.mktemp("car") / "store"
    shutil.copytree(whole, path)
    cars = sorted((path / "cars").iterdir(), key=lambda one: one.stat().st_size)
    number = data.draw(st.integers(0, 1))
    others = [UNSEALED, SEALED] if SEALED[0][1] in cars[0].read_bytes() else [SEALED, UNSEALED]
    bend(data, cars[number])
    if data.draw(st.booleans()):
        (path / "index.db").unlink()
    assert use(path).items() <= dict([*SEALED, *UNSEALED]).items()
    assert all_there(path, others[number])
    shutil.rmtree(path)


@pytest.mark.parametrize("short", [1, 36, 37, 100, 200, 236, 237, 238, 300])
def test_recovery_does_not_hang_on_the_index(whole: Path, tmp_path: Path, short: int) -> None:
    """A dead writer's car of which the index knows up to the middle of a section keeps that section."""
    path = tmp_path / "store"
    shutil.copytree(whole, path)
    with closing(sqlite3.connect(path / "index.db")) as db:
        db.execute("UPDATE cars SET indexed = indexed - ? WHERE sealed = 0", (short,))
        db.commit()
    use(path)
    assert all_there(path, UNSEALED)
