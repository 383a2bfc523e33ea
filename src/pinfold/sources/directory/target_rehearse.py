"""What a restore would do to a target, looked up and never done: nothing is made, changed or removed.

Folders are entered descriptor by descriptor, no symlink followed, as the restore itself enters them.
Sources: openat(2).
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pinfold.sources.directory.target import Decision, Overwrite, is_partial, is_restored, why_kept
from pinfold.sources.directory.target_folders import Blocked, check_name
from pinfold.sources.directory.target_stamp import reason

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    from pinfold.sources.directory.entry import Entry

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Lookup:
    """Looks where `Target` writes."""

    def __init__(self, root: Path, *, overwrite: Overwrite) -> None:
        """`root`: the target, which need not be there; `overwrite`: what would become of other things."""
        self._root = root
        self._overwrite = overwrite

    def decide(self, path: bytes, entry: Entry) -> tuple[Decision, str]:
        """What would become of `path`, and why where something else would be kept.

        A folder that is there is the same, whatever its metadata.
        """
        try:
            if not path:
                return (Decision.SAME, "") if self._root.is_dir() else (Decision.WRITE, "")
            parent, _, name = path.rpartition(b"/")
            with self._folder(parent) as folder:
                status = os.stat(check_name(name), dir_fd=folder, follow_symlinks=False)
                there = self._is_there(folder, name, status, entry)
                return (Decision.SAME, "") if there else self._would_replace(status, entry)
        except FileNotFoundError:
            return Decision.WRITE, ""
        except NotADirectoryError:
            return self._behind_a_file()
        except (Blocked, OSError) as error:
            return Decision.KEEP, str(error) if isinstance(error, Blocked) else f"not restored: {reason(error)}"

    def _would_replace(self, status: os.stat_result, entry: Entry) -> tuple[Decision, str]:
        why = "" if is_partial(status) else why_kept(self._overwrite, status, entry)
        return (Decision.KEEP, why) if why else (Decision.WRITE, "")

    def _behind_a_file(self) -> tuple[Decision, str]:
        # With `always` the restore puts a folder where the file or symlink is.
        if self._overwrite is Overwrite.ALWAYS:
            return Decision.WRITE, ""
        return Decision.KEEP, "not restored: what is in its folder's place is no folder"

    def _is_there(self, folder: int, name: bytes, status: os.stat_result, entry: Entry) -> bool:
        if is_partial(status) or stat.S_IFMT(status.st_mode) != stat.S_IFMT(entry.mode):
            return False
        if entry.is_folder:
            return True
        if entry.is_symlink:
            return os.readlink(name, dir_fd=folder) == (entry.target or b"")
        return is_restored(status, entry) if entry.is_file else status.st_rdev == entry.rdev

    def extraneous(self, path: bytes, keep: Container[bytes]) -> list[bytes]:
        """What would be removed from a folder: the paths beside `keep`, a folder's for all that is in it."""
        try:
            with self._folder(path) as folder:
                device = os.fstat(folder).st_dev
                names = sorted(name for name in _names(folder) if name not in keep)
                return [
                    path + b"/" + name if path else name
                    for name in names
                    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_dev == device
                ]
        except (Blocked, OSError):
            return []  # nothing there to remove, or nothing that the restore could

    @contextmanager
    def _folder(self, path: bytes) -> Iterator[int]:
        found = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for step in path.split(b"/") if path else ():
                below = os.open(check_name(step), _OPEN, dir_fd=found)
                os.close(found)
                found = below
            yield found
        finally:
            os.close(found)


def _names(folder: int) -> list[bytes]:
    with os.scandir(folder) as listed:
        return [os.fsencode(entry.name) for entry in listed]
