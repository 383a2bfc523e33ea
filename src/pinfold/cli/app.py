"""All commands, by name; none of them is imported before it is run."""

from __future__ import annotations

from typing import Final

import click

from pinfold import __version__
from pinfold.cli.options import Family

TABLE: Final = {
    "init": ("pinfold.cli.init:init", "make a repository"),
    "backup": ("pinfold.cli.backup:backup", "save directories as snapshots"),
    "snapshots": ("pinfold.cli.snapshots:snapshots", "list the snapshots"),
    "ls": ("pinfold.cli.ls:ls", "list what a snapshot holds"),
    "find": ("pinfold.cli.find:find", "find files in all snapshots"),
    "diff": ("pinfold.cli.diff:diff", "compare two snapshots"),
    "stats": ("pinfold.cli.stats:stats", "count what snapshots hold and take"),
    "restore": ("pinfold.cli.restore:restore", "write a snapshot back into a folder"),
    "verify": ("pinfold.cli.verify:verify", "check that all is there and sound"),
    "status": ("pinfold.cli.status:status", "show which stores and peers hold the snapshots"),
    "replicate": ("pinfold.cli.replicate:replicate", "bring stores up to date, moving only what is missing"),
    "forget": ("pinfold.cli.forget:forget", "unpin snapshots that are no longer needed"),
    "gc": ("pinfold.cli.collect:gc", "free what no pin reaches"),
    "export": ("pinfold.cli.transfer:export", "write a snapshot into a CAR file"),
    "import": ("pinfold.cli.transfer:load", "take the snapshots of a CAR file in"),
    "key": ("pinfold.cli.key:key", "who may open the repository, and who may sign"),
    "serve": ("pinfold.cli.serve:serve", "serve the store over HTTP: gateway, pinning service, metrics"),
    "token": ("pinfold.cli.token:token", "who may use the pinning service"),
    "completion": ("pinfold.cli.completion:completion", "print a script that completes words in your shell"),
}


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"pinfold {__version__}")
        ctx.exit()


@click.group(cls=Family, table=TABLE, name="pinfold")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def pinfold() -> None:
    """Encrypted, verifiable, decentralised backups onto IPFS.

    A repository is one keyring and all snapshots made under it; its store holds blocks and pins. Begin with
    "pinfold init", then "pinfold backup". Each command explains itself: "pinfold backup --help".

    SNAPSHOT is a CID, its beginning or its end (at least four letters), latest, or latest:NAME for a source.
    A passphrase comes from PINFOLD_PASSPHRASE, PINFOLD_PASSPHRASE_FILE, the command in PINFOLD_PASSPHRASE_COMMAND, or a
    terminal. Settings come from pinfold.toml, then .env, then PINFOLD_* variables, then options; the later one wins.
    """
