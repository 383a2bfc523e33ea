"""`pinfold status`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from pinfold.cli import output
from pinfold.cli.backup_summary import lacking, places
from pinfold.cli.options import SECONDS, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.catalogue import Listed
    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.ipld import CID
    from pinfold.store.seam import PinStatus, Store

_PARTIAL: Final = 3
_AT_ONCE: Final = 8
# Seconds between two looks while waiting: soon at first, for most pins take a moment.
_FIRST_LOOK: Final = 0.5
_LAST_LOOK: Final = 10.0
_DROPPED: Final = ("source", "detail", "since")


@command(
    "status",
    examples=[
        "pinfold status",
        "pinfold status --all --json",
        "pinfold backup /etc && pinfold status --wait 10min && poweroff",
    ],
    exits=(3, 5),
    returns=(
        "repository, safe, snapshots: list, oldest first, of {root, id, source_id, source, kind, finished, copies:"
        " number that prove their pin, wanted: number that must, short, places: list of {where, state (pinned,"
        " pinning, failed or absent), since, detail}}. Without a key source is null; id is null where the snapshot"
        " cannot be read; since is null where nobody knows"
    ),
)
@click.argument("snapshot", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All snapshots, not only the newest of each source.")
@click.option("--wait", metavar="DURATION", type=SECONDS, help="Wait at most so long until all are safe, as 10min.")
def status(call: Call, snapshot: tuple[str, ...], everything: bool, wait: int | None) -> int:
    """Show for each snapshot which stores and peers hold it, since when, and whether those are enough.

    Needs no key, and takes each store at its word for what it has proved: pinfold verify looks at the blocks. The exit
    code is 3 if a snapshot has fewer copies than it must, which pinfold replicate mends.
    """
    from pinfold.cli import choose  # noqa: PLC0415

    if snapshot and everything:
        raise click.UsageError("give snapshots, or --all, not both")
    with call.looked_at() as found:
        listed = choose.listed(found, snapshot)
        picked = listed if snapshot or everything else _newest(listed)
        names = dict(choose.sources(found))
        ids = _ids(found.store, picked)
        told = _wait(found.store, [one.root for one in picked], wait or 0)
        rows = [_document(one, ids[one.root], names, told[one.root]) for one in picked]
        repository = found.repository
    short = [row for row in rows if row["short"]]
    call.out.document({"repository": repository, "safe": not short, "snapshots": rows})
    _print(call, rows)
    for row in short:
        call.out.warn(f"snapshot {_name(row)}: {_short_of(row)}")
    return _PARTIAL if short else 0


def _newest(listed: Sequence[Listed]) -> list[Listed]:
    """The newest finished snapshot of each source, oldest first; a checkpoint where there is nothing else."""
    newest = {one.source: one for one in listed}
    newest |= {one.source: one for one in listed if one.kind != "checkpoint"}
    return sorted(newest.values(), key=lambda one: (one.finished, str(one.root)))


def _ids(store: Store, picked: Sequence[Listed]) -> dict[CID, str | None]:
    """The id of each snapshot, by reading its root alone."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    from pinfold.errors import Malformed, StoreError  # noqa: PLC0415
    from pinfold.ipld import list_folder  # noqa: PLC0415

    def read(root: CID) -> str | None:
        try:
            found = {entry.name: entry.cid for entry in list_folder(root, store.get)}
            return str(found[b"snapshot.json"]) if b"snapshot.json" in found else None
        except (StoreError, Malformed):
            return None

    roots = [one.root for one in picked]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pinfold-status") as pool:
        return dict(zip(roots, pool.map(read, roots), strict=True))


def _wait(store: Store, roots: Sequence[CID], seconds: int) -> dict[CID, PinStatus]:
    """The status of each root, once none is short of copies or the time is over."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    end = time.monotonic() + seconds
    pause = _FIRST_LOOK
    told: dict[CID, PinStatus] = {}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pinfold-status") as pool:
        while True:
            waiting = [root for root in roots if root not in told or told[root].short]
            told |= dict(zip(waiting, pool.map(store.status, waiting), strict=True))
            left = end - time.monotonic()
            if left <= 0 or not any(told[root].short for root in waiting):
                return told
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LAST_LOOK)


def _document(one: Listed, name: str | None, names: dict[str, str], told: PinStatus) -> Json:
    source = names.get(one.source, one.source)
    return {
        "root": str(one.root),
        "id": name,
        "source_id": one.source,
        "source": None if source == one.source else source,
        "kind": one.kind,
        "finished": one.finished,
        "copies": told.pinned,
        "wanted": told.due,
        "short": told.short,
        "places": places(told),
    }


def _print(call: Call, rows: Sequence[Json]) -> None:
    if not rows:
        call.out.line("no snapshots yet; make one with: pinfold backup PATH")
        return
    cells: list[list[str]] = []
    for row in rows:
        head = [_name(row), output.moment(row["finished"]), output.path(row["source"] or row["source_id"])]
        for place in row["places"]:
            since = output.moment(place["since"]) if place["since"] else ""
            cells.append([*head, output.path(place["where"]), place["state"], since, _line(place["detail"])])
            head = ["", "", ""]
    call.out.table(["id", "time", "~source", "~where", "state", "since", "~detail"], cells, _DROPPED)
    short = sum(bool(row["short"]) for row in rows)
    if not short:
        call.out.say(f"{output.some(len(rows), 'snapshot')}, all safe")


def _name(row: Json) -> str:
    return output.short(row["id"] or row["root"])


def _line(detail: str) -> str:
    return output.path(detail) if detail else ""


def _short_of(row: Json) -> str:
    return f"{row['copies']} of {output.some(row['wanted'], 'copy', 'copies')} proved: {lacking(row['places'])}"
