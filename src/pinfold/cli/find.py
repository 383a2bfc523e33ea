"""`pinfold find`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from pinfold.cli import output, rows
from pinfold.cli.options import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pinfold.cli.call import Call
    from pinfold.cli.choose import Fits
    from pinfold.snapshot import Snapshot
    from pinfold.sources.directory.entry import Entry
    from pinfold.wiring import Owned

    Match = tuple[Snapshot, bytes, Entry]

_DAMAGED = 4


@command(
    "find",
    examples=[
        "pinfold find passwd",
        "pinfold find '*.conf' --snapshot latest",
        "pinfold find '/srv/**/report-*.pdf' --newer 7d -l",
    ],
    exits=(4, 5),
    returns=(
        "pattern, matches: list of {snapshot (root), source, and the fields of an entry of pinfold ls}, damaged: list"
        " of {root, message}"
    ),
)
@click.argument("pattern", nargs=-1, required=True)
@click.option("--snapshot", metavar="SNAPSHOT", multiple=True, help="Only in this one, not in all. Repeatable.")
@click.option("--newer", metavar="WHEN", help="Changed since, as 2026-11-21, 2026-11-21T08:00 or 7d.")
@click.option("-l", "long", is_flag=True, help="Modes, owners, sizes and times, too.")
def find(call: Call, pattern: tuple[str, ...], snapshot: tuple[str, ...], newer: str | None, long: bool) -> int:
    """Find files in all snapshots, newest snapshot first.

    PATTERN is written as in .gitignore: a name fits in every folder, a path with a slash counts from the topmost one;
    what lies below a folder that fits is not listed. Needs an identity or the passphrase.
    """
    from pinfold import catalogue  # noqa: PLC0415
    from pinfold.cli import choose  # noqa: PLC0415

    since = None if newer is None else nanoseconds(newer, dt.datetime.now(dt.UTC))
    fits = choose.matching(pattern)
    damaged: list[tuple[str, str]] = []
    with call.owned() as owner:
        if snapshot:
            chosen = [choose.snapshot(owner, one) for one in snapshot]
        else:
            chosen = list(
                catalogue.snapshots(
                    owner.store, owner.repository, broken=lambda one, error: damaged.append((str(one.root), str(error)))
                )
            )
            chosen.reverse()
        found = _matches(owner, chosen, fits, since, damaged)
        if call.out.as_json:
            _print_json(call, pattern, found, damaged)
        else:
            _print(call, found, long=long)
    for root, message in damaged:
        call.out.warn(output.without_echo(f"snapshot {root} cannot be searched", message))
    return _DAMAGED if damaged else 0


def _matches(
    owner: Owned, chosen: Sequence[Snapshot], fits: Fits, since: int | None, damaged: list[tuple[str, str]]
) -> Iterator[tuple[str, Match]]:
    """What fits, with the name of its source."""
    from pinfold import browse  # noqa: PLC0415
    from pinfold.errors import PinfoldError  # noqa: PLC0415

    for made in chosen:
        try:
            manifest = owner.manifest(made)
            with owner.reader(made) as reader:
                for path, entry in browse.rows(reader, manifest):
                    if path and (since is None or entry.mtime >= since) and fits(path, entry.is_folder):
                        yield manifest.source, (made, path, entry)
        except PinfoldError as error:
            damaged.append((str(made.root), str(error)))


def _print(call: Call, found: Iterator[tuple[str, Match]], *, long: bool) -> None:
    last = None
    for source, (made, path, entry) in found:
        if made is not last:
            if last is not None:
                call.out.line()
            call.out.line(f"{output.short(made.root)}  {output.moment(made.header.finished)}  {output.path(source)}")
            last = made
        call.out.line("  " + rows.line(path, entry, long=long))


def _print_json(
    call: Call, pattern: Sequence[str], found: Iterator[tuple[str, Match]], damaged: list[tuple[str, str]]
) -> None:
    items = (
        {"snapshot": str(made.root), "source": source, **rows.document(path, entry)}
        for source, (made, path, entry) in found
    )
    call.out.listing(
        {"pattern": list(pattern)},
        "matches",
        items,
        lambda: {"damaged": [{"root": root, "message": message} for root, message in damaged]},
    )


def nanoseconds(text: str, now: dt.datetime) -> int:
    """The moment that `text` means, a date, a time or a length of time before `now`, in nanoseconds since 1970."""
    from pinfold import config  # noqa: PLC0415

    try:
        moment = dt.datetime.fromisoformat(text).astimezone()
    except ValueError:
        try:
            moment = config.duration(text).before(now)
        except ValueError:
            raise click.UsageError(f"--newer {text!r}: write 2026-11-21, 2026-11-21T08:00, or 7d") from None
    return int(moment.timestamp()) * 10**9
