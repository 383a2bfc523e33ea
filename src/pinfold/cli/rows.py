"""Entries of an index as `ls`, `find` and `diff` show them: a line as `ls -l` writes it, or a JSON object."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from pinfold.cli import output

if TYPE_CHECKING:
    from pinfold.cli.options import Json
    from pinfold.sources.directory.entry import Entry

_TYPES: Final = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def line(path: bytes, entry: Entry, *, long: bool) -> str:
    """A line for people; folders end in a slash."""
    shown = output.path(path) + ("/" if entry.is_folder else "")
    if not long:
        return shown
    owner = f"{entry.uid}:{entry.gid}"
    target = f" -> {output.path(entry.target or b'')}" if entry.is_symlink else ""
    kind = stat.filemode(entry.mode)
    return f"{kind} {owner:>11} {output.size(entry.size):>9} {output.stamp(entry.mtime)} {shown}{target}"


def document(path: bytes, entry: Entry) -> Json:
    """An object; `mtime` to the microsecond, `mtime_ns` exactly."""
    return {
        "path": output.raw(path),
        "type": _TYPES.get(stat.S_IFMT(entry.mode), "other"),
        "size": entry.size,
        "mode": f"{stat.S_IMODE(entry.mode):04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": _rfc3339(entry.mtime),
        "mtime_ns": entry.mtime,
        "target": None if entry.target is None else output.raw(entry.target),
        "link": None if entry.link is None else output.raw(entry.link),
    }


def _rfc3339(nanoseconds: int) -> str | None:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
