"""The open folders below a restore's target: the only way any name there is reached.

Every step is an openat with O_NOFOLLOW and O_DIRECTORY below the descriptor of the step before, so
neither the snapshot nor whoever else writes to the target can lead a restore out of it by a symlink.
Descriptors are kept, the least lately used closed first, and none while a thread works in it.
Sources: openat(2); path_resolution(7).
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from threading import RLock
from typing import TYPE_CHECKING, Final, Self

from pinfold.errors import PinfoldError
from pinfold.sources.directory import attributes

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_RWX: Final = 0o700


class Blocked(PinfoldError):
    """A path that cannot be reached without leaving the target, or that something else stands on."""


class OpenFolder:
    """A folder held open; leaving its `with` block lets it be closed again.

    `fresh`: made by this restore, so that what is in it came from this restore.  `hands_down`: gives its
    children an ACL.  `born`: owner and group that a file made here has, once one was made and asked.
    """

    __slots__ = ("born", "fd", "fresh", "hands_down", "lock", "path", "users")

    def __init__(self, path: bytes, fd: int, lock: RLock, *, fresh: bool) -> None:
        """`lock`: guards `users`, how many work in the folder at the moment."""
        self.path = path
        self.fd = fd
        self.lock = lock
        self.fresh = fresh
        self.users = 0
        self.born: tuple[int, int] | None = None
        self.hands_down = attributes.hands_down(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.lock:
            self.users -= 1


class Folders:
    """Open folders by path, at most `limit` of them unless more are worked in.  For several threads."""

    def __init__(self, root: int, loosened: Callable[[bytes, os.stat_result], None], limit: int = 128) -> None:
        """`root`: descriptor of the target, closed with the rest; `loosened`: told of folders made writable."""
        self.lock = RLock()
        self._limit = limit
        self._loosened = loosened
        self._root = OpenFolder(b"", root, self.lock, fresh=False)
        self._open: OrderedDict[bytes, OpenFolder] = OrderedDict()
        self._user = os.geteuid()

    def take(self, path: bytes, *, make: bool = True) -> OpenFolder:
        """The folder at `path`, for a `with` block; missing ones are made unless `make` is false.

        Raises Blocked if a step is no folder or no name, OSError for anything else.
        """
        with self.lock:
            folder = self._open.get(path) if path else self._root
            if folder is None:
                folder = self._walk(path, make=make)
            elif path:
                self._open.move_to_end(path)
            folder.users += 1
            return folder

    def _walk(self, path: bytes, *, make: bool) -> OpenFolder:
        """Open what is not open yet of the steps to `path`."""
        todo: list[bytes] = []
        folder = self._root
        while path:
            known = self._open.get(path)
            if known is not None:
                folder = known
                break
            above, _, name = path.rpartition(b"/")
            if not above and path.startswith(b"/"):
                raise Blocked("an absolute path, which no snapshot holds")
            todo.append(check_name(name))
            path = above
        for name in reversed(todo):
            folder = self._step(folder, name, make=make)
        return folder

    def _step(self, above: OpenFolder, name: bytes, *, make: bool) -> OpenFolder:
        path = above.path + b"/" + name if above.path else name
        # An unannounced folder has no known mode: it gets what any program here would give it.
        fresh = make and make_folder(above.fd, name, 0o777)
        try:
            return self._keep(OpenFolder(path, self._enter(above.fd, name, path), self.lock, fresh=fresh), above)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
                raise Blocked(f"{shown!r} is no folder, and what is in its place is not followed") from error
            raise

    def _enter(self, above: int, name: bytes, path: bytes) -> int:
        """Open one step; a folder of ours that we may not work in is made so, and told."""
        try:
            fd = os.open(name, _OPEN, dir_fd=above)
        except PermissionError:
            fd = os.open(name, _OPEN | os.O_PATH, dir_fd=above)
        try:
            if self._user:
                status = os.fstat(fd)
                if status.st_uid == self._user and status.st_mode & _RWX != _RWX:
                    itself = f"/proc/self/fd/{fd}"
                    os.chmod(itself, stat.S_IMODE(status.st_mode) | _RWX)  # noqa: PTH101
                    self._loosened(path, status)
                    readable = os.open(itself, os.O_RDONLY | os.O_DIRECTORY)
                    os.close(fd)
                    fd = readable
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _keep(self, folder: OpenFolder, above: OpenFolder) -> OpenFolder:
        self._open[folder.path] = folder
        if len(self._open) > self._limit:
            idle = (old for old in self._open.values() if not old.users and old is not folder and old is not above)
            oldest = next(idle, None)
            if oldest is not None:
                self._close(oldest)
        return folder

    def _close(self, folder: OpenFolder) -> None:
        del self._open[folder.path]
        os.close(folder.fd)

    def add(self, above: OpenFolder, name: bytes, *, fresh: bool) -> None:
        """Open the folder `name` that was just made or found in `above`.  Raises as `take`."""
        path = above.path + b"/" + name if above.path else name
        with self.lock:
            known = self._open.get(path)
            if known is None:
                self._step(above, name, make=False).fresh = fresh

    def forget(self, path: bytes) -> None:
        """Close what is open at and below `path`, because it is about to be removed."""
        with self.lock:
            for folder in list(self._open.values()):
                if (folder.path == path or folder.path.startswith(path + b"/")) and not folder.users:
                    self._close(folder)

    def close(self) -> None:
        """Close every folder, the target itself as well."""
        with self.lock:
            for folder in list(self._open.values()):
                self._close(folder)
            if self._root.fd >= 0:
                os.close(self._root.fd)
                self._root.fd = -1


def make_folder(above: int, name: bytes, mode: int) -> bool:
    """Make a folder; False if something has its name.  Raises OSError."""
    try:
        os.mkdir(name, mode, dir_fd=above)
    except FileExistsError:
        return False
    return True


def check_name(name: bytes) -> bytes:
    """The name, if it is one step and stays in its folder.  Raises Blocked."""
    if not name or name in {b".", b".."} or b"/" in name or b"\0" in name:
        raise Blocked("a path with an empty step, '.', '..' or a zero byte, which no snapshot holds")
    return name
