"""Whether a restored folder is what was saved."""

from __future__ import annotations

import os
import stat
from itertools import zip_longest
from pathlib import Path
from typing import Final

from data import names, size

_PIECE: Final = 1 << 20


def roughly(source: Path, target: Path) -> str:
    """Compare numbers of files and bytes; returns what differs, or nothing."""
    (files, megabytes), (restored, restored_megabytes) = size(source), size(target)
    if files != restored:
        return f"{restored:,} of {files:,} files restored"
    if megabytes != restored_megabytes:
        return f"{restored_megabytes:,.3f} of {megabytes:,.3f} MB restored"
    return ""


def fully(source: Path, target: Path) -> str:
    """Compare names, kinds, permissions, owners, times, attributes and every byte; returns what differs first."""
    if wrong := _entry(source, target):
        return wrong
    for left, right in zip_longest(names(source), names(target)):
        wanted = left and os.path.relpath(left.path, source)
        got = right and os.path.relpath(right.path, target)
        if left is None or right is None or wanted != got:
            return f"{wanted or 'nothing'} was saved, {got or 'nothing'} restored"
        if wrong := _entry(Path(left.path), Path(right.path)):
            return f"{wanted}: {wrong}"
    return ""


def one(source: Path, target: Path, name: str) -> str:
    """Compare the bytes of a file restored alone, wherever below `target` it lies."""
    found = [Path(entry.path) for entry in names(target) if entry.is_file(follow_symlinks=False)]
    if len(found) != 1:
        return f"{len(found)} files restored instead of one"
    return "" if _same_bytes(source / name, found[0]) else f"{name}: other bytes"


def _entry(left: Path, right: Path) -> str:
    wanted, got = left.lstat(), right.lstat()
    if wanted.st_mode != got.st_mode:
        return f"mode {stat.filemode(wanted.st_mode)} became {stat.filemode(got.st_mode)}"
    is_link = stat.S_ISLNK(wanted.st_mode)
    differ = {
        # Only root can give files to others.
        "owner": os.geteuid() == 0 and (wanted.st_uid, wanted.st_gid) != (got.st_uid, got.st_gid),
        "time": wanted.st_mtime_ns != got.st_mtime_ns,
        "link target": is_link and left.readlink() != right.readlink(),
        "extended attributes": not is_link and _attributes(left) != _attributes(right),
        "bytes": stat.S_ISREG(wanted.st_mode) and not _same_bytes(left, right),
    }
    return ", ".join(f"other {what}" for what, is_so in differ.items() if is_so)


def _attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)} if hasattr(os, "listxattr") else {}


def _same_bytes(left: Path, right: Path) -> bool:
    with left.open("rb", buffering=0) as wanted, right.open("rb", buffering=0) as got:
        while piece := wanted.read(_PIECE):
            if piece != got.read(_PIECE):
                return False
        return not got.read(1)
