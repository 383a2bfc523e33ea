"""The benchmark runs, checks what it restored, goes on where it was interrupted, and shows losses."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
MARK = "<!-- Below this line all is written by bench/run --write. -->"
WORDS = ["--quick", "--rows", "tree,data", "--tools", "pinfold", "--data-mb", "2"]

pytestmark = pytest.mark.slow


@dataclasses.dataclass
class Bench:
    """A bench of pinfold alone, in a folder of its own."""

    work: Path
    tree: Path
    path: str

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        command = [sys.executable, ROOT / "bench" / "run", *WORDS, "--tree", self.tree, "--work", self.work, *words]
        environment = {"PATH": self.path, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @property
    def file(self) -> Path:
        """Its results."""
        return self.work / "results.json"

    def runs(self) -> list[dict[str, Any]]:
        """What it measured."""
        runs: list[dict[str, Any]] = json.loads(self.file.read_text(encoding="utf-8"))["runs"]
        return runs


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Make the pinfold of this checkout the one on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "pinfold"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT / "src"}" exec "{sys.executable}" -m pinfold "$@"\n')
    program.chmod(0o755)
    tree = tmp_path / "tree"
    for number in range(300):
        file = tree / f"{number % 20}" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}\n" * number)
    return Bench(tmp_path / "bench", tree, f"{programs}:{os.environ['PATH']}")


def test_all_rows_are_measured_and_what_is_interrupted_is_gone_on_with(bench: Bench, tmp_path: Path) -> None:
    """Every row has figures and was restored rightly; a resumed bench runs what is missing, and a loss is shown."""
    page = tmp_path / "page.md"
    page.write_text(f"By hand.\n\n{MARK}\nWhat stood here.\n")
    done = bench.run("--write", str(page))
    assert (0, "") == (done.returncode, done.stderr)
    runs = bench.runs()
    rows = {
        "tree": ["first", "unchanged", "changed", "restore", "restore-one"],
        "data": ["first", "unchanged", "restore"],
    }
    assert [f"{group}-{row}" for group, names in rows.items() for row in names] == [run["row"] for run in runs]
    assert [] == [run for run in runs if run["failed"] or run["wrong"]]
    assert [] == [run for run in runs if min(run["wall"], run["cpu"], run["peak"], run["stored"]) <= 0]
    assert 2 < next(run["added"] for run in runs if run["row"] == "data-first") < 2.3
    written = page.read_text()
    assert ("By hand.", True, False) == (
        written.splitlines()[0],
        "| tree, first run |" in written,
        "stood here" in written,
    )

    # The second group was cut off in its middle; and a peer was twice as fast, and twice as large.
    told = json.loads(bench.file.read_text())
    tree = [run for run in runs if run["row"].startswith("tree")]
    cut = next(run for run in runs if run["row"] == "data-first")
    peer = [run | {"tool": "restic", "wall": run["wall"] / 2, "stored": run["stored"] * 2} for run in tree]
    bench.file.write_text(json.dumps(told | {"runs": [*tree, *peer, cut]}))
    done = bench.run("--resume", "--write", str(page))
    assert (0, "") == (done.returncode, done.stderr)
    after = bench.runs()
    assert [*tree, *peer] == after[: len(tree) + len(peer)]
    assert rows["data"] == [run["row"].removeprefix("data-") for run in after[len(tree) + len(peer) :]]
    written = page.read_text()
    assert "- tree, restore all: 2.00 of the fastest peer's time, the goal is 1\n" in written
    assert "| 0.50 | ≤ 1.05: met |" in written


def test_other_settings_are_not_mixed(bench: Bench) -> None:
    """Results of other sizes are refused, in one line that says what to do."""
    bench.work.mkdir()
    assert 0 == bench.run("--rows", "data", "--data-mb", "1").returncode
    done = bench.run("--rows", "data", "--resume")
    assert 1 == done.returncode
    assert done.stderr.startswith(f"bench: {bench.file}: other settings (")
    assert done.stderr.endswith("; run without --resume\n")
    assert 1 == done.stderr.count("\n")


def test_too_small_a_tree_is_refused(bench: Bench) -> None:
    """A full bench of a tree with few files does not start."""
    words = ["--rows", "tree", "--tools", "pinfold", "--tree", bench.tree, "--work", bench.work]
    done = subprocess.run(
        [sys.executable, ROOT / "bench" / "run", *words],
        env={"PATH": bench.path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 1 == done.returncode
    assert "too few to tell anything (fewest: 80,000); give another with --tree" in done.stderr


def test_a_page_that_cannot_be_written_is_told_before_the_runs(bench: Bench, tmp_path: Path) -> None:
    """A page without the mark ends the bench at once, in one line."""
    page = tmp_path / "page.md"
    page.write_text("By hand.\n")
    done = bench.run("--write", str(page))
    assert (1, f"bench: {page}: has no line {MARK}\n") == (done.returncode, done.stderr)
    assert not bench.work.exists()


def test_the_page_can_be_written() -> None:
    """docs/benchmarks.md has the mark below which the table goes."""
    assert 1 == (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").splitlines().count(MARK)
