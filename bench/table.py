"""The results as Markdown: medians, ratios to the best peer, and which goals are met and which are not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from rows import PEAK_GOAL, ROWS, STORED_GOAL, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from results import Measured, Results

OURS: Final = "pinfold"
NOTHING: Final = "-"
MARK: Final = "<!-- Below this line all is written by bench/run --write. -->"


class TableError(Exception):
    """The page cannot be written; the message says why."""


@dataclass(frozen=True)
class Goal:
    """A goal for one row: what was reached, in words, and whether that is enough."""

    row: Row
    what: str
    is_met: bool


class Medians:
    """Medians over the rounds, by row and tool."""

    def __init__(self, runs: Iterable[Measured]) -> None:
        self.runs: dict[tuple[str, str], list[Measured]] = {}
        for run in runs:
            self.runs.setdefault((run.row, run.tool), []).append(run)
        self.tools = list(dict.fromkeys(tool for _, tool in self.runs))
        self.rows = [row for row in ROWS.values() if any((row.key, tool) in self.runs for tool in self.tools)]

    def value(self, row: Row, tool: str, figure: str) -> float | None:
        """The median of a figure; None where the tool did not run, or failed."""
        runs = self.runs.get((row.key, tool), [])
        if not runs or any(run.failed for run in runs):
            return None
        return float(median(getattr(run, figure) for run in runs))

    def best(self, row: Row, figure: str) -> tuple[float, str] | None:
        """The smallest of the peers' medians, and whose it is; None where there is no peer."""
        values = [(self.value(row, tool, figure), tool) for tool in self.tools if tool != OURS]
        return min(((value, tool) for value, tool in values if value is not None), default=None)

    def ratio(self, row: Row, figure: str) -> float | None:
        """Ours over the best peer's."""
        ours, best = self.value(row, OURS, figure), self.best(row, figure)
        return ours / best[0] if ours is not None and best is not None and best[0] else None

    def spread(self) -> float:
        """The largest distance between two rounds of the same run, as a part of their median."""
        walls = [[run.wall for run in runs if not run.failed] for runs in self.runs.values()]
        return max(((max(wall) - min(wall)) / median(wall) for wall in walls if len(wall) > 1), default=0.0)


def goals(medians: Medians) -> list[Goal]:
    """All goals that can be judged."""
    judged = []
    for row in medians.rows:
        if (row.key, OURS) not in medians.runs:
            continue
        if medians.value(row, OURS, "wall") is None:
            judged.append(Goal(row, "pinfold failed", is_met=False))
            continue
        if (ratio := medians.ratio(row, "wall")) is not None:
            what = f"{_ratio(ratio)} of the fastest peer's time, the goal is {row.goal:g}"
            judged.append(Goal(row, what, is_met=ratio <= row.goal))
        if row.stores and (ratio := medians.ratio(row, "stored")) is not None:
            what = f"{_ratio(ratio)} of the smallest peer's repository, the goal is {STORED_GOAL:g}"
            judged.append(Goal(row, what, is_met=ratio <= STORED_GOAL))
        peak = medians.value(row, OURS, "peak") or 0.0
        judged.append(Goal(row, f"{peak:,.0f} MB of memory, the goal is {PEAK_GOAL:,.0f}", is_met=peak <= PEAK_GOAL))
    return judged


def markdown(results: Results) -> str:
    """All tables, and what was missed, failed or restored wrongly."""
    medians = Medians(results.runs)
    rounds = len({run.round for run in results.runs})
    parts = [
        _circumstances(results, rounds, medians.spread()),
        "## Wall seconds (CPU seconds, peak MB)",
        _table(medians, medians.rows, "wall", "fastest", lambda row: row.goal, _took),
        "## MB stored after the run (added by it)",
        _table(
            medians, [row for row in medians.rows if row.stores], "stored", "smallest", lambda _: STORED_GOAL, _stored
        ),
        "## Goals",
        _goals(medians),
    ]
    if mishaps := _mishaps(results.runs):
        parts += ["## Failed or restored wrongly", mishaps]
    return "\n\n".join(parts) + "\n"


def written_by_hand(page: Path) -> str:
    """What stands above the mark in a page.  Raises TableError if there is no mark."""
    try:
        head, mark, _ = page.read_text(encoding="utf-8").partition(MARK)
    except OSError as error:
        raise TableError(f"{page}: cannot be read: {error.strerror}") from None
    if not mark:
        raise TableError(f"{page}: has no line {MARK}")
    return head


def write(page: Path, results: Results) -> None:
    """Put the tables below the mark in a page; what is above stays.  Raises TableError if there is no mark."""
    page.write_text(f"{written_by_hand(page)}{MARK}\n\n{markdown(results)}", encoding="utf-8")


def _circumstances(results: Results, rounds: int, spread: float) -> str:
    machine = results.machine
    lines = [
        f"Measured on {results.date}; "
        + (f"medians of {rounds} rounds, which lay up to {spread:.0%} apart." if rounds > 1 else "one round."),
        "- Programs: " + ", ".join(f"{name} {version}" for name, version in results.versions.items()),
        "- Machine: {cores} cores ({processor}), {memory_gb} GB of memory, {kernel}, {filesystem}".format(**machine),
        *(f"- {what[0].upper()}{what[1:]}: {told}" for what, told in results.data.items()),
    ]
    if results.settings["quick"]:
        lines[0] += " **A quick run: its sizes are too small to tell anything.**"
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _table(
    medians: Medians,
    rows: Sequence[Row],
    figure: str,
    best: str,
    goal: Callable[[Row], float],
    cell: Callable[[Medians, Row, str], str],
) -> str:
    tools = medians.tools
    lines = [f"| | {' | '.join(tools)} | pinfold / {best} | goal |", "|---|" + "---:|" * (len(tools) + 1) + "---|"]
    for row in rows:
        ratio = medians.ratio(row, figure)
        judged = NOTHING if ratio is None else f"≤ {goal(row):g}: {'met' if ratio <= goal(row) else '**missed**'}"
        cells = [cell(medians, row, tool) for tool in tools]
        lines.append(
            f"| {row.label} | {' | '.join(cells)} | {NOTHING if ratio is None else _ratio(ratio)} | {judged} |"
        )
    return "\n".join(lines)


def _took(medians: Medians, row: Row, tool: str) -> str:
    wall, cpu, peak = (medians.value(row, tool, figure) for figure in ("wall", "cpu", "peak"))
    if wall is None:
        return _missing(medians, row, tool)
    return f"{_best(medians, row, tool, 'wall', _seconds(wall))} ({_seconds(cpu or 0)}, {peak:,.0f})"


def _stored(medians: Medians, row: Row, tool: str) -> str:
    stored, added = medians.value(row, tool, "stored"), medians.value(row, tool, "added")
    if stored is None or added is None:
        return _missing(medians, row, tool)
    return f"{_best(medians, row, tool, 'stored', f'{stored:,.1f}')} ({added:,.1f})"


def _missing(medians: Medians, row: Row, tool: str) -> str:
    return "failed" if (row.key, tool) in medians.runs else NOTHING


def _best(medians: Medians, row: Row, tool: str, figure: str, text: str) -> str:
    """Bold for the best of all tools."""
    values = [value for one in medians.tools if (value := medians.value(row, one, figure)) is not None]
    is_best = len(values) > 1 and medians.value(row, tool, figure) == min(values)
    return f"**{text}**" if is_best else text


def _goals(medians: Medians) -> str:
    judged = goals(medians)
    missed = [goal for goal in judged if not goal.is_met]
    lines = [f"{len(judged) - len(missed)} of {len(judged)} met" + (". Missed:" if missed else ".")]
    if missed:
        lines += ["", *(f"- {goal.row.label}: {goal.what}" for goal in missed)]
    return "\n".join(lines)


def _mishaps(runs: Iterable[Measured]) -> str:
    told = dict.fromkeys(
        f"- {ROWS[run.row].label}, {run.tool}: {_without_paths(run.failed or run.wrong)}"
        for run in runs
        if run.failed or run.wrong
    )
    return "\n".join(told)


def _without_paths(text: str) -> str:
    """Absolute paths say where the bench ran, which is nobody's matter."""
    return re.sub(r"(?<![\w.-])/[^\s:;,'\"]*/", "…/", text)


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}"
