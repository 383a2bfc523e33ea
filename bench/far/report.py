"""The bench of real IPFS from its command line to its tables, which go between two marks of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import data
import postgres
from results import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
BEGIN: Final = "<!-- Between this line and the next mark all is written by bench/far/run --write. -->"
END: Final = "<!-- Here ends what bench/far/run --write writes. -->"
PARTS: Final = ("into", "days", "doors", "link", "pair")

Table = list[dict[str, Any]]


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit code."""
    options = _options(words)
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    file = work / "far.json"
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for part in options.parts:
        told[part] = _RUNS[part](work, options)
        told["date"] = datetime.now(UTC).date().isoformat()
        told["machine"] = machine(work)
        file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    page = markdown(told)
    print("\n" + page)
    if options.write:
        write(options.write, page)
    shutil.rmtree(work / "nodes", ignore_errors=True)
    return 0


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/far/run", description="Measure pinfold with real IPFS nodes.")
    add = parser.add_argument
    add("--parts", type=lambda text: text.split(","), default=list(PARTS), help=f"of {','.join(PARTS)}")
    add("--tree", type=Path, default=Path("/usr/share"), metavar="DIR", help="a tree; it is only read [/usr/share]")
    add("--dump-mb", type=int, default=800, metavar="MB", help="size of the database dump [800]")
    add("--days", type=int, default=300, help="daily snapshots [300]")
    add("--files", type=int, default=3000, help="files of the tree that changes daily [3000]")
    add("--work", type=Path, default=_ROOT / "build" / "bench", metavar="DIR", help="where all happens [build/bench]")
    add("--write", type=Path, metavar="FILE", help="put the tables into this page, between its marks")
    options = parser.parse_args(words)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{unknown.pop()!r} is none of {','.join(PARTS)}")
    return options


def _sources(work: Path, options: argparse.Namespace) -> dict[str, Path]:
    """A dump and a tree."""
    dumps = work / "data" / "dumps"
    postgres.dumps(dumps / "first", dumps / "second", options.dump_mb)
    dump = work / "data" / "dump-alone"
    if not dump.exists():
        dump.mkdir()
        shutil.copyfile(dumps / "first", dump / "database.dump")
    tree = work / "data" / "tree-far"
    data.tree(options.tree.resolve(), tree)
    return {"dump": dump, "tree": tree}


def _into(work: Path, options: argparse.Namespace) -> Table:
    import into_kubo  # noqa: PLC0415  # each part alone

    return [asdict(row) for row in into_kubo.run(work, _sources(work, options))]


def _days(work: Path, options: argparse.Namespace) -> dict[str, Table]:
    import days  # noqa: PLC0415  # each part alone

    after, unpinned = days.run(work, options.days, options.files)
    return {"after": [asdict(row) for row in after], "unpinned": [asdict(row) for row in unpinned]}


def _doors(work: Path, options: argparse.Namespace) -> Table:
    import doors  # noqa: PLC0415  # each part alone

    return [asdict(row) for row in doors.run(work, min(200, options.dump_mb))]


def _link(work: Path, options: argparse.Namespace) -> Table:
    import link  # noqa: PLC0415  # each part alone

    return [asdict(row) | {"speed": row.speed} for row in link.run(work, _sources(work, options))]


def _pair(work: Path, options: argparse.Namespace) -> Table:
    import pair  # noqa: PLC0415  # each part alone

    return [asdict(row) for row in pair.run(work, _sources(work, options))]


_RUNS: Final[dict[str, Callable[[Path, argparse.Namespace], Any]]] = {
    "into": _into,
    "days": _days,
    "doors": _doors,
    "link": _link,
    "pair": _pair,
}


def markdown(told: dict[str, Any]) -> str:
    """All tables that there are figures for."""
    where = told["machine"]
    machine_told = f"{where['cores']} cores ({where['processor']}), {where['memory_gb']} GB of memory"
    lines = [
        f"Measured on {told['date']}; {machine_told}, {where['kernel']}, {where['filesystem']}.",
        "Kubo 0.42.0 with flatfs and the profile unixfs-v1-2025, IPFS Cluster 1.1.6; one run, all on this machine.",
        "",
    ]
    if "into" in told:
        lines += ["### Into Kubo", ""]
        lines += _table(
            ["data", "tool", "wall s", "CPU s", "peak MB", "node's CPU s", "node's MB", "stored MB"], "ll", told["into"]
        )
    if "days" in told:
        lines += ["### Daily snapshots, all pinned", ""]
        lines += _table(["day", "tool", "a day s", "of it pin s", "node MB", "stored MB"], "rl", told["days"]["after"])
        lines += _table(["tool", "unpin one of the oldest, s"], "l", told["days"]["unpinned"])
    if "doors" in told:
        lines += ["### Gateways", ""]
        lines += _table(
            ["gateway", "4 KiB blocks/s", "1 MiB blocks/s", "CAR MB/s", "idle MB", "MB, 200 slow readers"],
            "l",
            told["doors"],
        )
    if "link" in told:
        lines += ["### Restore over a link", ""]
        lines += _table(["data", "way", "MB", "wall s", "CPU s", "peak MB", "most at once", "MB/s"], "ll", told["link"])
    if "pair" in told:
        lines += ["### A cluster of two", ""]
        lines += _table(["data", "MB", "whole backup s", "safe after the last byte s", "copies"], "l", told["pair"])
    return "\n".join(lines)


def _table(heads: list[str], left: str, rows: Table) -> list[str]:
    aligned = ["---:" if at >= len(left) or left[at] == "r" else "---" for at in range(len(heads))]
    lines = ["| " + " | ".join(heads) + " |", "|" + "|".join(aligned) + "|"]
    lines += ["| " + " | ".join(map(_figure, row.values())) + " |" for row in rows]
    return [*lines, ""]


def _figure(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3f}" if value < 1 else f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def write(page: Path, tables: str) -> None:
    """Put the tables between the marks of the page."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"bench: {page}: has not the two marks {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}", encoding="utf-8")
