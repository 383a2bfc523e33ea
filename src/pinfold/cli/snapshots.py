"""`pinfold snapshots`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pinfold.cli import output
from pinfold.cli.options import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.cli.call import Call
    from pinfold.cli.options import Json
    from pinfold.errors import PinfoldError
    from pinfold.snapshot import Manifest, Snapshot
    from pinfold.wiring import Opened, Owned

_DAMAGED = 4
# On a narrow terminal these go first, in this order; id and time never do.
_DROPPED = ("stored", "added", "agent", "tags", "files", "kind", "size", "source")


@command(
    "snapshots",
    examples=[
        "pinfold snapshots",
        "pinfold snapshots --source web1:/etc --latest 5",
        "pinfold snapshots --json | jq -r '.snapshots[-1].root'",
    ],
    exits=(4, 5),
    returns=(
        "repository, snapshots: list, oldest first, of {root, id, kind, sequence, previous, base, started, finished,"
        " interval, generation, agent, agent_key, source_id, source, host, path, tags, files, bytes, blocks,"
        " block_bytes, new_blocks, new_bytes, problem_count}, damaged: list of {root, message}. Without a key source,"
        " host, path, tags, files, bytes and problem_count are null"
    ),
)
@click.option("--source", metavar="NAME", help="Of this source only; without a key by its id.")
@click.option("--tag", metavar="TAG", multiple=True, help="Only with this tag; needs a key. Repeatable: any of them.")
@click.option("--latest", metavar="N", type=click.IntRange(min=1), help="The newest N of each source.")
def snapshots(call: Call, source: str | None, tag: tuple[str, ...], latest: int | None) -> int:
    """List the snapshots of a repository, oldest first.

    Without a key this shows what is public: times, kinds, sizes, agents. Names of sources, counts of files and tags are
    sealed; they are shown if an identity or passphrase is configured. Nobody is asked for one. CIDs begin alike, so the
    end is shown, of the id that stays when keys change; any command takes it.
    """
    from pinfold import catalogue, wiring  # noqa: PLC0415
    from pinfold.errors import KeyFailure  # noqa: PLC0415

    damaged: list[Json] = []

    def broken(one: catalogue.Listed, error: PinfoldError) -> None:
        damaged.append({"root": str(one.root), "message": str(error)})

    with call.looked_at() as found:
        owner = found if isinstance(found, wiring.Owned) else None
        if tag and owner is None:
            raise KeyFailure("tags are sealed: --tag needs an identity or passphrase")
        rows = [
            _document(made, _manifest(owner, made, damaged))
            for made in catalogue.snapshots(found.store, found.repository, source_id(found, source), broken)
        ]
        repository = found.repository
    if tag:
        rows = [row for row in rows if set(tag) & set(row["tags"] or ())]
    if latest is not None:
        rows = _newest(rows, latest)
    call.out.document({"repository": repository, "snapshots": rows, "damaged": damaged})
    _print(call, rows, sealed=owner is None)
    for one in damaged:
        call.out.warn(output.without_echo(f"snapshot {one['root']} cannot be read", one["message"]))
    return _DAMAGED if damaged else 0


def source_id(found: Opened | Owned, name: str | None) -> str:
    """The id of the source a person named, "" for all.  Raises KeyFailure, or UsageError with a guess."""
    from pinfold import wiring  # noqa: PLC0415
    from pinfold.cli import choose  # noqa: PLC0415
    from pinfold.config.values import closest  # noqa: PLC0415
    from pinfold.errors import KeyFailure, UsageError  # noqa: PLC0415

    if name is None:
        return ""
    known = dict(choose.sources(found))
    if name in known:
        return name
    if not isinstance(found, wiring.Owned):
        raise KeyFailure("names of sources are sealed: --source NAME needs an identity or passphrase, or give its id")
    wanted = found.source_id(name)
    if wanted not in known:
        meant = closest(name, known.values())
        raise UsageError(f"there is no snapshot of a source {name!r}" + (f"; did you mean {meant}?" if meant else ""))
    return wanted


def _manifest(owner: Owned | None, made: Snapshot, damaged: list[Json]) -> Manifest | None:
    from pinfold.errors import PinfoldError  # noqa: PLC0415

    if owner is None:
        return None
    try:
        return owner.manifest(made)
    except PinfoldError as error:
        damaged.append({"root": str(made.root), "message": str(error)})
        return None


def _document(made: Snapshot, manifest: Manifest | None) -> dict[str, Any]:
    header = made.header
    agent = made.keyring.agent(bytes.fromhex(header.agent))
    path = None if manifest is None else manifest.options.get("path")
    return {
        "root": str(made.root),
        "id": str(made.id),
        "kind": header.kind,
        "sequence": header.sequence,
        "previous": header.previous,
        "base": header.base,
        "started": header.started,
        "finished": header.finished,
        "interval": header.interval,
        "generation": header.generation,
        "agent": "" if agent is None else agent.name,
        "agent_key": header.agent,
        "source_id": header.source,
        "source": None if manifest is None else manifest.source,
        "host": None if manifest is None else manifest.host,
        "path": output.raw(path) if isinstance(path, bytes) else None,
        "tags": None if manifest is None else list(manifest.tags),
        "files": None if manifest is None else manifest.counts.get("files", 0),
        "bytes": None if manifest is None else manifest.counts.get("bytes", 0),
        "blocks": header.blocks_count,
        "block_bytes": header.blocks_bytes,
        "new_blocks": header.new_blocks,
        "new_bytes": header.new_bytes,
        "problem_count": None if manifest is None else len(manifest.errors),
    }


def _newest(rows: Sequence[Json], latest: int) -> list[Json]:
    count: dict[str, int] = {}
    kept = []
    for row in reversed(rows):
        count[row["source_id"]] = count.get(row["source_id"], 0) + 1
        if count[row["source_id"]] <= latest:
            kept.append(row)
    return kept[::-1]


def _print(call: Call, rows: Sequence[Json], *, sealed: bool) -> None:
    if not rows:
        call.out.line("no snapshots yet; make one with: pinfold backup PATH")
        return
    columns = ["id", "time", "kind", "~source", *([] if sealed else [">files", ">size"]), ">stored", ">added"]
    call.out.table(
        [*columns, *([] if sealed else ["~tags"]), "agent"], [_row(row, sealed=sealed) for row in rows], _DROPPED
    )
    call.out.hint(
        f"{output.some(len(rows), 'snapshot')}"
        + ("; names and counts are sealed: give --identity or a passphrase to see them" if sealed else "")
    )


def _row(row: Json, *, sealed: bool) -> list[str]:
    source = row["source"] if row["source"] is not None else row["source_id"]
    cells = [output.short(row["id"]), output.moment(row["finished"]), row["kind"], output.path(source)]
    if not sealed:
        known = row["files"] is not None
        cells += [output.number(row["files"]), output.size(row["bytes"])] if known else ["?", "?"]
    cells += [output.size(row["block_bytes"]), output.size(row["new_bytes"])]
    if not sealed:
        cells.append(" ".join(output.path(tag) for tag in row["tags"] or ()))
    return [*cells, output.path(row["agent"] or row["agent_key"][:16])]
