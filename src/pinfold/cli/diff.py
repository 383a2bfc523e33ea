"""`pinfold diff`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from pinfold.cli import output, rows
from pinfold.cli.options import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.browse import Difference
    from pinfold.cli.call import Call
    from pinfold.cli.options import Json

_NAMES: Final = {"+": "added", "-": "removed", "M": "changed", "U": "touched", "T": "retyped"}


@command(
    "diff",
    examples=["pinfold diff frtpdqnomy latest", "pinfold diff frtpdqnomy latest --metadata --json"],
    exits=(4, 5),
    returns=(
        "before (root), after (root), changes: list of {change (added, removed, changed, touched or retyped), path,"
        " before, after (entries as of pinfold ls, or null)}, counts {added, removed, changed, touched, retyped}"
    ),
)
@click.argument("before")
@click.argument("after")
@click.option("--metadata", is_flag=True, help="Tell of other owners, modes, times and attributes, too.")
def diff(call: Call, before: str, after: str, metadata: bool) -> int:
    """Tell what changed from the snapshot BEFORE to the snapshot AFTER.

    + added, - removed, M changed content, T another type, U (with --metadata) only owner, mode, times or attributes.
    Needs an identity or the passphrase.
    """
    from pinfold import browse  # noqa: PLC0415
    from pinfold.cli import choose  # noqa: PLC0415

    counts: Counter[str] = Counter()
    with call.owned() as owner:
        old, new = (choose.snapshot(owner, one) for one in (before, after))
        manifests = [owner.manifest(one) for one in (old, new)]
        with owner.reader(old) as left, owner.reader(new) as right:
            found = browse.diff(browse.rows(left, manifests[0]), browse.rows(right, manifests[1]), metadata=metadata)
            counted = _count(found, counts)
            if call.out.as_json:
                head = {"before": str(old.root), "after": str(new.root)}
                items = (_document(one) for one in counted)
                call.out.listing(head, "changes", items, lambda: {"counts": _all(counts)})
            else:
                for one in counted:
                    folder = any(entry is not None and entry.is_folder for entry in (one.after, one.before))
                    call.out.line(f"{one.change.value} {output.path(one.path)}{'/' if folder and one.path else ''}")
    told = [f"{output.number(count)} {name}" for name, count in _all(counts).items() if count]
    call.out.hint(", ".join(told) or "no difference")
    return 0


def _count(found: Iterator[Difference], counts: Counter[str]) -> Iterator[Difference]:
    for one in found:
        counts[_NAMES[one.change.value]] += 1
        yield one


def _all(counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in _NAMES.values()}


def _document(one: Difference) -> Json:
    return {
        "change": _NAMES[one.change.value],
        "path": output.raw(one.path),
        "before": None if one.before is None else rows.document(one.path, one.before),
        "after": None if one.after is None else rows.document(one.path, one.after),
    }
