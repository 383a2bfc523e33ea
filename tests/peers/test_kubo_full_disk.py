"""A Kubo node whose disk is full: a small tmpfs, filled by the backup itself and by others."""

from __future__ import annotations

import contextlib
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine import listing, made, noise, rig, write
from pinfold.errors import Full, StoreError
from pinfold.store import Retry
from pinfold.store.address import Address
from pinfold.store.kubo import KuboStore, cars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.kubo import Node

MIB = 1 << 20
SIZE = 24


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MiB, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", place], check=True)
    yield place
    # The node on it is killed before, but the kernel may need a moment to let go of its files.
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def node(disk: Path, node_factory: Callable[..., Node]) -> Node:
    """A node on the small disk."""
    return node_factory(home=disk / "repository")


@pytest.mark.parametrize("batch", [1, 32])
def test_a_full_disk(node: Node, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """The run fails and says why; what was pinned stays whole; with room again the next run ends well."""
    monkeypatch.setattr(cars, "BATCH_BYTES", batch * MIB)
    tree = write(tmp_path / "tree", {"before": noise(0, 2 * MIB)})
    with closing(KuboStore(Address("kubo", (node.api,)))) as store:
        machine = rig(tmp_path / "cache", Retry(store, attempts=2, batch=batch * MIB, sleep=lambda _: None))
        first = made(machine.backup(tree))
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(10 * MIB))
        write(tree, {f"file {number}": noise(number, MIB) for number in range(1, 16)})
        with pytest.raises(Full, match="no space left"):
            machine.backup(tree)
        assert [first.root] == [one.root for one in machine.listed()]
        assert (1, []) == ((report := machine.verify()).snapshots, list(report.damage))
        ballast.unlink()
        node.restart()  # Kubo 0.42 clears away what a broken import left only when it starts
        second = made(machine.backup(tree))
        assert [first.root, second.root] == [one.root for one in machine.listed()]
        assert (2, []) == ((report := machine.verify()).snapshots, list(report.damage))
        machine.restore(second, tmp_path / "out")
        assert listing(tree) == listing(tmp_path / "out")


def fill(file: Path) -> None:
    """Write a file until the disk is full."""
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while out.write(bytes(4096)) == 4096:
            pass


def test_a_disk_that_others_fill_up_to_the_last_byte(node: Node, disk: Path, tmp_path: Path) -> None:
    """Where not even a pin can be written the run fails as well, and a node killed there comes back with its pins."""
    tree = write(tmp_path / "tree", {"before": noise(0, MIB)})
    with closing(KuboStore(Address("kubo", (node.api,)))) as store:
        machine = rig(tmp_path / "cache", Retry(store, attempts=1))
        first = made(machine.backup(tree))
        write(tree, {"small": b"a few bytes"})
        ballast = disk / "ballast"
        fill(ballast)
        with pytest.raises(StoreError):
            machine.backup(tree)
        node.kill()
        ballast.unlink()
        node.start()
        assert (1, []) == ((report := machine.verify()).snapshots, list(report.damage))
        assert first.root in [one.root for one in machine.listed()]
        made(machine.backup(tree))
        assert (2, []) == ((report := machine.verify()).snapshots, list(report.damage))
