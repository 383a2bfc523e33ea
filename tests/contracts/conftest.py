"""Every store there is, made empty, for the one contract they all keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Unavailable
from pinfold.store import Counting, Fault, Faulty, FolderStore, MemoryStore, Mirror, Retry
from store.dags import hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pinfold.store import Store


def _stumbling() -> Store:
    """A store that fails now and then, behind the layer that tries again."""
    every = frozenset(range(1, 500, 3))
    methods = ("put", "get", "has", "pin", "unpin", "pins", "status", "usage")
    faults = [Fault(method, every, Unavailable("not now")) for method in methods]
    return Retry(Faulty(MemoryStore(), *faults), sleep=lambda _seconds: None)


STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _path: MemoryStore(),
    "folder": lambda path: FolderStore.create(path / "store"),
    "counting": lambda _path: Counting(MemoryStore()),
    "retry": lambda _path: _stumbling(),
    "mirror": lambda path: Mirror([MemoryStore("one"), FolderStore.create(path / "two")]),
    "layers": lambda path: Retry(Counting(FolderStore.create(path / "store"))),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    made = STORES[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["memory", "folder", "mirror"])
def collecting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store that collects garbage, empty but for one small pin."""
    made = STORES[request.param](tmp_path)
    hold(made)
    yield made
    made.close()
