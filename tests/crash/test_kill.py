"""kill -9, a few hundred times: no snapshot that was pinned is ever lost, and the next run goes on.

Every state of the tree is remembered; whenever a snapshot appears it must restore to the state of that moment, also
if its run was killed before it could tell.  Delays are drawn from the whole length of a run, and what is asserted
holds for every moment; how many kills hit is of no matter.
"""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest

from crash.cli import CHEAP, Machine, change, grow, kept_blocks, size_of
from engine import listing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from engine import Row

pytestmark = pytest.mark.slow
TARGETS = iter(range(10**9))


class Oracle:
    """What every snapshot must restore to, by its id."""

    def __init__(self, machine: Machine, place: Path) -> None:
        self.machine = machine
        self.place = place
        self.states: dict[str, dict[bytes, Row]] = {}
        self.checkpoints: set[str] = set()

    def look(self, tree: Path, gone: Iterable[str] = ()) -> set[str]:
        """All known snapshots are pinned, save those that may be gone; new ones restore to the tree as it is."""
        found = self.machine.roots()
        fulls = {name for name, (_, kind) in found.items() if kind == "full"}
        lost = self.states.keys() - fulls
        assert lost <= set(gone)
        for name in lost:
            del self.states[name]
        new = fulls - self.states.keys()
        assert len(new) <= 1
        for name in new:
            self.states[name] = listing(tree)
            self.check(found[name][0], self.states[name])
        for name, (root, kind) in found.items():
            if kind == "checkpoint" and name not in self.checkpoints:
                self.checkpoints.add(name)
                self.check_part(root, listing(tree))
        return new

    def check(self, root: str, state: dict[bytes, Row]) -> None:
        """The snapshot restores to exactly this."""
        target = self.place / f"out {next(TARGETS)}"
        assert state == self.machine.restored(root, target)
        shutil.rmtree(target)

    def check_part(self, root: str, state: dict[bytes, Row]) -> None:
        """A checkpoint restores to a part of this."""
        target = self.place / f"out {next(TARGETS)}"
        rows = self.machine.restored(root, target)
        contents = {path: row.content for path, row in rows.items()}
        assert contents.items() <= {path: row.content for path, row in state.items()}.items()
        shutil.rmtree(target)

    def check_all(self) -> None:
        """Every snapshot restores to what it was made of, and every block is sound."""
        for name, (root, kind) in self.machine.roots().items():
            if kind == "full":
                self.check(root, self.states[name])
        assert 0 == self.machine.call("verify", "--read", "--at-rest", "--decrypt", "100")["damage_count"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The tree that is backed up."""
    grow(tmp_path / "tree", random.Random(str(tmp_path.name)))
    return tmp_path / "tree"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a repository."""
    made = Machine(tmp_path / "store", tmp_path / "cache")
    made.call("init", *CHEAP)
    return made


@pytest.fixture
def oracle(machine: Machine, tmp_path: Path) -> Oracle:
    """Nothing known yet."""
    return Oracle(machine, tmp_path)


def back_up(tree: Path) -> tuple[str | Path, ...]:
    """The words of a backup of the tree."""
    return ("backup", tree, "--name", "tree")


@pytest.mark.parametrize("seed", range(4))
def test_backups_killed_at_any_moment(machine: Machine, oracle: Oracle, tree: Path, seed: int, tmp_path: Path) -> None:
    """Fifty killed backups: nothing pinned is lost, and no block is ever stored twice."""
    chance = random.Random(seed)
    length = machine.duration(*back_up(tree))
    oracle.look(tree)
    for number in range(50):
        change(tree, chance)
        machine.kill_after(chance.uniform(0, 1.1 * length), *back_up(tree))
        oracle.look(tree)
        if number % 5 == 4:
            machine.call(*back_up(tree))
            assert len(oracle.look(tree)) == 1
            assert {} == {cid: times for cid, times in kept_blocks(machine.store).items() if times > 1}
        if number % 25 == 24:
            oracle.check_all()
    state = listing(tree)
    machine.call("forget", "--keep-last", "1")
    machine.call("gc")
    (last,) = oracle.look(tree, oracle.states) or oracle.states
    assert {last: state} == oracle.states
    oracle.check_all()
    assert_lean(machine, tree, tmp_path)


def assert_lean(machine: Machine, tree: Path, place: Path) -> None:
    """The repository holds no more than one made from scratch, save what a collection may leave."""
    fresh = Machine(place / "fresh", place / "fresh cache")
    fresh.call("init", *CHEAP)
    fresh.call(*back_up(tree))
    live = machine.call("gc", "--dry-run")["live_bytes"]
    assert live <= 1.1 * fresh.call("gc", "--dry-run")["live_bytes"]
    # Cars of which half is alive are left as they are.
    assert size_of(machine.store) <= 2 * live
    assert {1} == set(kept_blocks(machine.store).values())


@pytest.mark.parametrize("seed", range(2))
def test_collections_killed_at_any_moment(machine: Machine, oracle: Oracle, tree: Path, seed: int) -> None:
    """Thirty killed collections, each with garbage to free: nothing pinned is lost, and the next one frees the rest."""
    chance = random.Random(seed)
    machine.call(*back_up(tree))
    oracle.look(tree)
    length = machine.duration("gc")
    for number in range(30):
        change(tree, chance)
        machine.call(*back_up(tree))
        oracle.look(tree)
        machine.call("forget", "--keep-last", "2")
        oracle.look(tree, sorted(oracle.states))
        assert 2 == len(oracle.states)
        machine.kill_after(chance.uniform(0, length), "gc")
        assert set() == oracle.look(tree)
        if number % 10 == 9:
            oracle.check_all()
            machine.call("gc")
            oracle.check_all()
            assert {1} == set(kept_blocks(machine.store).values())


@pytest.mark.parametrize("seed", range(2))
def test_forgets_killed_at_any_moment(machine: Machine, oracle: Oracle, tree: Path, seed: int) -> None:
    """Thirty killed forgets: what was to be kept stays, and what goes goes whole."""
    chance = random.Random(seed)
    for _ in range(4):
        change(tree, chance)
        machine.call(*back_up(tree))
        oracle.look(tree)
    length = machine.duration("forget", "--keep-last", "3", "--dry-run")
    for number in range(30):
        change(tree, chance)
        machine.call(*back_up(tree))
        (new,) = oracle.look(tree)
        older = [name for name in machine.roots() if name != new]
        machine.kill_after(chance.uniform(0, 1.2 * length), "forget", "--keep-last", "3", "--gc")
        oracle.look(tree, older[:-2])
        if number % 10 == 9:
            oracle.check_all()
    machine.call("forget", "--keep-last", "3", "--gc")
    oracle.look(tree, older)
    assert 3 == len(oracle.states)
    oracle.check_all()
