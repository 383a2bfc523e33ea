"""`pinfold export` and `pinfold import`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from pinfold.cli import output
from pinfold.cli.options import SIZE, command
from pinfold.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from typing import BinaryIO

    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.snapshot import Snapshot

T = TypeVar("T")


@command(
    "export",
    examples=[
        "pinfold export latest backup.car",
        "pinfold export 45ag3lbjae /media/stick/etc.car",
        "pinfold export latest - | ssh web2 pinfold import - -r /srv/backups",
        "pinfold export latest etc.car --split 1000MB      # etc.001.car, etc.002.car and so on",
    ],
    exits=(4, 5),
    returns="snapshot (root), file, blocks, bytes; with --split also parts: list of {file, root, blocks, bytes}",
)
@click.argument("snapshot")
@click.argument("file", metavar="FILE.car", type=click.Path(path_type=Path))
@click.option("--split", metavar="SIZE", type=SIZE, help="Into files of at most SIZE each, numbered.")
def export(call: Call, snapshot: str, file: Path, split: int | None) -> int:
    """Write a snapshot whole into a CAR file: for another store, a stick, or ipfs dag import.

    Needs no key unless SNAPSHOT is latest:NAME; the file is as sealed as the store. FILE is not overwritten;
    with - the CAR goes to stdout, and words to stderr. With --split it becomes FILE.001.car, FILE.002.car and so on:
    import takes them in any order, and ipfs dag import too, each by itself.
    """
    from pinfold import parts, transfer  # noqa: PLC0415
    from pinfold.cli import choose, progress  # noqa: PLC0415

    streams = str(file) == "-"
    if streams and call.out.as_json:
        raise UsageError("--json and - both want stdout; name a file")
    if streams and sys.stdout.isatty():
        raise UsageError("a CAR file does not belong on a terminal; pipe it on, or name a file")
    if streams and split is not None:
        raise UsageError("--split writes several files; name one, which they are called after")
    written: list[parts.Part] = []
    with call.owned() if snapshot.startswith("latest:") else call.looked_at() as found:
        made = choose.snapshot(found, snapshot)
        with progress.bar(call.out, "export", made.header.blocks_bytes) as bar:
            if split is not None:
                written = parts.split(found.store, made.root, file, split, bar.add)
                blocks, size = sum(one.blocks for one in written), sum(one.bytes for one in written)
            elif streams:
                blocks, size = transfer.pour(found.store, made.root, sys.stdout.buffer, bar.add)
            else:
                blocks, size = transfer.export(found.store, made.root, file, bar.add)
    document: Json = {"snapshot": str(made.root), "file": str(file), "blocks": blocks, "bytes": size}
    if split is not None:
        document["parts"] = [
            {"file": str(one.path), "root": str(one.root), "blocks": one.blocks, "bytes": one.bytes} for one in written
        ]
    call.out.document(document)
    tell = call.out.hint if streams else call.out.say
    for one in written:
        tell(f"{output.path(str(one.path))}: {output.some(one.blocks, 'block')}, {output.size(one.bytes)}")
    if split is None:
        tell(f"{output.path(str(file))}: {output.some(blocks, 'block')}, {output.size(size)}")
        tell(f"its root is {made.root}")
    else:
        tell(f"{output.some(len(written), 'part')} of {made.root}: whoever gets all of them has the snapshot")
    return 0


@command(
    "import",
    examples=[
        "pinfold import backup.car",
        "pinfold import backup.car -r /srv/new --create",
        "pinfold import etc.*.car                 # the parts of an export",
        "ssh web1 cat backup.car | pinfold import -",
        "for car in old/cars/*.car; do pinfold import $car --blocks-only; done",
    ],
    exits=(4, 5),
    returns="files, new_bytes, snapshots: list of {root, id, repository, source_id, finished}",
)
@click.argument("file", metavar="FILE.car...", nargs=-1, required=True)
@click.option("--create", is_flag=True, help="Make the store, a folder that is empty or not there yet.")
@click.option("--foreign", is_flag=True, help="Also snapshots of a repository that the store does not hold yet.")
@click.option("--blocks-only", is_flag=True, help="Pin nothing: the next gc frees what nothing pins by then.")
def load(call: Call, file: tuple[str, ...], create: bool, foreign: bool, blocks_only: bool) -> int:
    """Take the blocks of CAR files in, and pin the snapshots that are their roots or whose parts they are.

    Every block is compared with its hash. Needs no key. With - the file is read from stdin. A store that holds a
    repository takes snapshots of another one only with --foreign, or when --repository-id names it.
    """
    from pinfold import transfer, wiring  # noqa: PLC0415
    from pinfold.cli import progress  # noqa: PLC0415

    settings = call.settings()
    size = _size(file)
    made: list[Snapshot] = []
    with (
        wiring.store(settings, create=create) as store,
        progress.bar(call.out, "import", size) as bar,
        contextlib.closing(_opened(file)) as sources,
    ):
        if blocks_only:
            new = sum(transfer.load_blocks(store, source, bar.add) for source in sources)
        else:
            new, made = transfer.load_all(store, sources, bar.add, admits=_admission(settings.repository_id, foreign))
    call.out.document(
        {
            "files": list(file),
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


def _size(names: Sequence[str]) -> int | None:
    """Bytes of all files, None where nobody knows.  Raises UsageError for one that is not there."""
    if "-" in names:
        return None
    return sum(_try(os.stat, name).st_size for name in names)


def _opened(names: Sequence[str]) -> Generator[BinaryIO, None, None]:
    """The files, each open while it is the one."""
    for name in names:
        if name == "-":
            yield sys.stdin.buffer
            continue
        with _try(lambda name: open(name, "rb"), name) as file:  # noqa: PTH123  # a word, as it is
            yield file


def _try(does: Callable[[str], T], name: str) -> T:
    try:
        return does(name)
    except OSError as error:
        raise UsageError(f"cannot read {output.path(name)}: {error.strerror}") from error
