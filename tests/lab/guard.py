"""Kills the programs of a test run that ended before it could: by a time limit, a crash, an impatient person.

A shell that lives as long as the run holds the other end of a pipe; when the run is gone, however it went, the pipe
ends and the shell kills what was announced and not taken back.
"""

import atexit
import subprocess
from functools import cache

SCRIPT = """
pids=" "
while read -r sign pid; do
    if [ "$sign" = + ]; then pids="$pids$pid "; else pids="${pids%% $pid *} ${pids#* $pid }"; fi
done
[ -z "${pids# }" ] || kill -9 $pids
"""


def watch(pid: int) -> None:
    """Have a process killed when this run ends."""
    _tell(f"+ {pid}\n")


def let_go(pid: int) -> None:
    """Forget a process: it has ended, and its number may become another's."""
    _tell(f"- {pid}\n")


@cache
def _shell() -> subprocess.Popen[bytes]:
    # A session of its own: an interrupt meant for the run does not reach it.
    shell = subprocess.Popen(["sh", "-c", SCRIPT], stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(shell.communicate)
    return shell


def _tell(line: str) -> None:
    pipe = _shell().stdin
    if pipe is None:
        raise RuntimeError("the shell was started without a pipe")
    pipe.write(line.encode())
    pipe.flush()
