"""No room: one clear line, nothing pinned is lost, and with room made the work goes on."""

from __future__ import annotations

import random
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from crash.cli import CHEAP, Machine, change, grow, kept_blocks
from crash.oracle import Oracle, back_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Mount = Callable[[Path, str], None]

pytestmark = pytest.mark.slow


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts a small file system, or changes the size of one that is mounted."""
    with ExitStack() as mounted:

        def mount(place: Path, size: str) -> None:
            options = f"size={size}"
            if place.is_mount():
                subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)
                return
            place.mkdir(parents=True, exist_ok=True)
            command = ["mount", "-t", "tmpfs", "-o", options, "none", place]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("only root may mount a file system")
            mounted.callback(subprocess.run, ["umount", "-l", place], check=True)

        yield mount


def fill(machine: Machine, oracle: Oracle, tree: Path, chance: random.Random) -> None:
    """Back up until there is no room, which is told in one line that names the place."""
    for number in range(100):
        (tree / f"file more {number % 8}").write_bytes(chance.randbytes(700_000))
        done = machine.run(*back_up(tree))
        if done.code:
            assert 1 == done.code, done
            assert "no room left" in done.err
            assert str(machine.store) in done.err
            assert "Traceback" not in done.err
            assert set() == oracle.look(tree)
            return
        assert 1 == len(oracle.look(tree))
    pytest.fail("there was room for all")


def test_a_full_store_that_is_given_more_room(tmp_path: Path, tree: Path, mount: Mount) -> None:
    """Backups fail with a line that says where; the earlier ones restore; on a larger disk the next succeeds."""
    mount(tmp_path / "disk", "16m")
    machine = Machine(tmp_path / "disk" / "store", tmp_path / "cache")
    oracle = Oracle(machine, tmp_path)
    machine.call("init", *CHEAP)
    fill(machine, oracle, tree, random.Random(1))
    oracle.check_all()
    assert 1 == machine.run(*back_up(tree)).code
    oracle.check_all()
    mount(tmp_path / "disk", "40m")
    machine.call(*back_up(tree))
    assert 1 == len(oracle.look(tree))
    oracle.check_all()
    assert {1} == set(kept_blocks(machine.store).values())


def test_a_full_store_from_which_something_is_forgotten(tmp_path: Path, tree: Path, mount: Mount) -> None:
    """On the full disk itself snapshots can be forgotten and their blocks freed; then there is room again."""
    mount(tmp_path / "disk", "24m")
    machine = Machine(tmp_path / "disk" / "store", tmp_path / "cache")
    oracle = Oracle(machine, tmp_path)
    machine.call("init", *CHEAP)
    machine.call(*back_up(tree))
    oracle.look(tree)
    for name in ("large", "folder 3/large"):
        (tree / name).unlink()
    chance = random.Random(2)
    fill(machine, oracle, tree, chance)
    for path in tree.glob("file more *"):
        path.unlink()
    machine.call("forget", "--keep-last", "1", "--gc")
    oracle.look(tree, list(oracle.states))
    assert 1 == len(oracle.states)
    change(tree, chance)
    machine.call(*back_up(tree))
    assert 1 == len(oracle.look(tree))
    oracle.check_all()


@pytest.mark.parametrize("size", ["4k", "16k", "64k", "256k"])
def test_a_cache_without_room(machine: Machine, tmp_path: Path, mount: Mount, size: str) -> None:
    """A cache that cannot be kept costs time only: backups succeed, and store no block twice."""
    mount(machine.cache, size)
    chance = random.Random(3)
    oracle = Oracle(machine, tmp_path)
    grow(tmp_path / "tree", chance)
    for number in range(400):
        (tmp_path / "tree" / f"a rather long name of a file, to fill the index with {number}").write_bytes(b"")
    for _ in range(4):
        change(tmp_path / "tree", chance)
        done = machine.run(*back_up(tmp_path / "tree"))
        assert (0, "") == (done.code, done.err)
        assert 1 == len(oracle.look(tmp_path / "tree"))
    oracle.check_all()
    assert {1} == set(kept_blocks(machine.store).values())
