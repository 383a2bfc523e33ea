"""A program: pinfold, which kills itself before its n-th change to the disk.

dying.py N HASTY WORDS...: N counts calls that write, sync, cut, rename or remove, and statements given to a database,
in all threads; with N 0 it lives, and the last line on stderr is how many there were.  With HASTY 1 each look at the
clock is a quarter of an hour after the last.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from itertools import count
from typing import Any

from pinfold import clock
from pinfold.cli import main

WRITING = {"write", "writev", "pwrite", "fsync", "ftruncate", "rename", "replace", "unlink", "rmdir", "mkdir"}
ASKING = {"execute", "executemany", "executescript"}

dies_at, is_hasty, words = int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3:]
changes = count(1)
seen = 0


def before(_frame: object, event: str, function: Any) -> None:  # noqa: ANN401  # any built-in function
    """Count a change about to be made, and die if it is the one."""
    global seen  # noqa: PLW0603  # a program of one page
    if event != "c_call":
        return
    owner = getattr(function, "__self__", None)
    of_system = getattr(owner, "__name__", "") == "posix" and function.__name__ in WRITING
    if of_system or (type(owner).__module__ == "sqlite3" and function.__name__ in ASKING):
        seen = next(changes)
        if seen == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)


if is_hasty:
    seconds = count(0, 1000)
    clock.SystemClock.monotonic = lambda _: float(next(seconds))  # type: ignore[method-assign]
threading.setprofile(before)
sys.setprofile(before)
code = main(words)
sys.setprofile(None)
if not dies_at:
    sys.stderr.write(f"\n{seen}\n")
sys.exit(code)
