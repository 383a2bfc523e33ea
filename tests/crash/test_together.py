"""Two machines and a collection at one store at once, and kill -9 among them."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from crash.cli import Machine, change, grow, kept_blocks, wait
from crash.oracle import Oracle, back_up

if TYPE_CHECKING:
    from pathlib import Path

    from crash.cli import Done

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", range(2))
def test_two_machines_and_a_collector(machine: Machine, tree: Path, tmp_path: Path, seed: int) -> None:
    """Twenty rounds at once, some killed: what lives succeeds, nothing pinned is lost, garbage goes in the end."""
    chance = random.Random(seed)
    other = Machine(machine.store, tmp_path / "other cache")
    grow(tmp_path / "other", chance)
    trees = {tree: machine, tmp_path / "other": other}
    oracles = {place: Oracle(owner, tmp_path, place.name) for place, owner in trees.items()}
    for place, owner in trees.items():
        owner.call(*back_up(place))
        oracles[place].look(place)
    for number in range(20):
        for place in trees:
            change(place, chance)
            # Some files are the same in both, so both may put the same block.
            shared = place / "folder 1" / f"file shared {number}"
            shared.write_bytes(random.Random(number).randbytes(600_000))
        done = at_once(chance, machine, trees)
        for place, oracle in oracles.items():
            new = oracle.look(place, list(oracle.states))
            assert done[place.name].killed or 1 == len(new), done
        if number % 4 == 3:
            for oracle in oracles.values():
                oracle.check_all()
    machine.call("forget", "--keep-last", "1", "--gc")
    for place, oracle in oracles.items():
        oracle.look(place, list(oracle.states))
        assert 1 == len(oracle.states)
        oracle.check_all()
    # Both may have put the same block at the same moment; nothing else is there twice.
    assert {1} <= set(kept_blocks(machine.store).values()) <= {1, 2}


def at_once(chance: random.Random, machine: Machine, trees: dict[Path, Machine]) -> dict[str, Done]:
    """Two backups and forget with its collection; each may be killed.  How they ended, by name."""
    running = {place.name: owner.start(*back_up(place)) for place, owner in trees.items()}
    time.sleep(chance.uniform(0, 0.4))
    running["forget"] = machine.start("forget", "--keep-last", "2", "--gc")
    killed = [process for process in running.values() if chance.random() < 0.4]
    for process in killed:
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
    done = {name: wait(process) for name, process in running.items()}
    for one in done.values():
        assert one.killed or one.code == 0, done
    return done
