"""Owner, attributes, mode and times put onto something restored, in the order in which none undoes another.

The owner first: changing it clears setuid bits and capabilities.  Attributes before the mode: a read-only
file takes none.  The times last: everything else moves them.
Sources: chown(2), xattr(7), utimensat(2).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.sources.directory import attributes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinfold.sources.directory.entry import Entry
    from pinfold.sources.directory.owners import Translation

# The mode of a file that a restore has not finished: what kill -9 leaves behind says so itself.
PARTIAL: Final = stat.S_ISVTX
_WRITABLE: Final = stat.S_IWUSR
_BITS: Final = stat.S_ISUID | stat.S_ISGID


class Stamp(NamedTuple):
    """What is put on: owner and group are this machine's, -1 to leave them; mtime in ns, None to leave it."""

    mode: int
    uid: int
    gid: int
    mtime: int | None
    xattrs: attributes.Pairs


class Stamper:
    """Puts stamps on.  For several threads.  `unset_owners`: how many keep another owner or group than told."""

    def __init__(self, owners: Translation, problem: Callable[[bytes, str], None]) -> None:
        """`problem`: told the path and what could not be set there."""
        self.unset_owners = 0
        self._owners = owners
        self._problem = problem
        self._lock = Lock()
        self._said: set[bytes] = set()
        self._root = os.geteuid() == 0

    def of(self, entry: Entry) -> Stamp:
        """The stamp for an entry of the index."""
        return Stamp(
            stat.S_IMODE(entry.mode),
            self._owners.uid(entry.uid),
            self._owners.gid(entry.gid),
            entry.mtime,
            entry.xattrs,
        )

    def put(
        self,
        path: bytes,
        where: int | bytes,
        stamp: Stamp,
        *,
        born: tuple[int, int] | None = None,
        disinherit: bool = False,
    ) -> None:
        """Put `stamp` on what `where` names: a descriptor, or a path as /proc/self/fd/7, which is followed.

        `born`: owner and group it has, where known; `disinherit`: it may have got an ACL from its folder.
        What cannot be set is told as a problem: the content is whole all the same.
        """
        mode = stamp.mode
        if (stamp.uid, stamp.gid) != born and not self._own(path, where, stamp):
            if mode & _BITS:
                self._problem(path, "its setuid and setgid bits are not restored, because its owner could not be")
            mode &= ~_BITS
        try:
            if disinherit:
                attributes.disinherit(where)
            if stamp.xattrs:
                if not self._root and isinstance(where, int):
                    os.chmod(where, os.fstat(where).st_mode & 0o7777 | _WRITABLE)  # noqa: PTH101
                self._tell(path, attributes.write(where, stamp.xattrs, follow=True))
            os.chmod(where, mode)  # noqa: PTH101
            if stamp.mtime is not None:
                os.utime(where, ns=(stamp.mtime, stamp.mtime))
        except (OSError, OverflowError) as error:
            self._problem(path, f"restored, but not its mode or time: {reason(error)}")

    def put_link(self, path: bytes, folder: int, name: bytes, stamp: Stamp) -> None:
        """Put `stamp` on a symlink itself, which has no mode; problems as in `put`."""
        try:
            os.chown(name, stamp.uid, stamp.gid, dir_fd=folder, follow_symlinks=False)
        except (OSError, OverflowError):
            self._count()
        if stamp.xattrs:
            self._tell(path, attributes.write(attributes.beside(folder, name), stamp.xattrs))
        if stamp.mtime is not None:
            try:
                os.utime(name, ns=(stamp.mtime, stamp.mtime), dir_fd=folder, follow_symlinks=False)
            except (OSError, OverflowError) as error:
                self._problem(path, f"restored, but not its time: {reason(error)}")

    def _own(self, path: bytes, where: int | bytes, stamp: Stamp) -> bool:
        """Whether owner and group are set; the group alone is tried where the owner cannot be."""
        try:
            os.chown(where, stamp.uid, stamp.gid)
        except OSError as error:
            self._count()
            if error.errno not in {errno.EPERM, errno.EINVAL, errno.ENOTSUP}:
                self._problem(path, f"restored, but not its owner: {error.strerror}")
        except OverflowError:
            self._count()
        else:
            return True
        with suppress(OSError, OverflowError):  # counted already
            os.chown(where, -1, stamp.gid)
        return False

    def _count(self) -> None:
        with self._lock:
            self.unset_owners += 1

    def _tell(self, path: bytes, failed: list[tuple[bytes, int]]) -> None:
        for name, number in failed:
            what = f"attribute {attributes.shown(name)} could not be set: {os.strerror(number)}"
            if number == errno.ENOTSUP:
                # A file system without them would say it a million times over.
                with self._lock:
                    if name in self._said:
                        continue
                    self._said.add(name)
                what += ", here or anywhere else in the target's file system; not said again"
            self._problem(path, what)


def reason(error: OSError | OverflowError | ValueError) -> str:
    """What went wrong, in the words of the system."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
