"""`pinfold gc`."""

from __future__ import annotations

from functools import cache
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
    """Let a store collect its garbage; one that frees it by itself is not asked, which is said.

    Raises UsageError for one that is read-only.
    """
    from pinfold.cli import progress  # noqa: PLC0415
    from pinfold.errors import Corrupt, Damaged, Malformed, Missing, Refused, UsageError  # noqa: PLC0415
    from pinfold.store import Collects, Fetches, power  # noqa: PLC0415

    collects = power(store, Collects)  # type: ignore[type-abstract]  # a protocol, asked for by isinstance
    if collects is None and power(store, Fetches) is not None:  # type: ignore[type-abstract]
        call.out.say(f"{store.name} frees by itself what no pin reaches")
        return _nothing()
    if collects is None:
        raise UsageError(f"{store.name} is read-only: nothing can be freed there")
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


@cache
def _nothing() -> Collected:
    """What was done in a store that was not told to do anything."""
    from pinfold.store import Collected  # noqa: PLC0415

    return Collected(0, 0, 0, 0)


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
    if done is _nothing():
        return
    verb = "would free" if dry_run else "freed"
    freed = output.some(done.freed_blocks, "block")
    live = f"{output.some(done.live_blocks, 'block')}, " if done.live_blocks or not done.live_bytes else ""
    if done.freed_bytes or not done.freed_blocks:  # else it is not known
        freed += f", {output.size(done.freed_bytes)}; {live}{output.size(done.live_bytes)} are in use"
    call.out.say(f"{verb} {freed}")
    if done.waiting_bytes:
        call.out.say(f"{output.size(done.waiting_bytes)} wait for runs that are under way")
