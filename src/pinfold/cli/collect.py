"""`pinfold gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pinfold.cli import output
from pinfold.cli.options import command

if TYPE_CHECKING:
    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.store import Collected, Store


@command(
    "gc",
    examples=["pinfold gc", "pinfold gc --dry-run"],
    exits=(4,),
    returns="dry_run, freed_blocks, freed_bytes, live_blocks, live_bytes, waiting_bytes",
)
@click.option("--dry-run", "-n", is_flag=True, help="Tell what would be freed, free nothing.")
def gc(call: Call, dry_run: bool) -> int:
    """Free the blocks that no pin reaches: of forgotten snapshots, and of runs that were cut off.

    Needs no key and may run beside backups: what they are using is left for the next time.
    """
    from pinfold import wiring  # noqa: PLC0415

    with wiring.store(call.settings()) as store:
        done = collect(call, store, dry_run=dry_run)
    call.out.document(document(done, dry_run=dry_run))
    tell(call, done, dry_run=dry_run)
    return 0


def collect(call: Call, store: Store, *, dry_run: bool) -> Collected:
    """Let a store collect its garbage.  Raises UsageError for one that cannot."""
    from pinfold.cli import progress  # noqa: PLC0415
    from pinfold.errors import Corrupt, Damaged, Malformed, Missing, Refused, UsageError  # noqa: PLC0415
    from pinfold.store import Collects, power  # noqa: PLC0415

    collects = power(store, Collects)  # type: ignore[type-abstract]  # a protocol, asked for by isinstance
    if collects is None:
        raise UsageError(f"{store.name} frees its garbage by itself, or is read-only")
    with progress.bar(call.out, "collect", counts="blocks") as bar:

        def so_far(done: int, total: int) -> None:
            bar.total(total)
            bar.to(done)

        try:
            return collects.collect(dry_run=dry_run, progress=so_far)
        except Refused as error:
            if isinstance(error.__cause__, Missing | Corrupt | Malformed):
                raise Damaged(str(error)) from error  # it is not the caller who is refused
            raise


def document(done: Collected, *, dry_run: bool) -> Json:
    """What a collection did, as JSON."""
    return {
        "dry_run": dry_run,
        "freed_blocks": done.freed_blocks,
        "freed_bytes": done.freed_bytes,
        "live_blocks": done.live_blocks,
        "live_bytes": done.live_bytes,
        "waiting_bytes": done.waiting_bytes,
    }


def tell(call: Call, done: Collected, *, dry_run: bool) -> None:
    """What a collection did, in words."""
    verb = "would free" if dry_run else "freed"
    call.out.say(
        f"{verb} {output.some(done.freed_blocks, 'block')}, {output.size(done.freed_bytes)};"
        f" {output.some(done.live_blocks, 'block')}, {output.size(done.live_bytes)} are in use"
    )
    if done.waiting_bytes:
        call.out.say(f"{output.size(done.waiting_bytes)} wait for runs that are under way")
