"""A store that may not be written to is read all the same, without a lock and without a trace."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pinfold
from store.dags import trie

if TYPE_CHECKING:
    from collections.abc import Iterator

from pinfold.store import FolderStore

DAG = trie(1)
NOBODY = 65534
READ = """
import sys
from pinfold.errors import Refused
from pinfold.ipld.walk import walk
from pinfold.store import FolderStore

class Seen(set):
    def add(self, item):
        new = item not in self
        super().add(item)
        return new

with FolderStore.open(sys.argv[1]) as store:
    (pin,) = store.pins()
    seen = Seen()
    for _ in walk(pin.root, store.get, seen):
        pass
    assert seen and seen == store.has(seen)
    assert all(store.get(cid) for cid in seen)
    assert [] == list(store.check()), list(store.check())
    assert 1 == store.status(pin.root).pinned
    assert store.usage().used > 0
    for change in (lambda: store.put([]), lambda: store.unpin([pin.root]), store.collect):
        try:
            change()
        except Refused as error:
            assert "may not be written" in str(error)
        else:
            raise AssertionError(change)
    print(len(seen))
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as somebody else")


@pytest.fixture(params=["sealed", "torn"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store of root's that everybody may read: closed well, or with a car that was never sealed."""
    path = tmp_path / "store"
    pid = os.fork()
    if pid == 0:
        store = FolderStore.create(path)
        with store.session():
            store.put(DAG.blocks)
            store.pin(DAG.root, "one")
            if request.param == "torn":
                os._exit(0)
        store.close()
        os._exit(0)
    os.waitpid(pid, 0)
    for folder, _, names in os.walk(path):
        Path(folder).chmod(0o755)
        for name in names:
            (Path(folder) / name).chmod(0o644)
    return path


def read(path: Path, scratch: str, **who: int) -> str:
    """Read the whole store in a process of its own."""
    source = str(Path(pinfold.__file__).parent.parent)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", READ, str(path)],
        env={"PYTHONPATH": source, "TMPDIR": scratch, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False, capture_output=True, text=True, **who,  # type: ignore[call-overload]
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    return str(done.stdout).strip()


def listing(path: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time."""
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in path.rglob("*")}


def test_another_user_reads(path: Path) -> None:
    """Somebody who may only read gets every block, and leaves every file as it was."""
    for folder in path.parents:
        if folder.stat().st_uid == 0 and folder != Path("/tmp") and folder != Path("/"):  # noqa: S108
            folder.chmod(folder.stat().st_mode | 0o055)
    before = listing(path)
    assert str(len(DAG.cids)) == read(path, "/tmp", user=NOBODY, group=NOBODY)  # noqa: S108
    assert before == listing(path)


@contextmanager
def read_only(path: Path, at: Path) -> Iterator[None]:
    """The folder once more at `at`, read-only."""
    at.mkdir()
    steps = (["mount", "--bind", str(path), str(at)], ["mount", "-o", "remount,ro,bind", str(at)])
    try:
        for step in steps:
            if subprocess.run(step, check=False, capture_output=True).returncode:  # noqa: S603
                pytest.skip("cannot mount here")
        yield
    finally:
        subprocess.run(["umount", str(at)], check=False, capture_output=True)  # noqa: S603, S607


def test_read_only_media_are_read(path: Path, tmp_path: Path) -> None:
    """On a read-only file system even root reads without any write."""
    with read_only(path, tmp_path / "mounted"):
        assert str(len(DAG.cids)) == read(tmp_path / "mounted", str(tmp_path))
