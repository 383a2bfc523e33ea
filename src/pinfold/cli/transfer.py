"""`pinfold export` and `pinfold import`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pinfold.cli import output
from pinfold.cli.options import command
from pinfold.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from pinfold.cli.call import Call


@command(
    "export",
    examples=["pinfold export latest backup.car", "pinfold export 45ag3lbjae /media/stick/etc.car"],
    exits=(4, 5),
    returns="snapshot (root), file, blocks, bytes",
)
@click.argument("snapshot")
@click.argument("file", metavar="FILE.car", type=click.Path(path_type=Path))
def export(call: Call, snapshot: str, file: Path) -> int:
    """Write a snapshot whole into a CAR file: for another store, a stick, or ipfs dag import.

    Needs no key unless SNAPSHOT is latest:NAME; the file is as sealed as the store. FILE is not overwritten.
    """
    from pinfold import transfer  # noqa: PLC0415
    from pinfold.cli import choose, progress  # noqa: PLC0415

    with call.owned() if snapshot.startswith("latest:") else call.looked_at() as found:
        made = choose.snapshot(found, snapshot)
        with progress.bar(call.out, "export", made.header.blocks_bytes) as bar:
            blocks, written = transfer.export(found.store, made.root, file, bar.add)
    call.out.document({"snapshot": str(made.root), "file": str(file), "blocks": blocks, "bytes": written})
    call.out.say(f"{output.path(str(file))}: {output.some(blocks, 'block')}, {output.size(written)}")
    call.out.say(f"its root is {made.root}")
    return 0


@command(
    "import",
    examples=[
        "pinfold import backup.car",
        "pinfold import backup.car -r /srv/new --create",
        "ssh web1 cat backup.car | pinfold import -",
    ],
    exits=(4, 5),
    returns="file, new_bytes, snapshots: list of {root, id, repository, source_id, finished}",
)
@click.argument("file", metavar="FILE.car")
@click.option("--create", is_flag=True, help="Make the store, a folder that is empty or not there yet.")
def load(call: Call, file: str, create: bool) -> int:
    """Take the blocks of a CAR file in, and pin the snapshots that are its roots.

    Every block is compared with its hash. Needs no key. With - the file is read from stdin.
    """
    from pinfold import transfer, wiring  # noqa: PLC0415
    from pinfold.cli import progress  # noqa: PLC0415

    with (
        _opened(file) as (source, size),
        wiring.store(call.settings(), create=create) as store,
        progress.bar(call.out, "import", size) as bar,
    ):
        new, made = transfer.load(store, source, bar.add)
    call.out.document(
        {
            "file": file,
            "new_bytes": new,
            "snapshots": [
                {
                    "root": str(one.root),
                    "id": str(one.id),
                    "repository": one.header.repository,
                    "source_id": one.header.source,
                    "finished": one.header.finished,
                }
                for one in made
            ],
        }
    )
    for one in made:
        call.out.say(f"snapshot {one.root} of {output.moment(one.header.finished)} is pinned")
    call.out.say(f"{output.size(new)} were new")
    return 0


@contextlib.contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int | None]]:
    if name == "-":
        yield sys.stdin.buffer, None
        return
    try:
        size = Path(name).stat().st_size
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"cannot read {output.path(name)}: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        yield file, size
