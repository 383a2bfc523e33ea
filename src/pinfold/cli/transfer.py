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
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from pinfold.cli.call import Call
    from pinfold.snapshot import Snapshot


@command(
    "export",
    examples=[
        "pinfold export latest backup.car",
        "pinfold export 45ag3lbjae /media/stick/etc.car",
        "pinfold export latest - | ssh web2 pinfold import - -r /srv/backups",
    ],
    exits=(4, 5),
    returns="snapshot (root), file, blocks, bytes",
)
@click.argument("snapshot")
@click.argument("file", metavar="FILE.car", type=click.Path(path_type=Path))
def export(call: Call, snapshot: str, file: Path) -> int:
    """Write a snapshot whole into a CAR file: for another store, a stick, or ipfs dag import.

    Needs no key unless SNAPSHOT is latest:NAME; the file is as sealed as the store. FILE is not overwritten;
    with - the CAR goes to stdout, and words to stderr.
    """
    from pinfold import transfer  # noqa: PLC0415
    from pinfold.cli import choose, progress  # noqa: PLC0415

    streams = str(file) == "-"
    if streams and call.out.as_json:
        raise UsageError("--json and - both want stdout; name a file")
    if streams and sys.stdout.isatty():
        raise UsageError("a CAR file does not belong on a terminal; pipe it on, or name a file")
    with call.owned() if snapshot.startswith("latest:") else call.looked_at() as found:
        made = choose.snapshot(found, snapshot)
        with progress.bar(call.out, "export", made.header.blocks_bytes) as bar:
            if streams:
                blocks, written = transfer.pour(found.store, made.root, sys.stdout.buffer, bar.add)
            else:
                blocks, written = transfer.export(found.store, made.root, file, bar.add)
    call.out.document({"snapshot": str(made.root), "file": str(file), "blocks": blocks, "bytes": written})
    tell = call.out.hint if streams else call.out.say
    tell(f"{output.path(str(file))}: {output.some(blocks, 'block')}, {output.size(written)}")
    tell(f"its root is {made.root}")
    return 0


@command(
    "import",
    examples=[
        "pinfold import backup.car",
        "pinfold import backup.car -r /srv/new --create",
        "ssh web1 cat backup.car | pinfold import -",
        "for car in old/cars/*.car; do pinfold import $car --blocks-only; done",
    ],
    exits=(4, 5),
    returns="file, new_bytes, snapshots: list of {root, id, repository, source_id, finished}",
)
@click.argument("file", metavar="FILE.car")
@click.option("--create", is_flag=True, help="Make the store, a folder that is empty or not there yet.")
@click.option("--foreign", is_flag=True, help="Also snapshots of a repository that the store does not hold yet.")
@click.option("--blocks-only", is_flag=True, help="Pin nothing: the next gc frees what nothing pins by then.")
def load(call: Call, file: str, create: bool, foreign: bool, blocks_only: bool) -> int:
    """Take the blocks of a CAR file in, and pin the snapshots that are its roots.

    Every block is compared with its hash. Needs no key. With - the file is read from stdin. A store that holds a
    repository takes snapshots of another one only with --foreign, or when --repository-id names it.
    """
    from pinfold import transfer, wiring  # noqa: PLC0415
    from pinfold.cli import progress  # noqa: PLC0415

    settings = call.settings()
    made: list[Snapshot] = []
    with (
        _opened(file) as (source, size),
        wiring.store(settings, create=create) as store,
        progress.bar(call.out, "import", size) as bar,
    ):
        if blocks_only:
            new = transfer.load_blocks(store, source, bar.add)
        else:
            new, made = transfer.load(store, source, bar.add, admits=_admission(settings.repository_id, foreign))
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


def _admission(repository: str | None, foreign: bool) -> Callable[[str], bool] | None:
    if foreign:
        return lambda _: True
    return None if repository is None else lambda found: found == repository


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
