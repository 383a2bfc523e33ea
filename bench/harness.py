"""The bench from its command line to its table: round for round, row for row, the tools in turn."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import check
import data
import estimate
import peers
import postgres
import table
from measure import Disk, RunFailedError, stored, timed, warm
from results import Measured, Results, ResultsError, machine
from rows import ALONE, GROUPS, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers import Tool
    from rows import Row

_ROOT: Final = Path(__file__).resolve().parent.parent
_FEWEST_FILES: Final = 80_000


@dataclass(frozen=True)
class Sizes:
    """How much is measured; MB and files."""

    tree: str
    dump_mb: int
    data_mb: int
    million: int
    rounds: int


_FULL: Final = Sizes("/usr", dump_mb=800, data_mb=4000, million=1_000_000, rounds=3)
_QUICK: Final = Sizes("/usr/share/doc", dump_mb=20, data_mb=64, million=5000, rounds=1)


class Bench:
    """A bench under way."""

    def __init__(self, work: Path, sizes: Sizes, results: Results, kinds: Sequence[type[Tool]]) -> None:
        self.work = work
        self.sizes = sizes
        self.results = results
        self.kinds = kinds
        self.sources = {name: work / "data" / name for name in GROUPS}
        self.live = work / "live"
        self.name = ""  # of the file that is restored alone
        self.tree: data.Tree | None = None
        self.disk: Disk | None = None

    def run(self, groups: Sequence[str]) -> None:
        """Run what is not in the results yet."""
        missing = [
            (group, number)
            for group in groups
            for number in range(1, self.sizes.rounds + 1)
            if not self.results.has([row.key for row in GROUPS[group]], self._tools(group), number)
        ]
        if not missing:
            return
        for group in dict.fromkeys(group for group, _ in missing):
            self._make(group)
        self.disk = Disk(self.live)
        for group, number in missing:
            self.disk.remove(sorted(self.live.glob("tool-*")) + sorted(self.live.glob("restored-*")))
            self._round(group, number)
        shutil.rmtree(self.live)

    def _tools(self, group: str) -> list[str]:
        return [kind.name for kind in self.kinds if group != ALONE or kind.name == table.OURS]

    def _make(self, group: str) -> None:
        folder = self.sources[group]
        told = self.results.data
        if group == "tree":
            self.tree = data.tree(Path(self.sizes.tree), folder)
            self.name = data.one_file(folder)
            told["tree"] = f"a copy of {self.sizes.tree}: {self.tree.files:,} files, {self.tree.megabytes:,.0f} MB"
        elif group == "dump":
            first, second = self._dumps()
            postgres.dumps(first, second, self.sizes.dump_mb)
            lengths = [file.stat().st_size / 1e6 for file in (first, second)]
            told["database dump"] = (
                f"uncompressed `pg_dump -Fc` of {lengths[0]:,.0f} MB; after updates, {lengths[1]:,.0f} MB"
            )
        elif group == "data":
            data.incompressible(folder, self.sizes.data_mb)
            told["incompressible data"] = "{} files of random bytes, {:,.0f} MB".format(*data.size(folder))
        else:
            data.small_files(folder, self.sizes.million)
            told["small files"] = "{:,} files, {:,.0f} MB".format(*data.size(folder))

    def _dumps(self) -> tuple[Path, Path]:
        folder = self.work / "data" / "dumps"
        return folder / "first", folder / "second"

    def _round(self, group: str, number: int) -> None:
        rows = GROUPS[group]
        self.results.drop([row.key for row in rows], number)
        names = self._tools(group)
        # Who goes first finds the disk and the caches otherwise than who goes last: all take turns.
        first = (number - 1) % len(names)
        kinds = [kind for kind in self.kinds if kind.name in names]
        tools = [kind(self.live / f"tool-{kind.name}") for kind in kinds[first:] + kinds[:first]]
        failed: dict[str, str] = {}
        for tool in tools:
            try:
                for command in tool.prepare():
                    timed(tool, command)
            except RunFailedError as error:
                failed[tool.name] = str(error)
        for row in rows:
            self._before(row)
            measured = [self._measure(row, tool, number, failed) for tool in tools]
            if row.kind is not Kind.BACKUP and number == 1:
                measured = [self._checked(row, one, self.sources[group]) for one in measured]
            self.results.runs += measured
            self.results.write(self.work / "results.json")

    def _before(self, row: Row) -> None:
        if row.key == "tree-changed" and self.tree is not None:
            print(f"  changing {data.change(self.sources['tree'], self.tree):,} files")
        if row.key in {"dump-first", "dump-second"}:
            folder = self.sources["dump"]
            folder.mkdir(exist_ok=True)
            shutil.copyfile(self._dumps()[row.key == "dump-second"], folder / "database.dump")

    def _measure(self, row: Row, tool: Tool, number: int, failed: dict[str, str]) -> Measured:
        """One run; a tool that failed once does not go on in this round."""
        made = Measured(row.key, tool.name, number)
        if tool.name in failed:
            return replace(made, failed=failed[tool.name])
        source = self.sources[row.key.partition("-")[0]]
        if row.kind is Kind.BACKUP:
            warm(source, contents=row.reads)
            command = tool.backup(source)
        else:
            warm(tool.repository, contents=True)
            if self.disk:
                self.disk.wait()  # somebody else may have removed many files
            target = self._target(row, tool.name)
            target.mkdir()
            whole = row.kind is Kind.RESTORE
            command = tool.restore(source, target) if whole else tool.restore_one(source, target, self.name)
        before = stored(tool.repository)
        try:
            took = timed(tool, command)
        except RunFailedError as error:
            failed[tool.name] = str(error)
            print(f"{row.label:38} {tool.name:8} FAILED: {error}")
            return replace(made, failed=str(error))
        after = stored(tool.repository)
        print(
            f"{row.label:38} {tool.name:8} round {number}: {took.wall:8.2f} s, CPU {took.cpu:8.2f} s,"
            f" peak {took.peak:6.0f} MB, stored {after:9.1f} MB (+{after - before:.1f})",
            flush=True,
        )
        return replace(
            made,
            wall=round(took.wall, 4),
            cpu=round(took.cpu, 4),
            peak=round(took.peak, 1),
            stored=round(after, 3),
            added=round(after - before, 3),
        )

    def _target(self, row: Row, tool: str) -> Path:
        return self.live / f"restored-{row.key}-{tool}"

    def _checked(self, row: Row, made: Measured, source: Path) -> Measured:
        """The peers are checked by numbers, pinfold by everything."""
        if made.failed:
            return made
        target = self._target(row, made.tool)
        if row.kind is Kind.RESTORE_ONE:
            wrong = check.one(source, target, self.name)
        else:
            wrong = (check.fully if made.tool == table.OURS else check.roughly)(source, target)
        if wrong:
            print(f"{row.label:38} {made.tool:8} WRONG: {wrong}")
        return replace(made, wrong=wrong)


def main(words: Sequence[str] | None = None) -> int:
    """Run the bench that the command line asks for; returns the exit code."""
    options = _options(words)
    try:
        return _bench(options)
    except (data.DataError, ResultsError, table.TableError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        return 1
    except KeyboardInterrupt:
        print(f"\nbench: interrupted; go on with --resume: {options.work / 'results.json'} holds what is done")
        return 130


def _bench(options: argparse.Namespace) -> int:
    kinds = [kind for kind in peers.found() if not options.tools or kind.name in options.tools]
    absent = set(options.tools or [table.OURS]) - {kind.name for kind in kinds}
    if absent:
        raise data.DataError(f"not on PATH: {', '.join(sorted(absent))}; `make bench` puts them there")
    if options.write:
        table.written_by_hand(options.write)  # what is wrong with the page is told now, not after the runs
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    sizes: Sizes = options.sizes
    settings: dict[str, Any] = {
        "quick": options.quick,
        "tree": sizes.tree,
        "dump_mb": sizes.dump_mb,
        "data_mb": sizes.data_mb,
        "million": sizes.million,
    }
    results = Results(settings, {kind.name: peers.version(kind) for kind in kinds}, machine(work))
    if options.resume:
        results.go_on_with(work / "results.json")
    _foretell(options, [kind.name for kind in kinds], work)
    Bench(work, sizes, results, kinds).run(options.rows)
    results.write(work / "results.json")
    print("\n" + table.markdown(results))
    if options.write:
        table.write(options.write, results)
    print(f"{work / 'results.json'} holds all figures; {work / 'data'} is kept for the next time")
    return int(any(run.tool == table.OURS and (run.failed or run.wrong) for run in results.runs))


def _foretell(options: argparse.Namespace, tools: Sequence[str], work: Path) -> None:
    """Tell time and disk; raises DataError where the disk or the tree is too small."""
    sizes: Sizes = options.sizes
    each = {
        "dump": (1, float(sizes.dump_mb)),
        "data": (16, float(sizes.data_mb)),
        "million": (sizes.million, sizes.million * 0.0002),
    }
    if "tree" in options.rows:
        each["tree"] = data.size(Path(sizes.tree))
        if each["tree"][0] < _FEWEST_FILES and not options.quick:
            raise data.DataError(
                f"{sizes.tree}: holds {each['tree'][0]:,} files, too few to tell anything (fewest: {_FEWEST_FILES:,});"
                " give another with --tree"
            )
    chosen = {group: each[group] for group in options.rows}
    minutes = estimate.seconds(chosen, tools, sizes.rounds) / 60
    needed = estimate.space(chosen, tools) / 1000
    kept = stored(work / "data") / 1000 if (work / "data").exists() else 0.0
    free = shutil.disk_usage(work).free / 1e9 + kept
    print(f"{', '.join(tools)}: about {minutes:,.0f} minutes, {needed:,.1f} GB of disk", flush=True)
    if needed > free:
        raise data.DataError(
            f"{work}: {free:,.1f} GB are free; give a folder on a larger disk with --work, or a smaller tree"
        )


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run", description="Measure pinfold against restic, kopia and borg on this machine."
    )
    add = parser.add_argument
    add("--rows", type=_one_of(GROUPS), default=["tree", "dump", "data"], help="of tree,dump,data,million")
    add("--tools", type=_one_of([kind.name for kind in peers.KINDS]), help="of pinfold,restic,kopia,borg [all found]")
    add("--rounds", type=int, help=f"[{_FULL.rounds}]")
    add("--tree", metavar="DIR", help=f"the tree; it is copied and only read [{_FULL.tree}]")
    add("--dump-mb", type=int, metavar="MB", help=f"size of the database dump [{_FULL.dump_mb}]")
    add("--data-mb", type=int, metavar="MB", help=f"size of the incompressible data [{_FULL.data_mb}]")
    add("--million", action="store_true", help="pinfold alone on 1,000,000 small files, too")
    add("--work", type=Path, default=_ROOT / "build" / "bench", metavar="DIR", help="where all happens [build/bench]")
    add("--quick", action="store_true", help="small sizes, one round: to see that the bench works")
    add("--resume", action="store_true", help="go on with a bench that was interrupted; only what is missing is run")
    add("--write", type=Path, metavar="FILE", help="put the table into this page, below its mark")
    options = parser.parse_args(words)
    if options.million and ALONE not in options.rows:
        options.rows.append(ALONE)
    chosen = {
        "tree": options.tree and str(Path(options.tree).resolve()),
        "dump_mb": options.dump_mb,
        "data_mb": options.data_mb,
        "rounds": options.rounds,
    }
    if any(isinstance(value, int) and value < 1 for value in chosen.values()):
        parser.error("numbers must be 1 or more")
    options.sizes = replace(
        _QUICK if options.quick else _FULL, **{key: value for key, value in chosen.items() if value is not None}
    )
    return options


class _one_of:  # noqa: N801  # a type, as argparse calls it
    """Reads a list of names, separated by commas."""

    def __init__(self, names: Any) -> None:  # noqa: ANN401
        self.names = list(names)

    def __call__(self, text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in self.names]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {','.join(self.names)}")
        return [name for name in self.names if name in chosen]
