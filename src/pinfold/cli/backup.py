"""`pinfold backup`: which sources are meant, one run for each, and a summary that hides nothing."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING

import click

from pinfold.cli import backup_summary as summary
from pinfold.cli.backup_sources import absent, from_words, read_list, texts, with_flags
from pinfold.cli.options import SECONDS, SIZE, command
from pinfold.errors import PinfoldError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinfold.backup import Repository, Wishes
    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.cli.progress import Bar
    from pinfold.config import Settings, SourceSettings
    from pinfold.sources.seam import Counts


@command(
    "backup",
    examples=[
        "pinfold backup /etc /home --exclude-caches --exclude '*.tmp'",
        "pinfold backup /srv/www --name website --tag before-upgrade",
        "pinfold backup --all                     # every source of pinfold.toml",
        "find /data -newer stamp -print0 | pinfold backup /data --name data-new --files-from -",
        "pinfold backup /home --dry-run           # walk and count only",
    ],
    exits=(3, 4, 5),
    returns=(
        "dry_run, sources: list of {source, path, outcome (made, unchanged, failed or counted), root, id, files {all,"
        " new, changed, unmodified, gone}, folders, others, bytes, read_bytes, new_blocks, new_bytes, seconds, copies,"
        " short_of_copies, places: list of {where, state, since, detail}, problem_count, problems and notes: lists of"
        " {path, what}, error}"
    ),
)
@click.argument("what", nargs=-1, metavar="[PATH|NAME]...")
@click.option("--all", "everything", is_flag=True, help="All sources of pinfold.toml.")
@click.option("--name", metavar="NAME", help="Call the source this, instead of HOST:PATH.")
@click.option("--exclude", metavar="PATTERN", multiple=True, help="Leave out, as in .gitignore. Repeatable.")
@click.option("--exclude-file", metavar="FILE", multiple=True, help="File of such patterns. Repeatable.")
@click.option("--exclude-caches", is_flag=True, help="Leave out what lies beside a CACHEDIR.TAG.")
@click.option("--exclude-if-present", metavar="NAME", multiple=True, help="Leave out what lies beside a file NAME.")
@click.option("--exclude-larger-than", metavar="SIZE", type=SIZE, help="Leave out larger files, as 500M.")
@click.option("--one-file-system", is_flag=True, help="Do not enter other file systems.")
@click.option("--files-from", metavar="FILE", help="Only the paths listed in FILE (- for stdin), by line or zero byte.")
@click.option("--tag", metavar="TAG", multiple=True, help="Tag the snapshot. Repeatable.")
@click.option("--ignore-inode", is_flag=True, help="A file with another inode may be unchanged.")
@click.option("--ignore-ctime", is_flag=True, help="A file with another ctime may be unchanged.")
@click.option("--no-xattrs", is_flag=True, help="Do not save extended attributes and ACLs.")
@click.option("--skip-unchanged", is_flag=True, help="Make no snapshot where nothing changed.")
@click.option("--check-all", is_flag=True, help="Open every sealed block again and compare, not one in 64.")
@click.option("--interval", metavar="DURATION", type=SECONDS, help="Promise the next snapshot within, as 24h.")
@click.option("--checkpoint", metavar="SECONDS", type=SECONDS, help="Pin what there is this often. [300]")
@click.option("--dry-run", "-n", is_flag=True, help="Walk and count, store nothing.")
def backup(
    call: Call,
    what: tuple[str, ...],
    everything: bool,
    name: str | None,
    files_from: str | None,
    skip_unchanged: bool,
    check_all: bool,
    checkpoint: int | None,
    dry_run: bool,
    **flags: object,
) -> int:
    """Save directories, each as one snapshot of one source.

    PATH is a directory or a file, and its source is called HOST:PATH unless --name says otherwise; NAME is a source of
    pinfold.toml. Files whose size, times and inode are as in the last snapshot are not read again. What cannot be
    read is told, recorded in the snapshot, and makes the exit code 3; the other files and sources are saved all the
    same. A run that is cut off is gone on with by the next.

    With --files-from the snapshot holds the listed paths only, and becomes latest of its source like any other: give
    it a --name of its own unless the list is always whole.
    """
    from pinfold.backup import Wishes  # noqa: PLC0415

    if any(not one.strip() for one in texts(flags["tag"])):
        raise click.UsageError("--tag: a tag cannot be empty")
    settings = call.settings(checkpoint=checkpoint, check_all=check_all or None)
    chosen = [
        with_flags(one, skip_unchanged, flags) for one in from_words(settings, what, everything=everything, name=name)
    ]
    listed = None if files_from is None else read_list(files_from, chosen)
    if dry_run:
        return summary.tell(call.out, [_counted(call, one, listed) for one in chosen], dry_run=True)

    from pinfold import wiring  # noqa: PLC0415

    told: list[Json] = []
    with wiring.for_backup(settings, call.ask) as repository:
        for one in chosen:
            wishes = Wishes(
                tags=one.tags,
                host=settings.host or "",
                interval=one.interval,
                skip_unchanged=one.skip_unchanged,
                check_all=settings.check_all,
                checkpoint_seconds=settings.checkpoint,
            )
            told.append(_run(call, repository, one, listed, wishes, settings))
    return summary.tell(call.out, told, dry_run=False)


def _run(
    call: Call,
    repository: Repository,
    source: SourceSettings,
    listed: list[bytes] | None,
    wishes: Wishes,
    settings: Settings,
) -> Json:
    """One source; what goes wrong is told and does not stop the others."""
    from pinfold import wiring  # noqa: PLC0415
    from pinfold.backup import backup as run  # noqa: PLC0415
    from pinfold.cli import progress  # noqa: PLC0415

    try:
        directory = wiring.directory(source, repository.agent, listed, [wiring.place(settings), *settings.mirrors])
        with progress.bar(call.out, source.name) as bar:
            stop = _estimate(source, listed, bar) if bar.is_shown else threading.Event()
            try:
                result = run(repository, directory, dataclasses.replace(wishes, progress=_follow(bar)))
            finally:
                stop.set()
    except (PinfoldError, OSError) as error:
        return summary.failed(source, error)
    return summary.with_absent(summary.made(source, result), absent(source, listed))


def _follow(bar: Bar) -> Callable[[bytes, Counts], None]:
    """What of a run's counts is the bytes done: whole files, and what of the current one is read."""
    if not bar.is_shown:
        return lambda _, __: None
    whole = read_before = 0

    def follow(current: bytes, counts: Counts) -> None:
        nonlocal whole, read_before
        if counts.bytes != whole:
            whole, read_before = counts.bytes, counts.read_bytes
        bar.to(whole + counts.read_bytes - read_before, current)

    return follow


class _Deaf:
    """The run itself tells of what cannot be read; an estimate need not."""

    def problem(self, path: bytes, what: str) -> None:
        """Told by the run."""

    def note(self, path: bytes, what: str) -> None:
        """Told by the run."""


def _estimate(source: SourceSettings, listed: list[bytes] | None, bar: Bar) -> threading.Event:
    """Count ahead of the run, for the time left; only where somebody looks.  Set the event to end it."""
    from pinfold import wiring  # noqa: PLC0415

    stop = threading.Event()

    def count() -> None:
        total = 0
        try:
            for seen in wiring.walk(source, _Deaf(), listed).parts():
                total += sum(entry.size for entry in seen.part.entries)
                if stop.is_set():
                    return
        except (PinfoldError, OSError):
            return
        bar.total(total)

    threading.Thread(target=count, name="pinfold-estimate", daemon=True).start()
    return stop


def _counted(call: Call, source: SourceSettings, listed: list[bytes] | None) -> Json:
    from pinfold import wiring  # noqa: PLC0415
    from pinfold.cli import progress  # noqa: PLC0415
    from pinfold.sources.seam import Counts  # noqa: PLC0415

    told = summary.Told()
    counts = Counts()
    try:
        with progress.bar(call.out, source.name) as bar:
            for seen in wiring.walk(source, told, listed).parts():
                for entry in seen.part.entries:
                    counts.files += entry.is_file
                    counts.folders += entry.is_folder
                    counts.others += not (entry.is_file or entry.is_folder)
                    counts.bytes += entry.size
                bar.to(counts.bytes, seen.part.folder or b"")
    except (PinfoldError, OSError) as error:
        return summary.failed(source, error)
    return summary.with_absent(summary.counted(source, counts, told), absent(source, listed))
