"""Help: every command explains itself like a man page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from pinfold.cli.app import pinfold
from pinfold.cli.options import EXITS, GLOBAL, Command, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.conftest import Cli


def commands(family: Family, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a family, with the words that lead to it."""
    context = click.Context(family)
    for name in family.list_commands(context):
        found = family.get_command(context, name)
        assert found is not None
        if isinstance(found, Family):
            yield from commands(found, (*above, name))
        else:
            yield (*above, name), found


assert isinstance(pinfold, Family)
ALL = dict(commands(pinfold))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], cli: Cli) -> None:
    """Each command's help has a description, examples that call pinfold, exit codes, the JSON, and all options."""
    command = ALL[words]
    assert isinstance(command, Command)
    assert words[-1] == command.name
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    assert any(f"pinfold {' '.join(words)}" in line for line in command.examples)
    assert command.returns
    assert set(command.exits) <= set(EXITS)
    shown = cli(*words, "--help").out
    titles = [line for line in shown.splitlines() if line.isupper() or line.startswith("GLOBAL")]
    assert ["DESCRIPTION:", "OPTIONS:", "EXAMPLES:", "EXIT CODES:", "JSON:"] == [t for t in titles if "GLOBAL" not in t]
    assert all(max(option.opts, key=len) in shown for option in command.params if isinstance(option, click.Option))


def test_the_table_tells_of_each_command(cli: Cli) -> None:
    """`pinfold --help` lists every command in a few words and explains the global options."""
    shown = cli("--help").out
    assert [] == [name for name in pinfold.table if f"  {name} " not in shown]
    assert [] == [option.name for option in GLOBAL if max(option.opts, key=len) not in shown]


def test_no_words_at_all_show_the_help(cli: Cli) -> None:
    """Without a command the help is shown, and the exit code is 2."""
    assert "COMMANDS:" in cli(code=2).err
    assert "new-agent" in cli("key", code=2).err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(cli: Cli, shell: str) -> None:
    """There is a completion script for each shell."""
    assert "_PINFOLD_COMPLETE" in cli("completion", shell).out


def test_completion_completes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the script asks for is answered."""
    monkeypatch.setenv("_PINFOLD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "pinfold key ro")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert "plain,rotate\n" == cli().out
