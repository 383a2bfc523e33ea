"""The results file: what was measured, on what, with what; written anew after each run.

Crash rule: it is replaced by renaming, so it is whole at any time; a round that was cut off is left out when a bench
is resumed.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class ResultsError(Exception):
    """The results of an earlier bench cannot be gone on with; the message says why."""


@dataclass(frozen=True)
class Measured:
    """One run of a tool.  Seconds and MB; `failed` and `wrong` say what went wrong, if anything did."""

    row: str
    tool: str
    round: int
    wall: float = 0.0
    cpu: float = 0.0
    peak: float = 0.0
    stored: float = 0.0
    added: float = 0.0
    failed: str = ""
    wrong: str = ""


@dataclass
class Results:
    """All runs of a bench.  `settings`: what must be the same for runs to be compared."""

    settings: Mapping[str, Any]
    versions: dict[str, str]
    machine: Mapping[str, Any]
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    data: dict[str, str] = field(default_factory=dict)
    runs: list[Measured] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Replace the file."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        part.replace(path)

    def go_on_with(self, path: Path) -> None:
        """Take the runs of an earlier bench.  Raises ResultsError if they cannot be compared with new ones."""
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            runs = [Measured(**run) for run in earlier["runs"]]
            same = {
                "settings": (dict(self.settings), earlier["settings"]),
                "machine": (dict(self.machine), earlier["machine"]),
                "versions": (self.versions, self.versions | _shared(earlier["versions"], self.versions)),
            }
            versions, data, date = dict(earlier["versions"]), dict(earlier["data"]), str(earlier["date"])
        except FileNotFoundError:
            return
        except (KeyError, TypeError, ValueError):
            raise ResultsError(f"{path}: holds no results; run without --resume") from None
        for what, (now, then) in same.items():
            if now != then:
                raise ResultsError(f"{path}: other {what} ({then}) than now ({now}); run without --resume")
        self.runs, self.data, self.date = runs, data, date
        self.versions = versions | self.versions

    def has(self, rows: Sequence[str], tools: Sequence[str], number: int) -> bool:
        """Whether a round is complete."""
        done = {(run.row, run.tool) for run in self.runs if run.round == number}
        return done >= {(row, tool) for row in rows for tool in tools}

    def drop(self, rows: Sequence[str], number: int) -> None:
        """Forget a round, to run it anew."""
        self.runs = [run for run in self.runs if run.round != number or run.row not in rows]


def machine(folder: Path) -> dict[str, Any]:
    """What figures depend on besides the programs: processor, memory, kernel, the file system of `folder`."""
    return {
        "cores": os.cpu_count(),
        "processor": _said("/proc/cpuinfo", "model name") or platform.machine(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem": _filesystem(folder),
    }


def _filesystem(folder: Path) -> str:
    """Its type, found by the mount point nearest above."""
    try:
        with open("/proc/mounts", encoding="utf-8") as lines:  # noqa: PTH123  # the kernel's, no path of ours
            mounts = [line.split(" ")[1:3] for line in lines]
    except OSError:
        return "unknown"
    above = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above, default=(0, "unknown"), key=lambda one: one[0])[1]


def _said(path: str, key: str) -> str:
    try:
        with open(path, encoding="utf-8") as lines:  # noqa: PTH123  # as above
            return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
    except OSError:
        return ""


def _shared(then: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    return {name: version for name, version in then.items() if name in now}
