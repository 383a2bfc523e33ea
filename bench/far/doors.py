"""The gateway against Kubo's own: the same blocks from the same node, the same client, one process each."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nodes import fresh_node, used

import data
from pinfold import transfer
from pinfold.store import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.kubo import Node

_CLIENTS: Final = 8
_SECONDS: Final = 6.0
_SLOW: Final = 200
_PIECE: Final = 1 << 16


@dataclass(frozen=True)
class Door:
    """A server: blocks of 4 KiB and 1 MiB a second, MB a second of a CAR, MB of memory idle and with slow readers."""

    name: str
    small_blocks: float
    large_blocks: float
    car: float
    idle: float
    slow: float


def run(work: Path, megabytes: int) -> list[Door]:
    """Measure Kubo's gateway, pinfold before the same node, and pinfold on a folder."""
    large, small = work / "doors-large", work / "doors-small"
    data.incompressible(large, megabytes)
    data.incompressible(small, 16)
    doors: list[Door] = []
    with fresh_node(work, "gateway") as node:
        root = node.run("add", "-r", "-Q", "--progress=false", str(large)).decode().strip()
        tiny = node.run("add", "-r", "-Q", "--progress=false", "--chunker=size-4096", str(small)).decode().strip()
        blocks = {name: _leaves(node, cid) for name, cid in (("large", root), ("small", tiny))}
        doors.append(_measured("Kubo", node.gateway, node.process.pid, root, blocks))
        folder = _copied(work, node, (root, tiny))
        for name, where in (("pinfold on the same node", f"kubo+{node.api}"), ("pinfold on a folder", str(folder))):
            with _serving(where) as (url, pid):
                doors.append(_measured(name, url, pid, root, blocks))
    return doors


def _leaves(node: Node, root: str) -> list[str]:
    listed = node.run("refs", "-r", "-u", root).decode().split()
    leaves = [cid for cid in listed if cid.startswith("bafkrei")]
    random.Random("blocks").shuffle(leaves)
    return leaves


def _copied(work: Path, node: Node, roots: tuple[str, ...]) -> Path:
    """The same blocks in a folder store."""
    folder = work / "doors-store"
    shutil.rmtree(folder, ignore_errors=True)
    store = FolderStore.create(folder)
    for root in roots:
        transfer.load_blocks(store, io.BytesIO(node.run("dag", "export", "--progress=false", root)))
    store.close()
    return folder


@contextmanager
def _serving(where: str) -> Iterator[tuple[str, int]]:
    words = [sys.executable, "-m", "pinfold", "serve", "-r", where, "--listen", "127.0.0.1:0", "--json"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None  # noqa: S101  # a pipe was asked for
            told = json.loads(process.stdout.readline())
            yield str(told["listening"][0]).rstrip("/"), process.pid
        finally:
            process.terminate()


def _measured(name: str, url: str, pid: int, root: str, blocks: dict[str, list[str]]) -> Door:
    small = _per_second(url, blocks["small"])[0]
    large, _ = _per_second(url, blocks["large"])
    car = _car(url, root)
    idle = used(pid).memory
    slow = _under_slow_readers(url, root, pid)
    door = Door(name, small, large, car, idle, slow)
    print(
        f"{name:26} {small:7.0f} blocks/s of 4 KiB, {large:6.0f} of 1 MiB, CAR {car:5.0f} MB/s,"
        f" {idle:4.0f} MB, {slow:4.0f} MB under {_SLOW} slow readers",
        flush=True,
    )
    return door


def _connected(url: str) -> tuple[socket.socket, IO[bytes]]:
    parts = urlsplit(url)
    made = socket.create_connection((parts.hostname or "", parts.port or 80), timeout=60)
    return made, made.makefile("rb", buffering=_PIECE)


def _ask(made: socket.socket, path: str) -> None:
    # Kubo looks a host's name up for DNSLink, but no address.
    made.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())


def _taken(file: IO[bytes]) -> int:
    """Read one answer of known length; returns its length.  Raises RuntimeError for any but 200."""
    status = file.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"answered {status!r}")
    length = 0
    while (line := file.readline()) not in {b"\r\n", b""}:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    left = length
    while left:
        left -= len(file.read(min(left, _PIECE)))
    return length


def _per_second(url: str, cids: list[str]) -> tuple[float, float]:
    """Blocks and MB a second over some kept connections."""
    stop = time.perf_counter() + _SECONDS
    done: list[tuple[int, int]] = []

    def work(number: int) -> None:
        made, file = _connected(url)
        count = size = 0
        with made, file:
            while time.perf_counter() < stop:
                _ask(made, f"/ipfs/{cids[(number + count * _CLIENTS) % len(cids)]}?format=raw")
                size += _taken(file)
                count += 1
        done.append((count, size))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(done) < _CLIENTS:
        raise RuntimeError(f"{url} broke off")
    return sum(count for count, _ in done) / _SECONDS, sum(size for _, size in done) / _SECONDS / 1e6


def _car(url: str, root: str) -> float:
    """MB a second of one CAR, with curl: it does nothing with what it reads."""
    words = ["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download} %{time_total}", f"{url}/ipfs/{root}?format=car"]
    best = 0.0
    for _ in range(3):
        size, seconds = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        best = max(best, float(size) / float(seconds) / 1e6)
    return best


def _under_slow_readers(url: str, root: str, pid: int) -> float:
    """The most MB of memory while many readers of a CAR take some KiB and wait."""
    readers = [_connected(url) for _ in range(_SLOW)]
    try:
        for made, _ in readers:
            _ask(made, f"/ipfs/{root}?format=car")
        most = 0.0
        for _ in range(20):
            for made, _ in readers:
                made.recv(8192)
            most = max(most, used(pid).memory)
            time.sleep(0.1)
        return most
    finally:
        for made, file in readers:
            file.close()
            made.close()
