"""Into Kubo: the same data through pinfold and by `ipfs add -r`, each into a fresh node; restic into its own folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodes import fresh_node, held, used

from measure import stored, timed, warm
from peers import Command, Pinfold, Restic, Tool

if TYPE_CHECKING:
    from pathlib import Path

    from lab.kubo import Node


@dataclass(frozen=True)
class Row:
    """One run.  Wall and CPU seconds of the program, CPU seconds and MB of memory of the node beside it, MB stored."""

    data: str
    tool: str
    wall: float
    cpu: float
    peak: float
    node_cpu: float
    node_memory: float
    stored: float


class _IntoKubo(Pinfold):
    """pinfold with a node as its store."""

    def __init__(self, folder: Path, node: Node) -> None:
        super().__init__(folder)
        self._node = node

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PINFOLD_REPOSITORY": f"kubo+{self._node.api}"}


class _Add(Tool):
    """`ipfs add -r` under the profile of the node, pinned, as it comes."""

    name = "ipfs add"
    version_words = ("ipfs", "version", "--number")

    def __init__(self, folder: Path, node: Node) -> None:
        super().__init__(folder)
        self._node = node

    def environment(self) -> dict[str, str]:
        return super().environment() | {"IPFS_PATH": str(self._node.home), "IPFS_TELEMETRY": "off"}

    def init(self) -> list[Command]:
        return []

    def backup(self, source: Path) -> Command:
        api = f"--api=/ip4/127.0.0.1/tcp/{self._node.api_port}"
        return Command([str(self._node.binary), api, "add", "-r", "-Q", "--hidden", "--progress=false", str(source)])

    def restore(self, source: Path, target: Path) -> Command:
        raise NotImplementedError

    def restore_one(self, source: Path, target: Path, name: str) -> Command:
        raise NotImplementedError


def run(work: Path, sources: dict[str, Path]) -> list[Row]:
    """Measure every source with every tool, pinfold and `ipfs add` in turns."""
    rows: list[Row] = []
    for number, (data, source) in enumerate(sources.items()):
        order = ("pinfold", "ipfs add") if number % 2 else ("ipfs add", "pinfold")
        for name in order:
            with fresh_node(work, "one") as node:
                folder = _empty(work / "tool")
                tool: Tool = _IntoKubo(folder, node) if name == "pinfold" else _Add(folder, node)
                rows.append(_measured(data, tool, source, node))
        folder = _empty(work / "tool")
        rows.append(_measured(data, Restic(folder), source, None))
    return rows


def _measured(data: str, tool: Tool, source: Path, node: Node | None) -> Row:
    for command in tool.prepare():
        timed(tool, command)
    warm(source, contents=True)
    os.sync()
    before = used(node.process.pid) if node else None
    took = timed(tool, tool.backup(source))
    after = used(node.process.pid) if node else None
    row = Row(
        data,
        tool.name,
        took.wall,
        took.cpu,
        took.peak,
        after.cpu - before.cpu if before and after else 0.0,
        after.memory if after else 0.0,
        held(node) if node else stored(tool.repository),
    )
    print(f"{data:10} {tool.name:9} {took.wall:7.2f} s, stored {row.stored:8.1f} MB", flush=True)
    return row


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
