"""Killed before the n-th change to the disk: where a moment by chance seldom falls, between a pin and the next."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from crash.cli import change, kept_blocks
from crash.keys import Keys
from crash.oracle import back_up

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crash.cli import Machine
    from crash.oracle import Oracle
    from engine import Row

pytestmark = pytest.mark.slow
POINTS = 70


@dataclass
class Prepared:
    """A repository as it is before each kill: put back from a copy."""

    machine: Machine
    oracle: Oracle
    place: Path
    _states: dict[str, dict[bytes, Row]] = field(default_factory=dict)

    def keep(self) -> None:
        """Remember all as it is."""
        shutil.copytree(self.machine.store, self.place / "store before")
        shutil.copytree(self.machine.cache, self.place / "cache before")
        self._states = dict(self.oracle.states)

    def again(self) -> None:
        """As if nothing had happened."""
        for path, before in ((self.machine.store, "store before"), (self.machine.cache, "cache before")):
            shutil.rmtree(path)
            shutil.copytree(self.place / before, path)
        self.oracle.states = dict(self._states)

    def killed(self, *words: str | Path, hasty: bool = False, points: int = POINTS) -> Iterator[int]:
        """The command killed at some points of its way, chosen by chance; and once not killed, which is point 0."""
        self.keep()
        done = self.machine.kill_before(0, *words, hasty=hasty)
        assert done.code == 0, done
        yield 0
        changes = int(done.err.split()[-1])
        chance = random.Random(f"{words[0]} {hasty}")
        for point in sorted(chance.sample(range(1, changes + 1), min(points, changes))):
            self.again()
            done = self.machine.kill_before(point, *words, hasty=hasty)
            # Threads do not take turns alike each time, so a last change may not be reached.
            assert done.killed or done.code == 0, (point, done)
            yield point


@pytest.fixture
def prepared(machine: Machine, oracle: Oracle, tree: Path, tmp_path: Path) -> Prepared:
    """Four snapshots of a tree, which then changed."""
    chance = random.Random(1)
    for _ in range(4):
        change(tree, chance)
        machine.call(*back_up(tree))
        oracle.look(tree)
    change(tree, chance)
    return Prepared(machine, oracle, tmp_path)


@pytest.mark.parametrize("hasty", [False, True], ids=["", "with checkpoints"])
def test_a_backup(prepared: Prepared, tree: Path, hasty: bool) -> None:
    """Whatever is killed before, the next run makes the snapshot and stores no block again."""
    for point in prepared.killed(*back_up(tree), hasty=hasty):
        prepared.oracle.look(tree)
        prepared.machine.call(*back_up(tree))
        assert 1 == len(prepared.oracle.look(tree)), point
        assert {1} == set(kept_blocks(prepared.machine.store).values()), point
        assert {"full"} == {kind for _, kind in prepared.machine.roots().values()}
    prepared.oracle.check_all()


def test_a_collection(prepared: Prepared, tree: Path) -> None:
    """Whatever is killed before, all pinned blocks are there, and the next collection leaves each once."""
    machine, oracle = prepared.machine, prepared.oracle
    for name in ("large", "folder 3/large"):
        (tree / name).unlink()
        machine.call(*back_up(tree))
        oracle.look(tree)
    machine.call("forget", "--keep-last", "1")
    oracle.look(tree, sorted(oracle.states))
    dry = machine.call("gc", "--dry-run")
    assert 5_000_000 < dry["freed_bytes"]
    assert 0 < dry["live_bytes"]
    sizes = set()
    for point in prepared.killed("gc", points=40):
        assert set() == oracle.look(tree), point
        oracle.check_all()
        machine.call("gc")
        oracle.check_all()
        kept = kept_blocks(machine.store)
        assert {1} == set(kept.values()), point
        sizes.add(len(kept))
    # A car killed between its listing and its root is listed anew; the first listing stays in it.
    assert max(sizes) - min(sizes) <= 1


def test_a_forget(prepared: Prepared, tree: Path) -> None:
    """Whatever is killed before, what was to be kept is, and doing it again ends as if nothing had happened."""
    machine, oracle = prepared.machine, prepared.oracle
    names = list(machine.roots())
    for point in prepared.killed("forget", "--keep-last", "2", "--gc"):
        oracle.look(tree, names[:2])
        machine.call("forget", "--keep-last", "2", "--gc")
        oracle.look(tree, names[:2])
        assert set(names[2:]) == oracle.states.keys(), point
    oracle.check_all()


@pytest.mark.parametrize("kind", ["add", "remove", "passphrase"])
def test_a_key_change(prepared: Prepared, tree: Path, tmp_path: Path, kind: str) -> None:
    """Whatever is killed before, a passphrase that is known opens all; the next change shuts out what it should."""
    machine, oracle = prepared.machine, prepared.oracle
    keys = Keys(machine, tmp_path)
    machine.call(*keys.words("add"))
    machine.call(*back_up(tree))
    oracle.look(tree)
    first = machine.passphrase
    words = keys.words(kind)
    for point in prepared.killed(*words):
        keys.find(words)
        assert set() == oracle.look(tree), point
        keys.settle()
        oracle.check_all()
        machine.passphrase = first
