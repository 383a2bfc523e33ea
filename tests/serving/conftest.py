"""The server of demo doors as a process, and raw connections to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
import urllib3

import pinfold
from lab.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEMO = Path(__file__).with_name("demo.py")
SECONDS = 30.0


class Wire:
    """A connection on which bytes are written as they stand."""

    def __init__(self, port: int, buffer: int = 0) -> None:
        """`buffer`: how much the system keeps for a reader that does not read; 0: as it likes."""
        self.socket = socket.socket()
        self.socket.settimeout(SECONDS)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def send(self, text: bytes) -> Self:
        """Write."""
        self.socket.sendall(text)
        return self

    def ask(self, target: str, method: str = "GET") -> Self:
        """Ask with the shortest head there is."""
        return self.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    def until(self, mark: bytes) -> bytes:
        """What came up to `mark`, or up to the end."""
        found = b""
        while mark not in found and (data := self.read(65536)):
            found += data
        return found

    def read(self, most: int) -> bytes:
        """What is there, b"" at the end; being thrown out is an end too."""
        try:
            return self.socket.recv(most)
        except ConnectionResetError:
            return b""

    def rest(self) -> bytes:
        """Everything up to the end."""
        found = b""
        while data := self.read(1 << 20):
            found += data
        return found


class Running:
    """A server that runs."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.log_file = folder / "log"
        environment = dict(os.environ, PYTHONPATH=str(Path(pinfold.__file__).parent.parent))
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        assert self.said, self.log_file.read_text()
        self.urls = re.findall(r"https?://[^\s\",]+", self.said)
        self.port = int(self.urls[0].rpartition(":")[2])
        self.pool = urllib3.PoolManager(retries=False, timeout=SECONDS)

    def ask(self, target: str, method: str = "GET", **more: Any) -> urllib3.BaseHTTPResponse:  # noqa: ANN401
        """A whole answer."""
        return self.pool.request(method, self.urls[0] + target, **more)

    def wire(self, buffer: int = 0) -> Wire:
        """A raw connection."""
        return Wire(self.port, buffer)

    def figure(self, name: str) -> float:
        """One line of the metrics."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.ask("/metrics").data.decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    @property
    def megabytes(self) -> float:
        """Memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self.log_file.read_text(encoding="utf-8").splitlines()]

    def logged(self, **wanted: object) -> dict[str, Any]:
        """The first line with all of these, as soon as it comes."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [line for line in self.log if wanted.items() <= line.items()]
            return bool(found)

        wait_until(there, seconds=SECONDS, what=f"{wanted} in the log")
        return found[0]

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell it to stop."""
        self.process.send_signal(number)

    def ended(self) -> tuple[int, str]:
        """Wait for its end: the exit code and the last it said."""
        said = self.process.communicate(timeout=SECONDS)[0]
        return self.process.returncode, said.strip()

    def close(self) -> None:
        """End it, however it is."""
        self.pool.clear()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=SECONDS)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start servers with these limits, and other settings of the demo."""
    started: list[Running] = []

    def run(settings: dict[str, Any] | None = None, **limits: float) -> Running:
        command = [sys.executable, str(DEMO), json.dumps({"limits": limits} | (settings or {}))]
        started.append(Running(tmp_path, command))
        return started[-1]

    yield run
    for one in started:
        one.close()


@pytest.fixture
def server(start: Callable[..., Running]) -> Running:
    """One with the usual limits."""
    return start()
