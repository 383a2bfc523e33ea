"""Asked to stop: soon, with the exit code that says so, and with nothing lost."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from crash.cli import change
from crash.oracle import back_up

if TYPE_CHECKING:
    from pathlib import Path

    from crash.cli import Machine
    from crash.oracle import Oracle

pytestmark = pytest.mark.slow
SOON = 10


@pytest.mark.parametrize(("how", "codes"), [(signal.SIGINT, {130, -2}), (signal.SIGTERM, {143, -15})])
def test_a_backup_asked_to_stop(
    machine: Machine, oracle: Oracle, tree: Path, how: signal.Signals, codes: set[int]
) -> None:
    """Whenever it is asked, a backup stops at once or is done; it shows no trace, and the next goes on."""
    chance = random.Random(how)
    length = machine.duration(*back_up(tree))
    oracle.look(tree)
    for _ in range(40):
        change(tree, chance)
        delay = chance.uniform(0, 1.1 * length)
        began = time.monotonic()
        done = machine.end_after(delay, how, *back_up(tree))
        assert time.monotonic() - began < delay + SOON
        # While Python itself is starting or ending, nobody is there to be polite: an interrupt within the
        # making of a class then even comes out as another error, and the exit code is 1.
        polite = "Traceback" not in done.err
        ours = "in main\n" in done.err
        assert polite or not ours, (delay, length, done)
        assert done.code in ({0, *codes} if polite else {0, 1, *codes}), (delay, length, done)
        new = oracle.look(tree)
        assert done.code != 0 or 1 == len(new)
    machine.call(*back_up(tree))
    oracle.look(tree)
    oracle.check_all()
