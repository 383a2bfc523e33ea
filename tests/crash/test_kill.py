"""kill -9, a few hundred times: no snapshot that was pinned is ever lost, and the next run goes on.

Every state of the tree is remembered; whenever a snapshot appears it must restore to the state of that moment, also
if its run was killed before it could tell.  Delays are drawn from the whole length of a run, and what is asserted
holds for every moment; how many kills hit is of no matter.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from crash.cli import change, kept_blocks
from crash.keys import Keys
from crash.oracle import assert_lean, back_up
from engine import listing

if TYPE_CHECKING:
    from pathlib import Path

    from crash.cli import Machine
    from crash.oracle import Oracle

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("seed", range(2))
def test_collections_killed_at_any_moment(machine: Machine, oracle: Oracle, tree: Path, seed: int) -> None:
    """Thirty killed collections, each with garbage to free: nothing pinned is lost, and the next one frees the rest."""
    chance = random.Random(seed)
    machine.call(*back_up(tree))
    oracle.look(tree)
    length = machine.duration("gc")
    freed = 0
    for number in range(30):
        change(tree, chance)
        machine.call(*back_up(tree))
        oracle.look(tree)
        machine.call("forget", "--keep-last", "2")
        oracle.look(tree, sorted(oracle.states))
        assert 2 == len(oracle.states)
        machine.kill_after(chance.uniform(0.2, 1) * length, "gc")
        assert set() == oracle.look(tree)
        if number % 10 == 9:
            oracle.check_all()
            freed += machine.call("gc")["freed_blocks"]
            oracle.check_all()
            assert {1} == set(kept_blocks(machine.store).values())
    assert 0 < freed


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


@pytest.mark.parametrize("seed", range(2))
def test_key_changes_killed_at_any_moment(
    machine: Machine, oracle: Oracle, tree: Path, seed: int, tmp_path: Path
) -> None:
    """Twenty killed changes: the old passphrase opens all or the new one does; a finished change leaves only one."""
    chance = random.Random(seed)
    for _ in range(4):
        change(tree, chance)
        machine.call(*back_up(tree))
        oracle.look(tree)
    keys = Keys(machine, tmp_path)
    length = keys.duration()
    for number in range(20):
        words = keys.words(("add", "remove", "passphrase")[number % 3])
        machine.kill_after(chance.uniform(0, length), *words)
        keys.find(words)
        assert set() == oracle.look(tree)
        oracle.check_all()
        if number % 4 == 3:
            keys.settle()
            oracle.check_all()
