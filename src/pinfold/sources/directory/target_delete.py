"""Removing what a snapshot does not have: descriptor by descriptor, never through a symlink or onto a mount."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Container

# Each level holds one descriptor of the usual 1024.
_DEEPEST: Final = 256


def remove_others(
    folder: int, path: bytes, keep: Container[bytes], problem: Callable[[bytes, str], None]
) -> list[bytes]:
    """Remove what the open folder at `path` holds beside `keep`; gives the paths removed, a folder for all in it.

    What cannot be removed is told as a problem and left.  Raises OSError if the folder cannot be listed.
    """
    removed = []
    for name in sorted(_names(folder)):
        if name in keep:
            continue
        below = path + b"/" + name if path else name
        if _remove(folder, name, below, problem, _DEEPEST):
            removed.append(below)
    return removed


def _names(folder: int) -> list[bytes]:
    with os.scandir(folder) as listed:
        return [os.fsencode(entry.name) for entry in listed]


def _remove(folder: int, name: bytes, path: bytes, problem: Callable[[bytes, str], None], depth: int) -> bool:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=folder)
            return True
        if not depth:
            problem(path, f"not deleted: it lies {_DEEPEST} folders deep; remove it by hand")
            return False
        if status.st_dev != os.fstat(folder).st_dev:
            problem(path, "not deleted: another file system is mounted there")
            return False
        return _remove_folder(folder, name, path, problem, depth)
    except FileNotFoundError:
        return False
    except OSError as error:
        problem(path, f"not deleted: {error.strerror}")
        return False


def _remove_folder(folder: int, name: bytes, path: bytes, problem: Callable[[bytes, str], None], depth: int) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        for inner in _names(fd):
            _remove(fd, inner, path + b"/" + inner, problem, depth - 1)
    finally:
        os.close(fd)
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # else what it still holds was told
            raise
        return False
    return True
