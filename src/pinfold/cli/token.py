"""`pinfold token`: the family of commands about who may use the pinning service."""

from __future__ import annotations

from typing import Final

import click

from pinfold.cli.options import Family

TABLE: Final = {
    "add": ("pinfold.cli.token_change:add", "let somebody use the pinning service"),
    "list": ("pinfold.cli.token_change:show", "show who may use it"),
    "remove": ("pinfold.cli.token_change:remove", "take a token away"),
}


@click.group(cls=Family, table=TABLE, name="token")
def token() -> None:
    """Who may use the pinning service that "pinfold serve --pinning-service DIR" runs.

    Give each device a token of its own, so that each can be taken away alone. Changes hold at the next request; the
    service may run meanwhile.
    """
