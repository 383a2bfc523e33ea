"""Hundreds of daily snapshots of a changing tree, all pinned: how a day's work grows with their number.

Each day 1 % of the files change.  pinfold saves the tree into one node; another one gets it by `ipfs add` and, as a
step of its own, `pin add`.  In the end the oldest pins go, one by one.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nodes import Clocks, Engine, fresh_node, held, used

import data
from pinfold import catalogue, wiring

if TYPE_CHECKING:
    from pathlib import Path

    from lab.kubo import Node

_AVERAGED: Final = 10


@dataclass(frozen=True)
class Day:
    """How it stands after so many days; seconds are means over the last ten days, memory and size are MB."""

    number: int
    tool: str
    whole: float
    pin: float
    memory: float
    stored: float


@dataclass(frozen=True)
class Unpinned:
    """Seconds to unpin one of the oldest snapshots, the mean of ten."""

    tool: str
    seconds: float


def run(work: Path, count: int, files: int) -> tuple[list[Day], list[Unpinned]]:
    """Measure `count` days of a tree of `files` small files."""
    source = work / "days"
    shutil.rmtree(source, ignore_errors=True)
    data.small_files(source, files)
    tree = data.Tree(str(source), files, 0.0)
    days: list[Day] = []
    with fresh_node(work, "pinfold") as ours, fresh_node(work, "added") as theirs:
        engine = Engine(f"kubo+{ours.api}", work / "engine")
        told: dict[str, list[tuple[float, float]]] = {"pinfold": [], "ipfs add": []}
        roots: list[str] = []
        for number in range(1, count + 1):
            data.change(source, tree)
            told["pinfold"].append(_ours(engine, source))
            told["ipfs add"].append(_theirs(theirs, source, roots))
            if number in {_AVERAGED, count // 3, 2 * count // 3, count}:
                days += [
                    _day(number, tool, told[tool][-_AVERAGED:], node)
                    for tool, node in (("pinfold", ours), ("ipfs add", theirs))
                ]
        return days, [Unpinned("pinfold", _unpin_ours(engine)), Unpinned("ipfs add", _unpin_theirs(theirs, roots))]


def _ours(engine: Engine, source: Path) -> tuple[float, float]:
    clocks = Clocks()
    started = time.perf_counter()
    engine.backup(source, clocks)
    return time.perf_counter() - started, sum(clocks.pins)


def _theirs(node: Node, source: Path, roots: list[str]) -> tuple[float, float]:
    started = time.perf_counter()
    root = node.run("add", "-r", "-Q", "--pin=false", "--progress=false", str(source)).decode().strip()
    added = time.perf_counter()
    node.rpc("pin/add", arg=root, name=f"day-{len(roots)}")
    roots.append(root)
    done = time.perf_counter()
    return done - started, done - added


def _day(number: int, tool: str, last: list[tuple[float, float]], node: Node) -> Day:
    whole, pin = (sum(column) / len(last) for column in zip(*last, strict=True))
    row = Day(number, tool, whole, pin, used(node.process.pid).memory, held(node))
    print(f"day {number:3} {tool:9} {whole:6.2f} s, of it pin {pin:6.3f} s, node {row.memory:5.0f} MB", flush=True)
    return row


def _unpin_ours(engine: Engine) -> float:
    with wiring.opened(engine.settings) as found:
        oldest = catalogue.listed(found.store, found.repository)[:_AVERAGED]
        started = time.perf_counter()
        for one in oldest:
            found.store.unpin([one.root])
        return (time.perf_counter() - started) / len(oldest)


def _unpin_theirs(node: Node, roots: list[str]) -> float:
    started = time.perf_counter()
    for root in dict.fromkeys(roots[:_AVERAGED]):
        node.rpc("pin/rm", arg=root)
    return (time.perf_counter() - started) / len(set(roots[:_AVERAGED]))
