"""A real program running beside the tests: started, waited for, stopped, killed, stalled, and never left behind."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab import guard

# A slow machine takes 50 times what a fast one takes (0.1 s for Kubo, 0.4 s for Cluster).
START_SECONDS = 30.0
STOP_SECONDS = 30.0
STEP = 0.01
# Below the range the system gives to outgoing connections, so that a port stays free while its program is down.
PORTS = range(20_000, 32_000)
LOG_TAIL = 4000


class NotReadyError(Exception):
    """A program did not become ready; the message carries the end of its log."""


def wait_until(condition: Callable[[], object], *, seconds: float = START_SECONDS, what: str = "the condition") -> None:
    """Return once condition() is true; raises TimeoutError naming what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(STEP)


class Ports:
    """TCP ports of 127.0.0.1 that are this process's own, whether a program listens on them or not.

    Two workers must not choose the same port. A UDP socket bound to the same number is the sign that one is taken: the
    system gives it up however the worker ends.
    """

    def __init__(self) -> None:
        self._held: list[int] = []
        self._next = os.getpid() * 37

    def take(self) -> int:
        """Return a port nobody listens on, and keep it from other workers till this process ends."""
        for _ in PORTS:
            self._next += 1
            port = PORTS[self._next % len(PORTS)]
            with contextlib.suppress(OSError):
                return self._reserve(port)
        raise OSError("no free port on 127.0.0.1")

    def _reserve(self, port: int) -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("127.0.0.1", port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.bind(("127.0.0.1", port))
                self._held.append(udp.detach())
        return port


free_port = Ports().take


class Process:
    """One program with a log; it can be started again after it ended."""

    def __init__(self, name: str, command: Sequence[str | Path], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.command = list(command)
        self.env = dict(env)
        self.log_file = log
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended; a paused one runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process ID, as for /proc/PID/status; raises RuntimeError when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """The end of what it said, over all its starts."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:] if self.log_file.exists() else ""

    def launch(self, ready: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Start it and return once ready() is true; raises NotReadyError with its log, and then it does not run."""
        self.begin()
        self.wait(ready, seconds=seconds)

    def begin(self) -> None:
        """Start it, and do not wait till it is ready."""
        if self.running:
            raise RuntimeError(f"{self.name} is running already")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt of the test run is handled by the fixtures, in their order
            )
        guard.watch(self._process.pid)

    def wait(self, ready: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Return once ready() is true; raises NotReadyError with its log, and then it does not run."""
        try:
            wait_until(lambda: not self.running or ready(), seconds=seconds, what=self.name)
        except TimeoutError as late:
            self.kill()
            raise NotReadyError(f"{late}; its log ends so:\n{self.log}") from late
        if not self.running:
            raise NotReadyError(f"{self.name} ended at once; its log ends so:\n{self.log}")

    def stop(self) -> None:
        """SIGTERM, and wait for its end; does nothing when it does not run. Raises TimeoutError after 30 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait for its end; does nothing when it does not run."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the system, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = True
        # The threads of a busy program stop one after the other, and one that still runs may answer.
        wait_until(lambda: thread_states(self.pid) == {"T"}, what=f"{self.name} to stop")

    def resume(self) -> None:
        """SIGCONT; does nothing when it was not paused."""
        if self._paused and self.running:
            os.kill(self.pid, signal.SIGCONT)
        self._paused = False

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(with_signal)
            if self._paused:
                process.send_signal(signal.SIGCONT)  # a stopped process gets its SIGTERM only then
        self._paused = False
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise TimeoutError(f"{self.name} did not stop within {STOP_SECONDS:g} s of {with_signal.name}") from None
        finally:
            guard.let_go(process.pid)


def thread_states(pid: int) -> set[str]:
    """Return the states of a process's threads, as letters of proc(5): "T" for stopped."""
    states = set()
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            states.add(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0])
    return states


def accepts(port: int) -> bool:
    """Whether somebody listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
