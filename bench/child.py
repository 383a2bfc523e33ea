"""Run a program and tell what it took: `python -I -S child.py LOG PROGRAM ARGUMENT...`.

Prints its exit code, wall seconds, CPU seconds and peak memory in bytes.  A process of its own, and a small one: the
kernel counts the peak of whoever starts a program into the program's (17 MB became 166 after the bench had held 150).
"""

import os
import subprocess
import sys
import time


def main() -> None:
    """Run it with all it says in the log."""
    log, *words = sys.argv[1:]
    with open(log, "wb") as said:  # noqa: PTH123  # pathlib would take 2 MB
        started = time.perf_counter()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.wait()  # it was told, too: both stand before the same terminal
            raise
        wall = time.perf_counter() - started
    code = process.returncode = os.waitstatus_to_exitcode(status)
    print(code, wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


if __name__ == "__main__":
    main()
