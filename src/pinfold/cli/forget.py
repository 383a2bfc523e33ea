"""`pinfold forget`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import click

from pinfold.cli import collect as garbage
from pinfold.cli import output
from pinfold.cli.options import DURATION, command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo

    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.config import Policy
    from pinfold.errors import PinfoldError
    from pinfold.ipld import CID
    from pinfold.retention import Decision
    from pinfold.wiring import Opened, Owned

_PARTIAL: Final = 3
_COUNTS: Final = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


def _keep(function: Callable[..., int]) -> Callable[..., int]:
    for one in reversed(_COUNTS):
        what = "The newest N." if one == "last" else f"The newest of each of the last N, {one}."
        function = click.option(f"--keep-{one}", metavar="N", type=click.IntRange(min=0), help=what)(function)
    return function


@command(
    "forget",
    examples=[
        "pinfold forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run",
        "pinfold forget --keep-within 30d --keep-tag keep --source web1:/etc --gc",
        "pinfold forget 45ag3lbjae frtpdqnomy",
    ],
    exits=(3, 4, 5),
    returns=(
        "dry_run, repository, sources: list of {source_id, source, keep, remove}, both lists of {root, id, finished,"
        " kind, reasons}, removed (number), damaged: list of {root, message}, gc (as pinfold gc --json, or null)"
    ),
)
@click.argument("snapshot", nargs=-1)
@_keep
@click.option(
    "--keep-within", metavar="DURATION", type=DURATION, help="All of the last time before the newest, as 30d."
)
@click.option("--keep-tag", metavar="TAG", multiple=True, help="All with this tag; needs a key. Repeatable.")
@click.option("--source", metavar="NAME|all", default="all", help="Of this source only. [all]")
@click.option("--gc", "collect", is_flag=True, help="Free what is no longer needed right away.")
@click.option("--dry-run", "-n", is_flag=True, help="Tell what would be forgotten, forget nothing.")
def forget(
    call: Call,
    snapshot: tuple[str, ...],
    keep_tag: tuple[str, ...],
    keep_within: object,
    source: str,
    collect: bool,
    dry_run: bool,
    **counts: int | None,
) -> int:
    """Unpin the snapshots given, or those that a policy does not keep, source by source.

    A snapshot is kept if one rule keeps it. Rules come from [keep] in pinfold.toml and from options, each option in
    place of its setting. The newest snapshot of a source is always kept; so is what a kept one builds on. Nothing is
    freed before pinfold gc, or --gc. Without a key, sources are told apart by their ids.
    """
    given = bool(keep_tag or keep_within or any(count is not None for count in counts.values()))
    if snapshot and (given or source != "all"):
        raise click.UsageError("give snapshots, or rules for what to keep, not both")
    settings = call.settings(keep_within=keep_within, keep_tags=keep_tag or None, **counts)
    opening = call.owned() if settings.keep.tags and not snapshot else call.looked_at()
    with opening as found:
        damaged: list[Json] = []
        decisions = _named(found, snapshot) if snapshot else _judged(found, settings.keep, source, damaged)
        roots = [one.candidate.root for one in decisions if not one.keep]
        sources = _sources(found, decisions)  # before unpinning: names are read from snapshots
        if roots and not dry_run:
            found.store.unpin(roots)
        freed = garbage.collect(call, found.store, dry_run=dry_run) if collect else None
        repository = found.repository
    call.out.document(
        {
            "dry_run": dry_run,
            "repository": repository,
            "sources": sources,
            "removed": len(roots),
            "damaged": damaged,
            "gc": None if freed is None else garbage.document(freed, dry_run=dry_run),
        }
    )
    _tell(call, sources, len(roots), dry_run=dry_run)
    for one in damaged:
        call.out.warn(output.without_echo(f"snapshot {one['root']} is kept, for it cannot be read", one["message"]))
    if freed is not None:
        garbage.tell(call, freed, dry_run=dry_run)
    elif roots and not dry_run:
        call.out.say("free their blocks with: pinfold gc")
    return _PARTIAL if damaged else 0


def _judged(found: Opened | Owned, policy: Policy, source: str, damaged: list[Json]) -> list[Decision]:
    """What a policy says of each snapshot that can be read; one that cannot is kept, and told."""
    from pinfold import catalogue, wiring  # noqa: PLC0415
    from pinfold.cli.snapshots import source_id  # noqa: PLC0415
    from pinfold.errors import PinfoldError  # noqa: PLC0415
    from pinfold.retention import Candidate, decide  # noqa: PLC0415

    def broken(one: catalogue.Listed, error: PinfoldError) -> None:
        damaged.append({"root": str(one.root), "message": str(error)})

    candidates = []
    wanted = source_id(found, None if source == "all" else source)
    for made in catalogue.snapshots(found.store, found.repository, wanted, broken):
        header = made.header
        tags: tuple[str, ...] = ()
        if policy.tags and isinstance(found, wiring.Owned):
            try:
                tags = tuple(found.manifest(made).tags)
            except PinfoldError:
                tags = policy.tags  # it may bear any of them
        finished = datetime.fromisoformat(header.finished)
        candidates.append(Candidate(made.root, str(made.id), header.source, header.kind, header.base, finished, tags))
    return decide(candidates, policy, datetime.now(UTC), zone=_here())


def _named(found: Opened | Owned, texts: Sequence[str]) -> list[Decision]:
    """Snapshots that people name go, unless another one that stays builds on them."""
    from pinfold import catalogue  # noqa: PLC0415
    from pinfold.cli import choose  # noqa: PLC0415
    from pinfold.errors import UsageError  # noqa: PLC0415
    from pinfold.retention import Candidate, Decision  # noqa: PLC0415

    chosen = choose.listed(found, texts)
    going = {one.root for one in chosen}
    ids: dict[CID, str] = {}
    bases: dict[str, CID] = {}
    for made in catalogue.snapshots(found.store, found.repository, broken=lambda _, __: None):
        ids[made.root] = str(made.id)
        if made.header.base is not None and made.root not in going:
            bases[made.header.base] = made.root
    for one in chosen:
        above = bases.get(ids.get(one.root, ""))
        if above is not None:
            raise UsageError(f"snapshot {one.root} is needed by {above}, which builds on it; forget that one, too")
    return [
        Decision(
            Candidate(
                one.root, ids.get(one.root, ""), one.source, one.kind, None, datetime.fromisoformat(one.finished)
            ),
            keep=False,
            reasons=("named",),
        )
        for one in sorted(chosen, key=lambda one: (one.source, one.finished))
    ]


def _sources(found: Opened | Owned, decisions: Sequence[Decision]) -> list[Json]:
    from pinfold.cli import choose  # noqa: PLC0415
    from pinfold.clock import rfc3339  # noqa: PLC0415

    names = dict(choose.sources(found))

    def documents(group: Sequence[Decision], *, keep: bool) -> list[Json]:
        return [
            {
                "root": str(one.candidate.root),
                "id": one.candidate.id,
                "finished": rfc3339(one.candidate.finished),
                "kind": one.candidate.kind,
                "reasons": list(one.reasons),
            }
            for one in group
            if one.keep is keep
        ]

    made = []
    for source, of_it in groupby(decisions, lambda one: one.candidate.source):
        group = list(of_it)
        name = names.get(source, source)
        made.append(
            {
                "source_id": source,
                "source": None if name == source else name,
                "keep": documents(group, keep=True),
                "remove": documents(group, keep=False),
            }
        )
    return made


def _tell(call: Call, sources: Sequence[Json], removed: int, *, dry_run: bool) -> None:
    if not call.out.quiet:
        for one in sources:
            rows = [("keep", row) for row in one["keep"]] + [("remove", row) for row in one["remove"]]
            rows.sort(key=lambda pair: str(pair[1]["finished"]), reverse=True)
            call.out.say(output.path(one["source"] or one["source_id"]))
            call.out.table(
                ["", "id", "time", "kind", "~why"],
                [[what, _short(row), output.moment(row["finished"]), row["kind"], _why(row)] for what, row in rows],
            )
            call.out.say()
    call.out.say(f"{'would forget' if dry_run else 'forgot'} {output.some(removed, 'snapshot')}")


def _short(row: Json) -> str:
    return output.short(row["id"] or row["root"])


def _why(row: Json) -> str:
    return ", ".join(row["reasons"])


def _here() -> tzinfo:
    """The zone of this machine, whose days and weeks the rules mean."""
    try:
        if name := os.environ.get("TZ"):
            return ZoneInfo(name.removeprefix(":"))
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, "local")
    except (OSError, ValueError):
        return UTC
