"""`pinfold stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pinfold.cli import output
from pinfold.cli.options import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pinfold.catalogue import Listed
    from pinfold.cli.call import Call
    from pinfold.ipld import CID
    from pinfold.snapshot import Manifest
    from pinfold.wiring import Opened, Owned


@command(
    "stats",
    examples=["pinfold stats", "pinfold stats latest", "pinfold stats --json | jq .block_bytes"],
    exits=(4, 5),
    returns=(
        "repository, snapshots, blocks, block_bytes, files, bytes (both null without a key), store {used, capacity (or"
        " null)}"
    ),
)
@click.argument("snapshot", nargs=-1)
def stats(call: Call, snapshot: tuple[str, ...]) -> int:
    """Count what all snapshots, or those given, hold, and what they take in the store, shared blocks counted once.

    Without a key only what they take is known.
    """
    from pinfold import browse, wiring  # noqa: PLC0415
    from pinfold.cli import choose  # noqa: PLC0415
    from pinfold.ipld import SeenMarks  # noqa: PLC0415

    with call.looked_at() as found:
        with_key = isinstance(found, wiring.Owned)
        total = browse.stats(_blocks(found, choose.listed(found, snapshot)), SeenMarks().add)
        usage = found.store.usage()
        repository = found.repository
    call.out.document(
        {
            "repository": repository,
            "snapshots": total.snapshots,
            "blocks": total.blocks,
            "block_bytes": total.bytes,
            "files": total.files if with_key else None,
            "bytes": total.plain_bytes if with_key else None,
            "store": {"used": usage.used, "capacity": usage.capacity},
        }
    )
    out = call.out
    out.line(f"snapshots  {output.number(total.snapshots)}")
    if with_key:
        out.line(
            f"hold       {output.some(total.files, 'file')}, {output.size(total.plain_bytes)}, each counted in full"
        )
    out.line(f"take       {output.some(total.blocks, 'block')}, {output.size(total.bytes)}, shared ones counted once")
    if with_key and total.bytes and total.plain_bytes:
        out.line(f"ratio      {total.plain_bytes / total.bytes:.1f} to 1")
    room = "" if usage.capacity is None else f", {output.size(max(0, usage.capacity - usage.used))} free"
    out.line(f"store      {output.size(usage.used)} used, with what is not collected yet{room}")
    return 0


def _blocks(
    found: Opened | Owned, listed: Sequence[Listed]
) -> Iterator[tuple[Iterator[tuple[CID, int]], Manifest | None]]:
    from pinfold import snapshot, wiring  # noqa: PLC0415
    from pinfold.ipld import list_folder  # noqa: PLC0415

    for one in listed:
        made = snapshot.load(one.root, found.store.get)
        manifest = found.manifest(made) if isinstance(found, wiring.Owned) else None
        yield ((entry.cid, entry.tsize or 0) for entry in list_folder(made.blocks, found.store.get)), manifest
