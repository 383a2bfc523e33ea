"""A restore over a link of 50 ms there and back, from a node behind a proxy that delays."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nodes import Clocks, Engine, fresh_node

import check
from lab.proxy import Proxy
from measure import RunFailedError, timed
from peers import Command, Pinfold

if TYPE_CHECKING:
    from pathlib import Path

    from lab.kubo import Node

ROUND_TRIP: Final = 0.050


@dataclass(frozen=True)
class Restored:
    """One restore: MB of files, wall and CPU seconds, MB of memory, the most requests under way at once."""

    data: str
    way: str
    megabytes: float
    wall: float
    cpu: float
    peak: float
    at_once: int

    @property
    def speed(self) -> float:
        """MB of files a second."""
        return self.megabytes / self.wall


class _Far(Pinfold):
    """pinfold with only a CID, a passphrase and an address."""

    def __init__(self, folder: Path, where: str, root: str) -> None:
        super().__init__(folder)
        self._where = where
        self._root = root

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PINFOLD_REPOSITORY": self._where}

    def restore(self, source: Path, target: Path) -> Command:  # noqa: ARG002  # the snapshot is named by its root
        return Command(["pinfold", "restore", "-q", self._root, str(target)])


def run(work: Path, sources: dict[str, Path]) -> list[Restored]:
    """Restore each source through a gateway and through RPC, near and far."""
    rows: list[Restored] = []
    for data, source in sources.items():
        with fresh_node(work, "link") as node:
            engine = Engine(f"kubo+{node.api}", work / "engine")
            made = engine.backup(source, Clocks())
            assert made.snapshot is not None  # noqa: S101  # it was not to be passed over
            root = str(made.snapshot.root)
            ways = ("gateway, near", "gateway, 50 ms", "RPC, 50 ms")
            rows += [_measured(work, data, source, way, node, root) for way in ways]
    return rows


def _measured(work: Path, data: str, source: Path, way: str, node: Node, root: str) -> Restored:
    delay = 0.0 if "near" in way else ROUND_TRIP / 2
    with Proxy(_address(node, way), latency=delay) as proxy:
        where = f"{'gateway' if 'gateway' in way else 'kubo'}+{proxy.url}"
        tool = _Far(_empty(work / "far"), where, root)
        (tool.folder / "passphrase").write_text("correct horse battery staple\n", encoding="utf-8")
        tool.home.mkdir()
        target = work / f"restored-{time.monotonic_ns()}"
        target.mkdir()
        os.sync()
        took = timed(tool, tool.restore(source, target))
        wrong = check.fully(source, target)
        if wrong:
            raise RunFailedError(f"{data}, {way}: restored wrongly: {wrong}")
        size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file()) / 1e6
        row = Restored(data, way, size, took.wall, took.cpu, took.peak, proxy.counts.most_in_flight)
    shutil.rmtree(target)
    print(
        f"{data:10} {way:16} {row.speed:6.1f} MB/s, {row.at_once} requests at once, peak {row.peak:.0f} MB", flush=True
    )
    return row


def _address(node: Node, way: str) -> str:
    return node.gateway if "gateway" in way else node.api


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
