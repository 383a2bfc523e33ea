"""What `pinfold backup` tells of each source, to people and as JSON, and the exit code of it all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from pinfold.cli import output
from pinfold.errors import PinfoldError, Unavailable
from pinfold.store.layers import Unreachable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.backup import Result
    from pinfold.cli.options import Json
    from pinfold.cli.output import Output
    from pinfold.config import SourceSettings
    from pinfold.sources.seam import Counts
    from pinfold.store.seam import PinStatus

_MOST_TOLD: Final = 20
_PARTIAL: Final = 3
_SENT_STAYS: Final = "; run it again: what was sent is found there"
_NO_FILES: Final[dict[str, Any]] = {"all": 0, "new": 0, "changed": 0, "unmodified": 0, "gone": 0}
_EMPTY: Final[dict[str, Any]] = {
    "source": "",
    "path": "",
    "outcome": "failed",
    "root": None,
    "id": None,
    "files": _NO_FILES,
    "folders": 0,
    "others": 0,
    "bytes": 0,
    "read_bytes": 0,
    "new_blocks": 0,
    "new_bytes": 0,
    "seconds": 0.0,
    "copies": None,
    "short_of_copies": False,
    "places": [],
    "problem_count": 0,
    "problems": [],
    "notes": [],
    "error": None,
}


class Told:
    """What a walk tells, for a dry run."""

    def __init__(self) -> None:
        self.problems: list[tuple[bytes, str]] = []
        self.notes: list[tuple[bytes, str]] = []

    def problem(self, path: bytes, what: str) -> None:
        """Would be skipped."""
        self.problems.append((path, what))

    def note(self, path: bytes, what: str) -> None:
        """Would be left out."""
        self.notes.append((path, what))


def failed(source: SourceSettings, error: PinfoldError | OSError) -> Json:
    """The document of a source that could not be saved at all."""
    code = error.exit_code if isinstance(error, PinfoldError) else 1
    advice = _SENT_STAYS if isinstance(error, Unavailable) and not isinstance(error, Unreachable) else ""
    return _EMPTY | _named(source) | {"error": {"code": code, "message": f"{error}{advice}"}}


def counted(source: SourceSettings, counts: Counts, told: Told) -> Json:
    """The document of a dry run."""
    found = {
        "outcome": "counted",
        "problem_count": len(told.problems),
        "problems": [{"path": output.raw(path), "what": what} for path, what in told.problems],
        "notes": [{"path": output.raw(path), "what": what} for path, what in told.notes],
    }
    return _EMPTY | _named(source) | _counts(counts) | found


def made(source: SourceSettings, result: Result) -> Json:
    """The document of a run that came to its end."""
    status = result.status
    found = {
        "outcome": "unchanged" if result.snapshot is None else "made",
        "root": None if result.snapshot is None else str(result.snapshot.root),
        "id": None if result.snapshot is None else str(result.snapshot.id),
        "new_blocks": result.new_blocks,
        "new_bytes": result.new_bytes,
        "seconds": round(result.seconds, 3),
        "copies": None if status is None else status.pinned,
        # Fewer than `min_copies` fail the run in the store already; fewer than there shall be is exit code 3.
        "short_of_copies": status is not None and status.short,
        "places": [] if status is None else places(status),
        "problem_count": result.problem_count,
        "problems": [{"path": path, "what": what} for path, what in result.problems],
        "notes": [{"path": path, "what": what} for path, what in result.notes],
    }
    return _EMPTY | _named(source) | _counts(result.counts) | found


def places(status: PinStatus) -> list[Json]:
    """Each copy of a pin, as JSON; `since` is None where nobody knows."""
    return [
        {"where": copy.where, "state": copy.state.value, "since": copy.since or None, "detail": copy.detail}
        for copy in status.copies
    ]


def lacking(found: Sequence[Json]) -> str:
    """Those of `places` that do not prove a pin, in words, each with the reason it gave."""
    named = (one for one in found if one["state"] != "pinned")
    return "; ".join(
        f"{output.path(one['where'])} {one['state']}" + (f" ({output.path(one['detail'])})" if one["detail"] else "")
        for one in named
    )


def with_absent(told: Json, absent: Sequence[bytes]) -> Json:
    """The document of a source, with listed paths that do not exist among its problems."""
    more = [{"path": output.raw(path), "what": "does not exist, but --files-from lists it"} for path in absent]
    return told | {"problem_count": told["problem_count"] + len(more), "problems": [*told["problems"], *more]}


def _named(source: SourceSettings) -> Json:
    return {"source": source.name, "path": output.raw(os.fsencode(source.path))}


def _counts(counts: Counts) -> Json:
    files = {
        "all": counts.files,
        "new": counts.files_new,
        "changed": counts.files_changed,
        "unmodified": counts.files_unchanged,
        "gone": counts.files_gone,
    }
    return {
        "files": files,
        "folders": counts.folders,
        "others": counts.others,
        "bytes": counts.bytes,
        "read_bytes": counts.read_bytes,
    }


def tell(out: Output, told: Sequence[Json], *, dry_run: bool) -> int:
    """Print what was done; returns the exit code.

    One source that failed gives its own code, all that failed the first one's; where some were saved, 3.
    """
    out.document({"dry_run": dry_run, "sources": list(told)})
    for number, one in enumerate(told):
        if number:
            out.say()
        _tell_one(out, one)
    errors = [one["error"] for one in told if one["error"] is not None]
    if errors and len(errors) == len(told):
        return int(errors[0]["code"])
    short = any(one["problem_count"] or one["short_of_copies"] for one in told)
    return _PARTIAL if errors or short else 0


def _tell_one(out: Output, one: Json) -> None:
    if one["error"] is not None:
        out.warn(f"{output.path(one['source'])}: not saved: {one['error']['message']}")
        return
    files = one["files"]
    out.say(output.path(one["source"]))
    if one["outcome"] == "counted":
        out.say(f"  would save  {_files(files)}, {output.some(one['folders'], 'folder')}, {output.size(one['bytes'])}")
    else:
        out.say(
            f"  files     {output.number(files['new'])} new, {output.number(files['changed'])} changed,"
            f" {output.number(files['unmodified'])} unmodified, {output.number(files['gone'])} gone"
        )
        out.say(f"  read      {output.size(one['read_bytes'])} of {output.size(one['bytes'])}")
        out.say(f"  stored    {output.size(one['new_bytes'])} in {output.some(one['new_blocks'], 'new block')}")
        out.say(f"  time      {output.seconds(one['seconds'])}")
        if one["outcome"] == "unchanged":
            out.say("  snapshot  none made: nothing changed")
        else:
            out.say(f"  snapshot  {one['root']}")
            out.say(f"  short     {output.short(one['id'])}")
    if files["gone"] and not files["all"]:
        lost = output.some(files["gone"], "file")
        out.warn(
            f"{output.path(one['source'])}: all {lost} of the last snapshot are gone from {output.path(one['path'])};"
            " is its disk mounted?"
        )
    if one["short_of_copies"]:
        few = output.some(one["copies"], "copy", "copies")
        out.warn(f"{output.path(one['source'])}: only {few} proved the pin: {lacking(one['places'])}")
    _tell_problems(out, one)


def _files(files: Json) -> str:
    return output.some(files["all"], "file")


def _tell_problems(out: Output, one: Json) -> None:
    most = len(one["problems"]) if out.verbose else _MOST_TOLD
    if one["problem_count"]:
        out.warn(f"{output.path(one['source'])}: {output.some(one['problem_count'], 'problem')}:")
        for problem in one["problems"][:most]:
            out.warn(f"  {output.path(problem['path'])}: {problem['what']}")
        if one["problem_count"] > most:
            out.warn(f"  and {output.number(one['problem_count'] - most)} more; -v or --json tells them")
    if out.verbose:
        for note in one["notes"]:
            out.say(f"  left out  {output.path(note['path'])}: {note['what']}")
