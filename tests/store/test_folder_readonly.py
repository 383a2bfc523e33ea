"""A store that may not be written to is read all the same, without a lock and without a trace."""

from __future__ import annotations

import os
import subprocess
import tempfile
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Refused
from pinfold.store import FolderStore, Pin
from store.dags import trie

if TYPE_CHECKING:
    from collections.abc import Iterator

DAG = trie(1)
NOBODY = 65534


def look(path: Path) -> None:
    """Read all of a store; check that changes are refused."""
    with FolderStore.open(path) as store:
        assert [Pin(DAG.root, "one")] == list(store.pins())
        assert dict(DAG.blocks) == {cid: store.get(cid) for cid in DAG.cids}
        assert DAG.cids == store.has(DAG.cids)
        assert [] == list(store.check())
        assert 1 == store.status(DAG.root).pinned
        assert store.usage().used > 0
        for change in (lambda: store.put([]), lambda: store.unpin([DAG.root]), store.collect):
            with pytest.raises(Refused, match="may not be written"):
                change()


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as somebody else")


@pytest.fixture(params=["sealed", "torn"])
def path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A store of root's that everybody may read: closed well, or with a car that was never sealed."""
    with tempfile.TemporaryDirectory(prefix="pinfold-test-") as folder:  # others may not enter pytest's own
        Path(folder).chmod(0o755)
        _make(Path(folder) / "store", torn=request.param == "torn")
        yield Path(folder) / "store"


def _make(path: Path, *, torn: bool) -> None:
    pid = os.fork()
    if pid == 0:
        store = FolderStore.create(path)
        with store.session():
            store.put(DAG.blocks)
            store.pin(DAG.root, "one")
            if torn:
                os._exit(0)
        store.close()
        os._exit(0)
    os.waitpid(pid, 0)
    for folder, _, names in os.walk(path):
        Path(folder).chmod(0o755)
        for name in names:
            (Path(folder) / name).chmod(0o644)


def read(path: Path, scratch: Path, user: int = 0) -> str:
    """Read the whole store in a process of its own; empty, or what went wrong."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        tempfile.tempdir = str(scratch)
        try:
            os.setgid(user)
            os.setuid(user)
            look(path)
        except BaseException:  # noqa: BLE001 (told to the parent, which fails)
            os.write(tell, traceback.format_exc().encode())
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, encoding="utf-8") as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


def listing(path: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time."""
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in path.rglob("*")}


def test_another_user_reads(path: Path) -> None:
    """Somebody who may only read gets every block, and leaves every file as it was."""
    before = listing(path)
    scratch = path.parent / "scratch"
    scratch.mkdir()
    os.chown(scratch, NOBODY, NOBODY)
    assert "" == read(path, scratch, NOBODY)
    assert [] == list(scratch.iterdir())
    assert before == listing(path)


@contextmanager
def read_only(path: Path, at: Path) -> Iterator[None]:
    """The folder once more at `at`, read-only."""
    at.mkdir()
    steps = (["mount", "--bind", str(path), str(at)], ["mount", "-o", "remount,ro,bind", str(at)])
    try:
        for step in steps:
            if subprocess.run(step, check=False, capture_output=True).returncode:
                pytest.skip("cannot mount here")
        yield
    finally:
        subprocess.run(["umount", str(at)], check=False, capture_output=True)


def test_read_only_media_are_read(path: Path, tmp_path: Path) -> None:
    """On a read-only file system even root reads without any write."""
    with read_only(path, tmp_path / "mounted"):
        assert "" == read(tmp_path / "mounted", tmp_path)
