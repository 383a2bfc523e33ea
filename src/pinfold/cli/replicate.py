"""`pinfold replicate`."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Final

import click

from pinfold.cli import output
from pinfold.cli.options import command
from pinfold.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.config import Settings
    from pinfold.ipld import CID
    from pinfold.replicate import Replication, Report
    from pinfold.store.seam import Store
    from pinfold.wiring import Opened

_PARTIAL: Final = 3
_MOST_TOLD: Final = 20


@command(
    "replicate",
    examples=[
        "pinfold replicate --dry-run",
        "pinfold replicate",
        "pinfold replicate --to kubo+http://node2:5001",
        "pinfold replicate --from /mnt/usb/vault --to /srv/backups/vault",
        "pinfold replicate latest --to /media/stick/vault --create",
    ],
    exits=(3, 4, 5),
    returns=(
        "dry_run, repository, main, stores: list of {store, blocks, bytes, pins: list of {root, name, id, blocks,"
        " bytes, error}, beyond: list of {root, name}, stopped}, unreachable: list of {store, message}, notes. id is"
        " null for keyrings; error and stopped are null where all is well"
    ),
)
@click.argument("snapshot", nargs=-1)
@click.option("--to", "to", metavar="REPO", help="Bring this store up to date, not all that settings name.")
@click.option("--from", "origin", metavar="REPO", help="What this store has pinned is what there shall be.")
@click.option("--create", is_flag=True, help="Make the store of --to, a folder that is empty or not there yet.")
@click.option("--dry-run", "-n", is_flag=True, help="Tell what would be moved, move nothing.")
def replicate(
    call: Call, snapshot: tuple[str, ...], to: str | None, origin: str | None, create: bool, dry_run: bool
) -> int:
    """Bring stores up to date: what the main store has pinned and another one lacks goes there, and nothing else.

    The main store is that of --from, else the first that settings name and that answers. Blocks are read from any store
    that has them good. Pins that another store has and the main one has not are told and stay as they are; if they are
    newer than the main store's newest of that source, the main store gets them. Needs no key. Killed, the same command
    goes on where it stopped. A SNAPSHOT that is named is looked at block by block, pinned or not. From a gateway, which
    has no list of pins, goes what is named so, or behind its address as ?root=CID. The token of a store of --to
    or --from stands in pinfold.toml, as token_file in [stores."REPO"], with REPO as it is written here;
    PINFOLD_TOKEN_FILE is for the repository of the settings, or for such a store where that is a folder or not given.
    """
    from pinfold import wiring  # noqa: PLC0415
    from pinfold.cli import choose  # noqa: PLC0415
    from pinfold.errors import StoreError  # noqa: PLC0415
    from pinfold.replicate import Replication  # noqa: PLC0415
    from pinfold.store import power  # noqa: PLC0415
    from pinfold.store.seam import Named  # noqa: PLC0415

    if create and to is None:
        raise click.UsageError("--create makes the store of --to; name one")
    with contextlib.ExitStack() as stack:
        found, sources, unreachable = _read(stack, call, origin)
        target = None if to is None else stack.enter_context(wiring.store(_alone(call, to), create=create))
        if target is None and len(sources) + len(unreachable) < 2:
            raise UsageError("there is one store only: name another with --to REPO, or with mirrors in pinfold.toml")
        chosen = {one.root for one in choose.listed(found, snapshot)} if snapshot else None
        work = Replication(found.repository, sources, dry_run=dry_run)
        if target is not None and target.name == work.sources[0].name:
            raise UsageError(
                f"{target.name} is the main store itself: name another with --to, or what it is to be brought up to"
                " with --from"
            )
        unreachable |= work.unreachable
        reports: list[Report] = []
        takes = [one for one in work.sources if power(one, Named) is None]  # type: ignore[type-abstract]
        for one in takes if target is None else [target]:
            try:
                reports.append(_bring(call, work, one, chosen))
            except StoreError as error:
                unreachable[one.name] = str(error)
        return _tell(call, work, reports, unreachable, found.repository)


def _alone(call: Call, where: str) -> Settings:
    """Settings for one store, whatever mirrors there are.

    The token at the top of settings is that of their far repository, and not shown to another store.
    """
    from pinfold.store import address  # noqa: PLC0415

    own, alone = call.settings(), call.settings(repository=where)
    is_far = own.repository is not None and address.parse(own.repository) is not None
    access = own.access if is_far else alone.access
    return dataclasses.replace(alone, access=access, mirrors=(), min_copies=1, max_copies=None)


def _read(stack: contextlib.ExitStack, call: Call, origin: str | None) -> tuple[Opened, list[Store], dict[str, str]]:
    """The repository, the stores that can be read, the main one first, and those that are away."""
    from pinfold import wiring  # noqa: PLC0415
    from pinfold.replicate import parted  # noqa: PLC0415

    settings = call.settings()
    if origin is None:
        found = stack.enter_context(wiring.opened(settings))
        return found, *parted(found.store)
    found = stack.enter_context(wiring.opened(_alone(call, origin)))
    sources: list[Store] = [found.store]
    away: dict[str, str] = {}
    if settings.repository is not None:
        more, away = parted(stack.enter_context(wiring.store(settings)))
        sources += [one for one in more if one.name != found.store.name]
    return found, sources, away


def _bring(call: Call, work: Replication, target: Store, chosen: Collection[CID] | None) -> Report:
    from pinfold.cli import progress  # noqa: PLC0415

    with progress.bar(call.out, target.name) as bar:
        return work.bring(target, chosen, bar)


def _tell(
    call: Call, work: Replication, reports: Sequence[Report], unreachable: dict[str, str], repository: str
) -> int:
    call.out.document(
        {
            "dry_run": work.dry_run,
            "repository": repository,
            "main": work.sources[0].name,
            "stores": [_document(one) for one in reports],
            "unreachable": [{"store": name, "message": why} for name, why in unreachable.items()],
            "notes": work.warnings,
        }
    )
    for one in reports:
        _tell_one(call, work, one)
    for line in work.warnings:
        call.out.warn(line)
    for name, why in unreachable.items():
        call.out.warn(output.without_echo(f"{output.path(name)} was passed over, and lacks what it lacked before", why))
    return _PARTIAL if unreachable or any(one.failed for one in reports) else 0


def _document(one: Report) -> Json:
    return {
        "store": one.store,
        "blocks": one.blocks,
        "bytes": one.bytes,
        "pins": [
            {
                "root": str(done.pin.root),
                "name": done.pin.name,
                "id": done.pin.id or None,
                "blocks": done.blocks,
                "bytes": done.bytes,
                "error": done.error or None,
            }
            for done in one.done
        ],
        "beyond": [{"root": str(pin.root), "name": pin.name} for pin in one.beyond],
        "stopped": one.stopped or None,
    }


def _tell_one(call: Call, work: Replication, one: Report) -> None:
    from pinfold.replicate import NOT_TRIED  # noqa: PLC0415

    out, name = call.out, output.path(one.store)
    whole = [done for done in one.done if not done.error]
    some = output.some(sum(bool(done.pin.source) for done in whole), "snapshot")
    if not one.done:
        out.say(f"{name}: has all that it shall")
    else:
        would = "would take" if work.dry_run else "took"
        out.say(f"{name}: {would} {some}, {output.some(one.blocks, 'block')} of {output.size(one.bytes)}")
    if one.stopped:
        out.warn(f"{name}: stopped: {one.stopped}; the same command goes on from here")
    failed = [done for done in one.failed if not one.stopped or done.error not in {one.stopped, NOT_TRIED}]
    for done in failed[:_MOST_TOLD]:
        out.warn(f"{name}: {output.short(done.pin.id or done.pin.root)}: {done.error}")
    if len(failed) > _MOST_TOLD:
        out.warn(f"{name}: and {output.number(len(failed) - _MOST_TOLD)} more; --json tells them")
    main = output.path(work.sources[0].name)
    keyrings = sum(pin.name.split("/")[2:3] == ["keyring"] for pin in one.beyond)
    if keyrings:
        out.warn(f"{name}: has an older keyring, which {main} has not; the next change of keys drops it")
    if snapshots := len(one.beyond) - keyrings:
        out.warn(
            f"{name}: has {output.some(snapshots, 'snapshot')} that {main} has not, forgotten while {name} was away or"
            f" never replicated; they stay. pinfold forget drops them, pinfold replicate --from {name} spreads them"
        )
