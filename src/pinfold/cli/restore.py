"""`pinfold restore`."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pinfold.cli import output
from pinfold.cli.options import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pinfold.cli.call import Call
    from pinfold.cli.choose import Fits
    from pinfold.cli.options import Json
    from pinfold.restore import Restored
    from pinfold.seal.secret import Secret
    from pinfold.snapshot import Manifest, Snapshot
    from pinfold.wiring import Owned
    from pinfold.wiring.secrets import Ask

_DAMAGED = 4
_PARTIAL = 3
_MOST_TOLD = 20
_LONG = 3.0
_STILL = "still looking for the snapshot: a gateway may search the network, Kubo's for 30 seconds"


@command(
    "restore",
    examples=[
        "pinfold restore latest /tmp/back",
        "pinfold restore latest:web1:/etc /tmp/etc --include ssh --include '*.conf'",
        "pinfold restore 45ag3lbjae /home --overwrite if-newer",
        "pinfold restore ./bafy... /tmp/back      # a folder that ipfs get made, without any repository",
        "pinfold restore backup.car /tmp/back     # a file that pinfold export made",
    ],
    exits=(3, 4, 5),
    returns=(
        "snapshot (root), target, dry_run, files, folders, others, bytes, kept, removed, owners_not_set, problem_count,"
        " problems: list of {path, what}, damaged_count, damaged: list of {path, what}"
    ),
)
@click.argument("snapshot")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--include", metavar="GLOB", multiple=True, help="Only what fits, as in .gitignore. Repeatable.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="Not what fits, as in .gitignore. Repeatable.")
@click.option(
    "--overwrite",
    type=click.Choice(["never", "if-newer", "always"]),
    default="never",
    show_default=True,
    help="What becomes of other files that are there already.",
)
@click.option("--delete", is_flag=True, help="Remove from TARGET what the snapshot does not hold.")
@click.option("--numeric-owner", is_flag=True, help="Restore owners by number, not by name.")
@click.option("--dry-run", "-n", is_flag=True, help="Tell what would be written and removed; -v lists it.")
def restore(
    call: Call,
    snapshot: str,
    target: Path,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    overwrite: str,
    delete: bool,
    numeric_owner: bool,
    dry_run: bool,
) -> int:
    """Write a snapshot back into the folder TARGET, which is made if it is not there.

    Nothing that is there already is overwritten unless --overwrite says so; files of the same size and time count as
    restored, so a restore that was cut off is gone on with by the same command. Nothing outside TARGET is touched.
    SNAPSHOT may also be a folder as ipfs get makes it, or a CAR file: then no repository is needed. Damaged files are
    named and left out; all others are restored.
    """
    from pinfold import wiring  # noqa: PLC0415
    from pinfold.cli import choose  # noqa: PLC0415

    wanted = choose.files(include, exclude)
    if delete and wanted is not None:
        raise click.UsageError("--delete would remove what --include and --exclude leave out; use it without them")
    settings = call.settings()
    with contextlib.ExitStack() as stack:
        with _patient(call, settings.repository or "") as found:
            alone = stack.enter_context(wiring.elsewhere(settings, snapshot))
            owner = stack.enter_context(wiring.owned(alone or settings, _after(found, call.ask)))
            made = choose.snapshot(owner, "latest" if alone else snapshot)
            manifest = owner.manifest(made)
        choice = _Choice(wanted, overwrite, delete, numeric_owner)
        if dry_run:
            return _rehearse(call, owner, made, manifest, target, choice)
        return _restore(call, owner, made, manifest, target, choice)


@contextlib.contextmanager
def _patient(call: Call, where: str) -> Iterator[Callable[[], None]]:
    """Tell whoever sits before a terminal what takes so long, unless what is given was called before."""
    told = threading.Timer(_LONG, call.out.hint, [_STILL])
    told.daemon = True
    if not call.out.is_silent and where.lower().startswith("gateway+"):
        told.start()
    try:
        yield told.cancel
    finally:
        told.cancel()


def _after(found: Callable[[], None], ask: Ask | None) -> Ask | None:
    if ask is None:
        return None

    def asking(prompt: str) -> Secret:
        found()
        return ask(prompt)

    return asking


@dataclasses.dataclass(frozen=True, slots=True)
class _Choice:
    wanted: Fits | None
    overwrite: str
    delete: bool
    numeric_owner: bool


def _restore(call: Call, owner: Owned, made: Snapshot, manifest: Manifest, target: Path, choice: _Choice) -> int:
    from pinfold.cli import progress  # noqa: PLC0415
    from pinfold.restore import MOST_TOLD, Choice, Restore, Restored  # noqa: PLC0415
    from pinfold.sources.directory.target import Overwrite, Target  # noqa: PLC0415

    result = Restored()

    def problem(path: bytes, what: str) -> None:
        result.problem_count += 1
        if len(result.problems) < MOST_TOLD:
            result.problems.append((path, what))

    place = Target(target, overwrite=Overwrite(choice.overwrite), numeric_owners=choice.numeric_owner, problem=problem)
    total = manifest.counts.get("bytes") if choice.wanted is None else None
    try:
        with owner.reader(made) as reader, progress.bar(call.out, "restore", total) as bar:
            told = Choice(choice.wanted, choice.delete, lambda path, so_far: bar.to(so_far.written, path))
            Restore(reader, manifest, place, told, result).run()
    finally:
        place.close()
    return _tell(call, made, target, result, place.unset_owners, narrowed=choice.wanted is not None)


def _rehearse(call: Call, owner: Owned, made: Snapshot, manifest: Manifest, target: Path, choice: _Choice) -> int:
    from pinfold.restore import Choice, rehearse  # noqa: PLC0415
    from pinfold.sources.directory.target import Overwrite  # noqa: PLC0415
    from pinfold.sources.directory.target_rehearse import Lookup  # noqa: PLC0415

    def tell(what: str, path: bytes) -> None:
        if call.out.verbose:
            call.out.line(f"{what:6}  {output.path(path)}")

    with owner.reader(made) as reader:
        place = Lookup(target, overwrite=Overwrite(choice.overwrite))
        wanted = Choice(choice.wanted, choice.delete)
        result = rehearse(reader.pages(manifest.index), manifest, place, wanted, tell)
    return _tell(call, made, target, result, 0, narrowed=choice.wanted is not None, dry_run=True)


def _tell(
    call: Call, made: Snapshot, target: Path, result: Restored, unset: int, *, narrowed: bool, dry_run: bool = False
) -> int:
    out = call.out
    # The topmost folder is always there, unless patterns leave it out.
    fits_something = result.files or result.folders or result.others or result.kept or result.removed or not narrowed
    out.document(
        {
            "snapshot": str(made.root),
            "target": str(target),
            "dry_run": dry_run,
            "files": result.files,
            "folders": result.folders,
            "others": result.others,
            "bytes": result.written,
            "kept": result.kept,
            "removed": result.removed,
            "owners_not_set": unset,
            "problem_count": result.problem_count,
            "problems": _pairs(result.problems),
            "damaged_count": result.damaged_count,
            "damaged": _pairs(result.damaged),
        }
    )
    if not (fits_something or result.problem_count or result.damaged_count):
        out.warn("nothing in the snapshot fits; patterns and paths count from the saved folder: see pinfold ls -R")
        return _PARTIAL
    verb = "would restore" if dry_run else "restored"
    out.say(
        f"{verb} {output.some(result.files, 'file')}, {output.some(result.folders, 'folder')},"
        f" {output.some(result.others, 'other name')}, {output.size(result.written)} into {output.path(str(target))}"
    )
    if result.kept:
        what = output.some(result.kept, "name" if dry_run else "file")
        there = "are" if dry_run and result.kept > 1 else "is" if dry_run else _were(result.kept)
        out.say(f"{what} of the same size and time {there} there already")
    if result.removed:
        verb = "would remove" if dry_run else "removed"
        out.say(f"{verb} {output.some(result.removed, 'name')} that the snapshot does not hold")
    if unset:
        out.say(f"owners could not be set on {output.some(unset, 'name')}: only root may give files away")
    _list(call, result.problems, result.problem_count, "to be kept" if dry_run else "not restored as saved")
    _list(call, result.damaged, result.damaged_count, "damaged in the store")
    if result.damaged_count:
        out.warn("see what else is damaged with: pinfold verify --read")
    return _DAMAGED if result.damaged_count else _PARTIAL if result.problem_count else 0


def _list(call: Call, told: Sequence[tuple[bytes, str]], count: int, what: str) -> None:
    most = len(told) if call.out.verbose else _MOST_TOLD
    if count:
        call.out.warn(f"{output.some(count, 'name')} {what}:")
        for path, why in told[:most]:
            call.out.warn(f"  {output.path(path)}: {why}")
        if count > most:
            call.out.warn(f"  and {output.number(count - most)} more; -v or --json tells them")


def _pairs(told: Sequence[tuple[bytes, str]]) -> list[Json]:
    return [{"path": output.raw(path), "what": what} for path, what in told]


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
