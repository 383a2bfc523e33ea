"""A disk that is full: a clear error, nothing torn, and work goes on once there is room."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Full
from pinfold.store import FolderStore
from store.dags import folder, noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store.dags import Block


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_tears_nothing(small_disk: Path) -> None:
    """Full names the place; what was stored is whole; with room made, the same put succeeds."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    dag, large = folder(noise(1, 20, 1000)), folder(noise(2, 28, 100_000))
    with FolderStore.create(small_disk / "store") as store:
        store.put(dag.blocks)
        store.pin(dag.root, "one")
        with pytest.raises(Full, match=str(small_disk)):
            store.put(large.blocks)
        assert dict(dag.blocks) == {cid: store.get(cid) for cid in dag.cids}
        assert [] == list(store.check())
        ballast.unlink()
        store.put(large.blocks)
        store.pin(large.root, "two")
    with FolderStore.open(small_disk / "store") as store:
        assert [] == list(store.check())
        assert dict(large.blocks) == {cid: store.get(cid) for cid in large.cids}


def test_a_full_disk_in_the_middle_of_a_session(small_disk: Path) -> None:
    """Put after put until nothing fits: each either stored all or raised Full, and the store opens again."""
    stored: list[Block] = []
    with FolderStore.create(small_disk / "store") as store, store.session():
        with pytest.raises(Full):
            _put_until_full(store, stored)
        assert len(stored) > 50
        assert dict(stored) == {cid: store.get(cid) for cid, _ in stored}
    with FolderStore.open(small_disk / "store") as store:
        assert dict(stored) == {cid: store.get(cid) for cid, _ in stored}
        assert [] == list(store.check())


def _put_until_full(store: FolderStore, stored: list[Block]) -> None:
    for seed in range(100):
        blocks = noise(seed, 4, 20_000)
        store.put(blocks)
        stored += blocks


def test_a_collection_frees_a_full_disk(small_disk: Path) -> None:
    """Collecting needs little room: garbage goes although nothing more can be written."""
    keep = folder(noise(1, 3, 1000))
    with FolderStore.create(small_disk / "store") as store:
        store.put(keep.blocks)
        store.pin(keep.root, "keep")
        for seed in range(2, 5):
            store.put(noise(seed, 8, 100_000))
        with pytest.raises(Full):
            store.put(noise(9, 20, 100_000))
        store.collect()
        store.put(noise(9, 20, 100_000))
        assert dict(keep.blocks) == {cid: store.get(cid) for cid in keep.cids}


def test_a_limit_on_file_size_counts_as_full(tmp_path: Path) -> None:
    """Where no file may grow beyond a limit, Full is raised and the car ends with a whole section."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            with FolderStore.create(tmp_path / "store") as store, store.session():
                store.put(noise(1, 10, 10_000))
                resource.setrlimit(resource.RLIMIT_FSIZE, (205_000, 205_000))
                try:
                    store.put(noise(2, 30, 10_000))
                except Full:
                    code = 0
        finally:
            os._exit(code)
    assert (child, 0) == os.waitpid(child, 0)
    with FolderStore.open(tmp_path / "store") as store:
        assert dict(noise(1, 10, 10_000)) == {cid: store.get(cid) for cid, _ in noise(1, 10, 10_000)}
        assert [] == list(store.check())
