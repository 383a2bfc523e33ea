"""A cluster of two: how long after the last byte was read a snapshot is safe on both peers."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodes import Clocks, Engine

from lab.cluster import new_cluster
from lab.program import make_template

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Safe:
    """Seconds for the whole backup, and from the last byte read until both copies were proved; MB of files."""

    data: str
    megabytes: float
    whole: float
    after: float
    copies: int


def run(work: Path, sources: dict[str, Path]) -> list[Safe]:
    """Back each source up into a fresh cluster of two peers."""
    rows: list[Safe] = []
    for data, source in sources.items():
        folder = work / "cluster"
        for old in (folder, work / "template"):
            shutil.rmtree(old, ignore_errors=True)
        folder.mkdir(parents=True)
        with new_cluster(2, make_template(work / "template"), folder, replication_min=2, replication_max=2) as cluster:
            where = ",".join(peer.rest for peer in cluster.peers)
            engine = Engine(f"cluster+{where}?min=2&max=2&kubo={cluster.peers[0].node.api}", work / "engine")
            clocks = Clocks()
            started = time.perf_counter()
            made = engine.backup(source, clocks)
            done = time.perf_counter()
            size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file()) / 1e6
            copies = made.status.pinned if made.status else 0
            rows.append(Safe(data, size, done - started, done - clocks.read, copies))
            print(f"{data:10} {rows[-1].whole:6.2f} s, safe on {copies} after {rows[-1].after:5.2f} s", flush=True)
    return rows
