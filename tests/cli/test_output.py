"""How numbers, times and paths look, and what options do to output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pinfold.cli import output
from pinfold.cli.output import Output
from pinfold.cli.progress import shortened

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.00 KiB"),
        (34_567, "33.8 KiB"),
        (1 << 20, "1.00 MiB"),
        (1023 << 20, "1.00 GiB"),
        (5 << 50, "5.00 PiB"),
        (1 << 62, "4096 PiB"),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    """Sizes have three digits and a unit of 1024."""
    assert shown == output.size(count)


@pytest.mark.parametrize(
    ("length", "shown"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_lengths_of_time(length: float, shown: str) -> None:
    """Lengths of time have two units at most."""
    assert shown == output.seconds(length)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"", "."),
        ("größe/日本".encode(), "größe/日本"),
        (b"a\nb\tc", "a\\nb\\tc"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"\xff", "\\xff"),
        ("\u202ereversed".encode(), "\\u202ereversed"),
    ],
)
def test_paths_cannot_move_the_cursor(name: bytes, shown: str) -> None:
    """What a terminal would act upon is written out."""
    assert shown == output.path(name)


def test_times_no_calendar_has() -> None:
    """A file's time far beyond the calendar is told in seconds."""
    assert "@9223372036854" == output.stamp(9223372036854 * 10**9)
    assert "1970-01-01" in output.stamp(86_000 * 10**9) or "1970-01-02" in output.stamp(86_000 * 10**9)


@pytest.mark.parametrize(("width", "shown"), [(20, "a/long/path/name.txt"), (10, "a/l…me.txt"), (2, "")])
def test_paths_are_shortened_in_the_middle(width: int, shown: str) -> None:
    """The ends of a path stay; no room at all shows nothing."""
    assert shown == shortened("a/long/path/name.txt", width)


def test_tables_in_pipes_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe a row is one line, however long, without colours and with brackets as they are."""
    Output().table(["name", ">size"], [["x" * 300 + "[red]", "1"], ["y", "22"]])
    assert ["name" + " " * 303 + "size", "x" * 300 + "[red]     1", "y" + " " * 308 + "22"] == [
        line.rstrip() for line in capsys.readouterr().out.splitlines()
    ]


def test_listing_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """A long list is written as it comes, and is one object at the end."""
    Output(as_json=True).listing({"a": 1}, "list", iter([{"b": 2}, {"b": 3}]), lambda: {"c": 4})
    assert '{"a": 1, "list": [\n{"b": 2},\n{"b": 3}], "c": 4}\n' == capsys.readouterr().out
    Output(as_json=True).listing({}, "list", iter([]))
    assert '{"list": []}\n' == capsys.readouterr().out


def test_quiet_answers_and_nothing_else(repo: Cli, tree: Path) -> None:
    """With -q work says nothing, answers are given, and errors are told."""
    ran = repo("backup", tree, "-q")
    assert ("", "") == (ran.out, ran.err)
    assert "etc/" in repo("ls", "latest", "-q").out
    assert "" == repo("snapshots", "-q").err
    assert "pinfold: " in repo("ls", "none", "-q", code=2).err


def test_global_options_stand_anywhere(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """Global options are the same before the command, after it, and within a family."""
    repo("backup", tree, "--name", "x")
    bare = repo.with_words()
    before = bare("-r", tmp_path / "repo", "--json", "snapshots").document
    after = bare("snapshots", "--json", "-r", tmp_path / "repo").document
    assert before == after
    assert bare("-r", tmp_path / "repo", "key", "--json", "show").document == repo("key", "show", "--json").document
