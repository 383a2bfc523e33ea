"""`pinfold token add`, `list` and `remove`."""

from __future__ import annotations

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pinfold.cli import output
from pinfold.cli.options import SECONDS, command
from pinfold.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.pinning import Token, Tokens

_FOLDER = click.Path(path_type=Path)
_service = click.option(
    "--pinning-service", "folder", metavar="DIR", type=_FOLDER, required=True, help="Where the service's data are."
)
_RETURNS = "{id, label, tenant, scopes, created, expires}"


@contextmanager
def _tokens(folder: Path, *, create: bool = False) -> Iterator[Tokens]:
    from pinfold.pinning import Database, Tokens  # noqa: PLC0415
    from pinfold.pinning.database import NAME  # noqa: PLC0415

    if not create and not (folder / NAME).exists():
        raise UsageError(f"there is no pinning service in {folder}: its first token makes it, by pinfold token add")
    with closing(Database(folder)) as database:
        yield Tokens(database)


@command(
    "add",
    examples=[
        "pinfold token add laptop --pinning-service /var/lib/pinfold/pins",
        "pinfold token add agent --scope read --scope add --tenant alice --expires 90d --pinning-service DIR",
    ],
    returns=f"{_RETURNS}, and token: the token itself, which cannot be shown again",
)
@click.argument("label")
@_service
@click.option("--tenant", metavar="NAME", default="default", show_default=True, help="Whose pins it sees and makes.")
@click.option("--scope", "scopes", metavar="WORD", multiple=True, help="read, add or delete; all without. Repeatable.")
@click.option("--expires", metavar="TIME", type=SECONDS, help="How long it is good, as in 90d. [until it is removed]")
def add(call: Call, folder: Path, **asked: Any) -> int:  # noqa: ANN401  # as click hands them over
    """Make a token called LABEL, and print it, this once.

    Tokens of one tenant share their pins; those of other tenants do not exist for them. Replacing a pin takes the
    scopes add and delete.
    """
    from pinfold.pinning import SCOPES  # noqa: PLC0415

    with _tokens(folder, create=True) as tokens:
        made, secret = tokens.add(
            asked["label"], tenant=asked["tenant"], scopes=asked["scopes"] or SCOPES, seconds=asked["expires"]
        )
    text, told = secret.reveal().decode(), _document(made)
    call.out.document({**told, "token": text})
    call.out.line(text)
    until = f"until {told['expires']}" if told["expires"] else "until it is removed"
    call.out.hint(
        f"It is good {until}. This is all there is of it: keep it now. To take it away: pinfold token remove {made.id}"
    )
    return 0


@command(
    "list",
    examples=["pinfold token list --pinning-service /var/lib/pinfold/pins"],
    returns=f"tokens: list of {_RETURNS}",
)
@_service
def show(call: Call, folder: Path) -> int:
    """Show all tokens but for themselves: only their hashes are kept."""
    with _tokens(folder) as tokens:
        found = [_document(one) for one in tokens.list()]
    call.out.document({"tokens": found})
    rows = [
        [one["id"], one["label"], one["tenant"], " ".join(one["scopes"]), one["created"], one["expires"] or "never"]
        for one in found
    ]
    call.out.table(["id", "~label", "tenant", "scopes", "created", "expires"], rows, drop=["created"])
    return 0


@command(
    "remove",
    examples=["pinfold token remove 5f0c3a9be211 --pinning-service /var/lib/pinfold/pins"],
    returns="removed: the ids",
)
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@_service
def remove(call: Call, ids: tuple[str, ...], folder: Path) -> int:
    """Take tokens away, by the ids that "pinfold token list" shows. The pins they made stay."""
    with _tokens(folder) as tokens:
        unknown = set(ids) - {one.id for one in tokens.list()}
        if unknown:
            raise UsageError(f"there is no token {', '.join(sorted(map(output.path, unknown)))}; nothing was removed")
        for one in ids:
            tokens.remove(one)
    call.out.document({"removed": list(ids)})
    call.out.say(f"{output.some(len(ids), 'token')} removed")
    return 0


def _document(token: Token) -> Json:
    from pinfold.pinning import moments  # noqa: PLC0415

    return {
        "id": token.id,
        "label": token.label,
        "tenant": token.tenant,
        "scopes": sorted(token.scopes),
        "created": moments.text(token.created),
        "expires": None if token.expires is None else moments.text(token.expires),
    }
