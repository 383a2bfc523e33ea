"""`pinfold ls`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from pinfold.cli import output, rows
from pinfold.cli.options import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.cli.call import Call
    from pinfold.reading import Reader
    from pinfold.snapshot import Manifest
    from pinfold.sources.directory.entry import Entry


@command(
    "ls",
    examples=[
        "pinfold ls latest",
        "pinfold ls -l latest:web1:/etc ssh",
        "pinfold ls -R 45ag3lbjae | grep passwd",
    ],
    exits=(4, 5),
    returns=(
        "snapshot (root), path, entries: list of {path, type (file, folder, symlink, fifo, character device, block"
        " device), size, mode, uid, gid, mtime, mtime_ns, target, link}"
    ),
)
@click.argument("snapshot")
@click.argument("path", required=False, default="")
@click.option("-l", "long", is_flag=True, help="Modes, owners, sizes and times, too.")
@click.option("-R", "--recursive", is_flag=True, help="All below, not only what lies in the folder.")
def ls(call: Call, snapshot: str, path: str, long: bool, recursive: bool) -> int:
    """List what lies in a folder of a snapshot: the topmost, or the one at PATH.

    Paths are below the saved directory. Needs an identity or the passphrase.
    """
    from pinfold import browse  # noqa: PLC0415
    from pinfold.cli import choose  # noqa: PLC0415
    from pinfold.errors import UsageError  # noqa: PLC0415

    wanted = os.fsencode(path).strip(b"/")
    with call.owned() as owner:
        made = choose.snapshot(owner, snapshot)
        manifest = owner.manifest(made)
        with owner.reader(made) as reader:
            found = iter(browse.below(reader, manifest, wanted, deep=recursive))
            first = next(found, None)
            if first is None and not _is_folder(reader, manifest, wanted):
                raise UsageError(
                    f"there is no {output.path(path)!r} in snapshot {made.root}; paths count from the saved folder:"
                    f" see pinfold ls {output.path(snapshot)}"
                )
            _print(call, str(made.root), path, _whole(first, found), long=long)
    return 0


def _whole(first: tuple[bytes, Entry] | None, rest: Iterator[tuple[bytes, Entry]]) -> Iterator[tuple[bytes, Entry]]:
    if first is not None:
        yield first
        yield from rest


def _is_folder(reader: Reader, manifest: Manifest, path: bytes) -> bool:
    """Whether there is such a folder, only empty."""
    from pinfold import browse  # noqa: PLC0415

    return any(one == path or path in {b"", b"."} for one, _ in browse.rows(reader, manifest))


def _print(call: Call, root: str, path: str, found: Iterator[tuple[bytes, Entry]], *, long: bool) -> None:
    if call.out.as_json:
        entries = (rows.document(one, entry) for one, entry in found if one)
        call.out.listing({"snapshot": root, "path": output.raw(os.fsencode(path))}, "entries", entries)
        return
    for one, entry in found:
        if one:
            call.out.line(rows.line(one, entry, long=long))
