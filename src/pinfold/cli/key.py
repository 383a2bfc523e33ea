"""`pinfold key`: the family of commands about who may open a repository, and who may sign for it."""

from __future__ import annotations

from typing import Final

import click

from pinfold.cli.options import Family

TABLE: Final = {
    "show": ("pinfold.cli.key_show:show", "who can open the repository, and who signs"),
    "add": ("pinfold.cli.key_change:add", "let another recipient or passphrase open it"),
    "remove": ("pinfold.cli.key_change:remove", "take a recipient, a passphrase or an agent away"),
    "passphrase": ("pinfold.cli.key_change:passphrase", "change the passphrase"),
    "rotate": ("pinfold.cli.key_change:rotate", "begin a new generation of secrets, after an incident"),
    "new-agent": ("pinfold.cli.key_change:new_agent", "let another machine make snapshots"),
}


@click.group(cls=Family, table=TABLE, name="key")
def key() -> None:
    """Who may open the repository, and who may sign for it.

    Changes touch the keyring and a few small blocks of each snapshot, never data. What somebody copied before stays
    readable to whoever held the old secret: no program can change that.
    """
