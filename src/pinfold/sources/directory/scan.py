"""The live walk: a tree of files as a stream of parts, folders depth first, names as bytes in order.

Every step goes through folder descriptors and follows no link, so a tree that changes under the walk
can make it miss things but never leave the tree.  Memory: the names of the folders on the way down.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from pinfold.errors import UsageError
from pinfold.sources.directory.entry import ROOT, Entry, Part
from pinfold.sources.directory.parent import Parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PART_ROWS: Final = 1024
# An index holds paths of up to 65,536 bytes; a name is to fit behind this one.
LONGEST_FOLDER: Final = (1 << 16) - 256
# Reading must not look like using: root may leave access times alone.
NOATIME: Final = os.O_NOATIME if hasattr(os, "O_NOATIME") and os.geteuid() == 0 else 0
OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | NOATIME
_IGNORED_AT_START: Final = os.O_NOFOLLOW


class Leaves(Protocol):
    """Decides what the walk leaves out.  `idle`: nothing by name, so that nobody need ask."""

    idle: bool

    def leaves_out(self, path: bytes, is_folder: bool, size: int = 0) -> bool:  # 87,000 calls
        """Whether this name is left out, and everything below it."""

    def marker(self, names: list[bytes], folder: int) -> bytes | None:
        """The name that marks a folder as one of which nothing else is saved, a cache's tag."""


class Hears(Protocol):
    """Is told what could not be walked, and what was left out."""

    def problem(self, path: bytes, what: str) -> None:
        """Something could not be saved."""

    def note(self, path: bytes, what: str) -> None:
        """Something was left out as it should be."""


@dataclass(slots=True)
class Seen:
    """One part of the live tree.  `fd` is its folder, open until the next part is asked for.

    `olds`: for each entry the parent's of that name, or None; where nothing changed it is the entry.
    """

    part: Part
    stats: list[os.stat_result]
    olds: list[Entry | None]
    fd: int


class Walk:
    """A walk of `root`; a lone file is a tree of one."""

    def __init__(
        self,
        root: bytes,
        rules: Leaves,
        hears: Hears,
        *,
        one_file_system: bool = False,
        avoid: frozenset[tuple[int, int]] = frozenset(),
        parent: Parent | None = None,
        same: Callable[[Entry, os.stat_result], bool] = lambda _, __: False,
    ) -> None:
        """`avoid`: folders to leave out, by device and inode.

        `parent`: the last index; `same`: whether one of its entries still fits a status.
        """
        self._parent = parent or Parent(iter(()))
        self._same = same
        self._avoid = avoid
        self._root = root
        self._rules = rules
        self._hears = hears
        self._one = one_file_system
        self._device = 0

    def parts(self) -> Iterator[Seen]:
        """Every part, the root's own first.  Raises UsageError when the root cannot be read."""
        try:
            status = os.stat(self._root)  # noqa: PTH116  # a path of bytes
            if not stat.S_ISDIR(status.st_mode):
                yield from self._lone()
                return
            fd = _open_folder(self._root, OPEN_FOLDER & ~_IGNORED_AT_START)
        except OSError as error:
            raise UsageError(f"cannot read {os.fsdecode(self._root)}: {error.strerror}") from error
        self._device = status.st_dev
        # On the stack before anything is yielded: whoever walks may stop at any part.
        stack: list[tuple[bytes, int, Iterator[bytes]]] = [(b"", fd, iter(()))]
        try:
            yield self._first(ROOT, status, fd)
            below: list[bytes] = []
            yield from self._folder(b"", fd, below)
            stack[-1] = (b"", fd, iter(below))
            while stack:
                path, fd, names = stack[-1]
                name = next(names, None)
                if name is None:
                    os.close(fd)
                    stack.pop()
                    continue
                child = path + b"/" + name if path else name
                child_fd = self._enter(child, name, fd)
                if child_fd is not None:
                    stack.append((child, child_fd, iter(())))
                    below = []
                    yield from self._folder(child, child_fd, below)
                    stack[-1] = (child, child_fd, iter(below))
        finally:
            for _, fd, _ in stack:
                os.close(fd)

    def _lone(self) -> Iterator[Seen]:
        # A link given by name is followed, as one to a folder is.
        folder, name = os.path.split(os.path.realpath(self._root))
        fd = _open_folder(folder or b"/", OPEN_FOLDER & ~_IGNORED_AT_START)
        try:
            status = os.stat(name, dir_fd=fd)
            yield self._first(name, status, fd)
        finally:
            os.close(fd)

    def _first(self, name: bytes, status: os.stat_result, fd: int) -> Seen:
        self._parent.enter(None)
        entry, old = self._entry(name, status)
        return Seen(Part(None, [entry]), [status], [old], fd)

    def _entry(self, name: bytes, status: os.stat_result) -> tuple[Entry, Entry | None]:
        old = self._parent.find(name)
        if old is not None and self._same(old, status):
            return old, old
        return entry_of(name, status), old

    def _enter(self, path: bytes, name: bytes, fd: int) -> int | None:
        if len(path) > LONGEST_FOLDER:
            self._hears.problem(path, f"folder is left out: its path is longer than {LONGEST_FOLDER} bytes")
            return None
        try:
            return _open_folder(name, OPEN_FOLDER, fd)
        except OSError as error:
            self._hears.problem(path, f"folder cannot be read: {error.strerror}")
            return None

    def _folder(self, path: bytes, fd: int, below: list[bytes]) -> Iterator[Seen]:
        try:
            names = [os.fsencode(name) for name in os.listdir(fd)]
        except OSError as error:
            self._hears.problem(path, f"folder cannot be listed: {error.strerror}")
            return
        marker = self._rules.marker(names, fd)
        if marker is not None:
            self._hears.note(path, f"only {os.fsdecode(marker)} is saved: it marks what else is there as not needed")
            names = [marker]
        names.sort()
        self._parent.enter(path)
        for start in range(0, len(names), PART_ROWS):
            seen = self._rows(path, fd, names[start : start + PART_ROWS])
            for entry, status in zip(seen.part.entries, seen.stats, strict=True):
                if stat.S_ISDIR(entry.mode) and not (self._one and status.st_dev != self._device):
                    below.append(entry.name)
            if seen.part.entries:
                yield seen

    def _rows(self, path: bytes, fd: int, names: list[bytes]) -> Seen:
        entries: list[Entry] = []
        stats: list[os.stat_result] = []
        olds: list[Entry | None] = []
        prefix = path + b"/" if path else b""
        leaves_out = self._rules.leaves_out
        idle = self._rules.idle
        entry_and_old = self._entry
        for name in names:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                self._hears.problem(prefix + name, f"vanished or unreadable: {error.strerror}")
                continue
            mode = status.st_mode
            if not idle and leaves_out(prefix + name, stat.S_ISDIR(mode), status.st_size):
                continue
            if self._avoid and stat.S_ISDIR(mode) and (status.st_dev, status.st_ino) in self._avoid:
                self._hears.note(prefix + name, "the repository itself: skipped")
                continue
            if stat.S_ISSOCK(mode):
                self._hears.note(prefix + name, "a socket: skipped, it has no content")
                continue
            entry, old = entry_and_old(name, status)
            entries.append(entry)
            olds.append(old)
            stats.append(status)
        return Seen(Part(path, entries), stats, olds, fd)


def _open_folder(name: bytes, flags: int, above: int | None = None) -> int:
    try:
        return os.open(name, flags, dir_fd=above)
    except OSError as error:
        # Root without the right over this file system (a user namespace, NFS) may not ask for NOATIME.
        if error.errno != errno.EPERM or not NOATIME:
            raise
        return os.open(name, flags & ~NOATIME, dir_fd=above)


def entry_of(name: bytes, status: os.stat_result) -> Entry:
    """The entry for a name with this status, without content."""
    mode = status.st_mode
    return Entry(
        name,
        mode,
        status.st_uid,
        status.st_gid,
        status.st_size if stat.S_ISREG(mode) else 0,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        rdev=status.st_rdev if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0,
    )
