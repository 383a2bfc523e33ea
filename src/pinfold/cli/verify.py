"""`pinfold verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pinfold.cli import output
from pinfold.cli.options import command

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pinfold.cli.call import Call
    from pinfold.verify import Report
    from pinfold.wiring import Opened, Owned

_SHORT = 3
_DAMAGED = 4
_MOST_TOLD = 100


@command(
    "verify",
    examples=[
        "pinfold verify                       # is everything there? needs no key",
        "pinfold verify --read                # is every byte sound? needs no key",
        "pinfold verify latest --decrypt 100  # does everything open?",
        "pinfold verify --at-rest             # every block the store holds, needed or not",
    ],
    exits=(3, 4, 5),
    returns=(
        "repository, with_key, snapshots, blocks, bytes, read, opened, at_rest, damage_count, damage: list of {what,"
        " why}, files: list of {snapshot, path}, notes: list of text, short_of_copies"
    ),
)
@click.argument("snapshot", nargs=-1)
@click.option("--read", is_flag=True, help="Fetch every block and compare it with its hash.")
@click.option(
    "--decrypt",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    default=0.0,
    help="Open this part of the chunks, too; needs a key.",
)
@click.option("--at-rest", is_flag=True, help="Let the store hash all it holds, where it can.")
def verify(call: Call, snapshot: tuple[str, ...], read: bool, decrypt: float, at_rest: bool) -> int:
    """Check that every block of every snapshot, or of those given, is there; with --read also that it is sound.

    This needs no key: a block's name is its hash, and snapshots are signed. With an identity or passphrase configured
    the names of damaged files are told, and --decrypt opens a sample. Damage does not end the work: all of it is named.
    """
    import secrets  # noqa: PLC0415

    from pinfold import wiring  # noqa: PLC0415
    from pinfold.cli import choose, progress  # noqa: PLC0415
    from pinfold.verify import Depth, Verification  # noqa: PLC0415

    opening: AbstractContextManager[Opened | Owned] = call.owned() if decrypt else call.looked_at()
    with opening as found:
        key = found.key if isinstance(found, wiring.Owned) else None
        with progress.bar(call.out, "verify", counts="blocks") as bar:
            depth = Depth(read, decrypt, secrets.randbits(64), lambda report: bar.to(report.blocks))
            verification = Verification(found.store, key, depth)
            verification.run(choose.listed(found, snapshot))
            if not snapshot:
                verification.keyrings(found.repository)
        report = verification.report
        if at_rest:
            _at_rest(call, found, report)
        repository = found.repository
    return _tell(call, repository, report, with_key=key is not None, read=read, at_rest=at_rest)


def _at_rest(call: Call, found: Opened | Owned, report: Report) -> None:
    from pinfold.cli import progress  # noqa: PLC0415
    from pinfold.errors import UsageError  # noqa: PLC0415
    from pinfold.store import ChecksAtRest, power  # noqa: PLC0415

    checks = power(found.store, ChecksAtRest)  # type: ignore[type-abstract]  # a protocol, asked for by isinstance
    if checks is None:
        raise UsageError(f"{found.store.name} cannot check itself at rest; use --read")
    with progress.bar(call.out, "at rest", counts="blocks") as bar:

        def so_far(done: int, total: int) -> None:
            bar.total(total)
            bar.to(done)

        for what, why in checks.check(so_far):
            report.add(what, why)


def _tell(call: Call, repository: str, report: Report, *, with_key: bool, read: bool, at_rest: bool) -> int:
    out = call.out
    out.document(
        {
            "repository": repository,
            "with_key": with_key,
            "snapshots": report.snapshots,
            "blocks": report.blocks,
            "bytes": report.bytes,
            "read": report.read,
            "opened": report.opened,
            "at_rest": at_rest,
            "damage_count": report.damage_count,
            "damage": [{"what": what, "why": why} for what, why in report.damage],
            "files": [{"snapshot": root, "path": path} for root, path in report.files],
            "notes": report.notes,
            "short_of_copies": report.short,
        }
    )
    out.say(
        f"{output.some(report.snapshots, 'snapshot')}, {output.some(report.blocks, 'block')},"
        f" {output.size(report.bytes)}: all looked for"
        + (f", {output.number(report.read)} read and hashed" if read else "")
        + (f", {output.some(report.opened, 'chunk')} opened" if report.opened else "")
        + (", the store checked at rest" if at_rest else "")
    )
    for note in report.notes:
        out.warn(note)
    if not report.damage_count:
        out.say("no damage found" + ("" if read or at_rest else "; --read looks at every byte"))
        return _SHORT if report.short else 0
    most = len(report.damage) if out.verbose else _MOST_TOLD
    out.warn(f"{output.some(report.damage_count, 'damage', 'damages')} found")
    out.table(["~what", "~why"], [[what, output.path(why)] for what, why in report.damage[:most]])
    if report.files:
        out.line()
        out.table(["snapshot", "~affected file"], [[output.short(r), output.path(p)] for r, p in report.files[:most]])
    rest = report.damage_count - most
    if rest > 0 or len(report.files) > most:
        out.warn("there is more; -v or --json tells all of it")
    out.warn("what can still be restored, pinfold restore does; back up again to store lost blocks anew")
    return _DAMAGED
