"""Reading one file: its bytes, its holes, and whether it held still meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from pinfold.seal.bundle import SMALL
from pinfold.sources.directory.scan import NOATIME

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pinfold.sources.directory.entry import Entry

# O_NONBLOCK: a file that became a fifo since it was listed must not hang the run.
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | NOATIME
_MAX_EXTENTS: Final = 2048
_COARSEST: Final = 2_100_000_000  # nanoseconds: FAT keeps every second second
_SMALLEST_SPARSE: Final = 4096  # below, file systems keep content in the inode and report no blocks


class Unreadable(Exception):
    """This file cannot be saved; the message says why."""


def open_file(name: bytes, folder_fd: int) -> int:
    """A descriptor for reading.  Raises Unreadable."""
    try:
        return os.open(name, _OPEN, dir_fd=folder_fd)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise Unreadable("vanished before it was read") from error
        if error.errno == errno.ELOOP:
            raise Unreadable("became a symbolic link before it was read") from error
        if error.errno == errno.EPERM and NOATIME:
            return _open_plainly(name, folder_fd)
        raise Unreadable(f"cannot be opened: {error.strerror}") from error


def _open_plainly(name: bytes, folder_fd: int) -> int:
    # Root without the right over this file system (a user namespace, NFS) may not ask for NOATIME.
    try:
        return os.open(name, _OPEN & ~NOATIME, dir_fd=folder_fd)
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from error


def whole(fd: int, entry: Entry) -> tuple[bytes | None, bool]:
    """A small file's bytes, or None if it grew large; and whether it held still.

    Reads at most twice.  `entry` then tells of the file as it was before it was read the last time: if
    it changed under the reading, the next run sees another time and reads it again.  Raises Unreadable.
    """
    try:
        data = _all(fd, entry.size)
        status = _regular(fd)
        if data is None or (_held_still(entry, status) and len(data) == entry.size):
            return data, data is not None
        _renew(entry, status)
        os.lseek(fd, 0, os.SEEK_SET)
        data = _all(fd, entry.size)
        if data is None:
            return None, False
        still = _held_still(entry, _regular(fd)) and len(data) == entry.size
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    entry.size = len(data)
    return data, still


def afresh(fd: int, entry: Entry) -> os.stat_result:
    """The status of a file about to be read as a stream, which `entry` now tells of.  Raises Unreadable."""
    try:
        status = _regular(fd)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    _renew(entry, status)
    return status


def _regular(fd: int) -> os.stat_result:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is no regular file any more")
    return status


def _all(fd: int, size: int) -> bytes | None:
    data = os.read(fd, min(size, SMALL) + 1)
    if len(data) == size:
        return data
    parts = [data]
    have = len(data)
    while have <= SMALL:
        more = os.read(fd, SMALL + 1 - have)
        if not more:
            return b"".join(parts)
        parts.append(more)
        have += len(more)
    return None


def held_still(fd: int, entry: Entry, read_bytes: int) -> bool:
    """Whether a file read as a stream was the same at the end.

    If not, `entry` keeps the times it had before, so that the next run reads the file again.
    """
    if _held_still(entry, os.fstat(fd)) and read_bytes == entry.stored:
        return True
    if entry.extents is None:
        entry.size = read_bytes
    return False


def _held_still(entry: Entry, status: os.stat_result) -> bool:
    return (
        status.st_mtime_ns == entry.mtime
        and status.st_size == entry.size
        and status.st_ctime_ns == entry.ctime
        and status.st_ino == entry.inode
    )


def _renew(entry: Entry, status: os.stat_result) -> None:
    entry.size = status.st_size
    entry.mtime = status.st_mtime_ns
    entry.ctime = status.st_ctime_ns
    entry.inode = status.st_ino
    entry.mode = status.st_mode
    entry.uid = status.st_uid
    entry.gid = status.st_gid


def may_have_holes(status: os.stat_result) -> bool:
    """Whether it is worth asking for holes."""
    return status.st_size > _SMALLEST_SPARSE and status.st_blocks * 512 < status.st_size


def extents(fd: int, status: os.stat_result) -> tuple[tuple[int, int], ...] | None:
    """The runs of data of a sparse file as (offset, length), or None for a file without holes."""
    size = status.st_size
    if not may_have_holes(status):
        return None
    runs: list[tuple[int, int]] = []
    at = 0
    try:
        while at < size and len(runs) <= _MAX_EXTENTS:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
            if at > start:
                runs.append((start, at - start))
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.EOPNOTSUPP}:  # a file system that knows no holes
            return None
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    if len(runs) > _MAX_EXTENTS or runs == [(0, size)]:
        return None
    return tuple(runs)


def is_in_doubt(entry: Entry, now: datetime) -> bool:
    """Whether a change right after the reading could leave the times as they are.

    Where a file system keeps times in whole seconds (ext2 and ext3, FAT, some of NFS), a second write
    within the same tick cannot be told from the first: git calls such entries racy.
    """
    newest = max(entry.mtime, entry.ctime)
    coarse = entry.mtime % 1_000_000_000 == 0 and entry.ctime % 1_000_000_000 == 0
    return coarse and newest > int(now.timestamp() * 1e9) - _COARSEST


class Stream:
    """Reads a large file, or the data of a sparse one, from front to end."""

    def __init__(self, fd: int, runs: tuple[tuple[int, int], ...] | None, tell: Callable[[int], None]) -> None:
        """`tell` is told of every read, in bytes."""
        self._fd = fd
        self._runs = None if runs is None else iter(runs)
        self._left = 0
        self._at = 0
        self._tell = tell
        self.read_bytes = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, empty at the end.  Raises Unreadable."""
        try:
            data = os.read(self._fd, size) if self._runs is None else self._read_run(size)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        self.read_bytes += len(data)
        self._tell(len(data))
        return data

    def _read_run(self, size: int) -> bytes:
        if not self._left and self._runs is not None:
            run = next(self._runs, None)
            if run is None:
                return b""
            self._at, self._left = run
        data = os.pread(self._fd, min(size, self._left), self._at)
        if not data:
            raise Unreadable("shrank while it was read")
        self._at += len(data)
        self._left -= len(data)
        return data
