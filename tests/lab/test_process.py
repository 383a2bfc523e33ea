"""No program outlives the run that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from lab.process import wait_until

STARTS_TWO = """
import sys
from pathlib import Path
from lab.process import Process
first, second, third = (Process(n, ["sleep", "600"], Path(sys.argv[1]) / n, {}) for n in "abc")
for each in (first, second, third):
    each.begin()
second.kill()
third.pause()
print(first.pid, third.pid, flush=True)
sys.stdin.read()
"""


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for somebody to take note of its end."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_programs_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    """When a run is killed, the programs it still had are killed too, stopped ones as well."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", STARTS_TWO, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        pids = [int(pid) for pid in run.stdout.readline().split()]
        assert [False, False] == [ended(pid) for pid in pids]
        run.send_signal(signal.SIGKILL)
    wait_until(lambda: all(map(ended, pids)), what="the end of the programs")
