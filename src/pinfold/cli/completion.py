"""`pinfold completion`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from pinfold.cli.options import command

if TYPE_CHECKING:
    from pinfold.cli.call import Call


@command(
    "completion",
    examples=[
        'eval "$(pinfold completion bash)"                                # in ~/.bashrc',
        'eval "$(pinfold completion zsh)"                                 # in ~/.zshrc',
        "pinfold completion fish > ~/.config/fish/completions/pinfold.fish",
    ],
    returns="shell, script",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(call: Call, shell: str) -> int:
    """Print a script that lets SHELL complete commands, options and file names."""
    from pinfold.cli.app import pinfold  # noqa: PLC0415

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"nothing is known of the shell {shell}")
    script = found(pinfold, {}, "pinfold", "_PINFOLD_COMPLETE").source()
    call.out.document({"shell": shell, "script": script})
    if not call.out.as_json:
        sys.stdout.write(script + "\n")
    return 0
