"""Writing a tree back below a folder: hostile-proof, resumable, fast.

The index and the disk are both untrusted: nothing is followed, nothing outside the target is touched
(target_folders.py), and what cannot be done is told as a problem and left out.

Crash rule.  A new file bears the mode 01000 until it is whole and has its owner, attributes, mode and
times, so what kill -9 leaves says itself that it is unfinished, and the next run writes it again.  A file
that is replaced stays as it was until its successor, under a passing name beside it, is whole.  The modes
and times of folders are put on by `finish()`, children before parents.  Nothing is synced file by file:
after a power cut run the restore again, or call sync(1) before relying on it.
On a file system without modes (FAT) unfinished files are known by their time alone.
Sources: open(2), rename(2), link(2), mknod(2).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from enum import Enum
from hashlib import blake2b
from threading import Lock
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

from pinfold.errors import Full, PinfoldError
from pinfold.ipld import dagcbor
from pinfold.sources.directory.owners import Translation
from pinfold.sources.directory.spool import Spool
from pinfold.sources.directory.target_delete import remove_others
from pinfold.sources.directory.target_folders import Blocked, Folders, OpenFolder, check_name, make_folder
from pinfold.sources.directory.target_stamp import PARTIAL, Stamp, Stamper, reason
from pinfold.sources.directory.target_write import WrongLength, pour

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from pinfold.sources.directory.entry import Entry

T = TypeVar("T")
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY
# Owner may write, besides: a file that was getting its attributes.
_PARTIALS: Final = frozenset({PARTIAL, PARTIAL | stat.S_IWUSR})
_SPECIAL: Final = frozenset({stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK})


class Overwrite(Enum):
    """What happens to something else that has the name of what is restored."""

    NEVER = "never"
    IF_NEWER = "if-newer"
    ALWAYS = "always"


class Decision(Enum):
    """What becomes of a file: its content is wanted, it is there already, or something else is kept."""

    WRITE = "write"
    SAME = "same"
    KEEP = "keep"


class Target:
    """The folder a tree is restored into.  For several threads; folders are to come before what is in them.

    Of a path that cannot be restored `problem` is told, one call at a time.  Every method may raise Full,
    and PinfoldError where the whole target cannot be written.
    """

    def __init__(
        self,
        root: Path,
        *,
        overwrite: Overwrite,
        numeric_owners: bool = False,
        problem: Callable[[bytes, str], None],
    ) -> None:
        """Make `root` if need be.  Raises PinfoldError if it is no folder or cannot be written."""
        self._root = root
        self._overwrite = overwrite
        self._problem = problem
        self._problem_lock = Lock()
        self._owners = Translation(numeric=numeric_owners)
        self._stamper = Stamper(self._owners, self._say)
        self._finishing = False
        self._folders = Folders(_open_root(root), self._loosened)
        try:
            self._spool = Spool(root)
        except OSError as error:
            self._folders.close()
            raise self._fatal(error) or _unwritable(root, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def unset_owners(self) -> int:
        """How many things keep another owner or group than the snapshot tells of."""
        return self._stamper.unset_owners

    def learn_owners(self, users: Mapping[int, str], groups: Mapping[int, str]) -> None:
        """Take in the names of owners a page of the index tells, before its entries are restored."""
        self._owners.learn(users, groups)

    def folder(self, path: bytes, entry: Entry | None) -> bool:
        """Make the folder at `path` (b"": the target) or take the one there; its metadata comes with `finish`.

        `entry`: None where the index tells nothing of it; it then gets what any new folder here would.
        """
        if path:
            return self._within(path, lambda above, name: self._folder(above, name, path, entry))
        if entry is not None:
            self._remember(path, self._stamper.of(entry))
        return True

    def _folder(self, above: OpenFolder, name: bytes, path: bytes, entry: Entry | None) -> bool:
        mode = 0o777 if entry is None else 0o700
        fresh = make_folder(above.fd, name, mode)
        if not fresh:
            status = os.stat(name, dir_fd=above.fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._check_replaceable(status, entry)
                os.unlink(name, dir_fd=above.fd)
                fresh = make_folder(above.fd, name, mode)
        if entry is not None:
            # Ahead of `add`, whose own note of a read-only folder's old mode must not have the last word.
            self._remember(path, self._stamper.of(entry), disinherit=fresh and above.hands_down)
        self._folders.add(above, name, fresh=fresh)
        return True

    def wanted(self, path: bytes, entry: Entry) -> Decision:
        """What becomes of the regular file at `path`; that something else is kept is told as a problem.

        A file of the same size and time is the same: an interrupted restore goes on from there.
        """
        try:
            parent, name = _split(path)
            with self._folders.take(parent) as folder:
                if folder.fresh:  # spares a lookup, 5 µs, in a folder that was empty
                    return Decision.WRITE
                status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
                if is_partial(status):
                    return Decision.WRITE
                if is_restored(status, entry):
                    self._refresh(folder, name, path, status, entry)
                    return Decision.SAME
                self._check_replaceable(status, entry)
        except FileNotFoundError:
            return Decision.WRITE
        except (Blocked, OSError) as error:
            self._tell(path, error)
            return Decision.KEEP
        return Decision.WRITE

    def _refresh(self, folder: OpenFolder, name: bytes, path: bytes, status: os.stat_result, entry: Entry) -> None:
        stamp = self._stamper.of(entry)
        has = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        if self._overwrite is Overwrite.ALWAYS and has != (stamp.mode, stamp.uid, stamp.gid):
            self._stamp_by_name(folder, name, path, stamp)

    def write_file(self, path: bytes, entry: Entry, data: Iterable[bytes | memoryview]) -> bool:
        """Restore a regular file.  `data`: its content, of a sparse file the runs laid end to end.

        False if it could not be done, which is told as a problem; nothing half written stays.  What `data`
        itself raises passes through, save OSError.
        """
        return self._within(path, lambda folder, name: self._write(folder, name, path, entry, data))

    def _write(
        self, folder: OpenFolder, name: bytes, path: bytes, entry: Entry, data: Iterable[bytes | memoryview]
    ) -> bool:
        fd, made = self._make(folder, name, path, entry, lambda new: os.open(new, _NEW, PARTIAL, dir_fd=folder.fd))
        try:
            try:
                pour(fd, entry, data)
                if folder.born is None:  # asked once a folder: a stat takes longer than the chown it may spare
                    status = os.fstat(fd)
                    folder.born = (status.st_uid, status.st_gid)
                stamp = self._stamper.of(entry)
                self._stamper.put(path, fd, stamp, born=folder.born, disinherit=folder.hands_down)
            finally:
                os.close(fd)  # may tell of a full disk, on NFS
            _settle(folder, made, name)
        except BaseException:
            with suppress(OSError):
                os.unlink(made, dir_fd=folder.fd)
            raise
        return True

    def symlink(self, path: bytes, entry: Entry) -> bool:
        """Restore a symlink.  False if it could not be done, which is told."""
        target = entry.target or b""

        def is_same(folder: OpenFolder, name: bytes, status: os.stat_result) -> bool:
            return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=folder.fd) == target

        def place(folder: OpenFolder, name: bytes) -> bool:
            if self._is_there(folder, name, is_same):
                if self._overwrite is Overwrite.ALWAYS:
                    self._stamper.put_link(path, folder.fd, name, self._stamper.of(entry))
                return True
            _, made = self._make(folder, name, path, entry, lambda new: os.symlink(target, new, dir_fd=folder.fd))
            self._stamper.put_link(path, folder.fd, made, self._stamper.of(entry))
            _settle(folder, made, name)
            return True

        return self._within(path, place)

    def special(self, path: bytes, entry: Entry) -> bool:
        """Restore a pipe or a device.  False if it could not be done, which is told.

        A socket is not restored, and no word said: the program it belongs to makes it anew.
        """
        kind = stat.S_IFMT(entry.mode)
        if kind == stat.S_IFSOCK:
            return False

        def is_same(_folder: OpenFolder, _name: bytes, status: os.stat_result) -> bool:
            return (stat.S_IFMT(status.st_mode), status.st_rdev) == (kind, entry.rdev)

        def place(folder: OpenFolder, name: bytes) -> bool:
            if kind not in _SPECIAL:
                raise Blocked(f"not restored: a kind of file ({kind:#o}) that is not known here")
            there = self._is_there(folder, name, is_same)
            made = name
            if not there:
                _, made = self._make(
                    folder, name, path, entry, lambda new: os.mknod(new, kind, entry.rdev, dir_fd=folder.fd)
                )
            if not there or self._overwrite is Overwrite.ALWAYS:
                self._stamp_by_name(folder, made, path, self._stamper.of(entry), disinherit=folder.hands_down)
            _settle(folder, made, name)
            return True

        return self._within(path, place)

    def hardlink(self, path: bytes, entry: Entry, first_path: bytes) -> bool:
        """Make `path` another name of `first_path`, which was restored before.

        False if that cannot be, without a word: the content is then to be restored at `path` by itself.
        """
        try:
            parent, name = _split(path)
            first_parent, first_name = _split(first_path)
            with self._folders.take(first_parent, make=False) as source, self._folders.take(parent) as folder:
                first = os.stat(first_name, dir_fd=source.fd, follow_symlinks=False)
                # What is there may be something else that was kept.
                if is_partial(first) or not is_restored(first, entry):
                    return False

                def link(new: bytes) -> None:
                    os.link(first_name, new, src_dir_fd=source.fd, dst_dir_fd=folder.fd, follow_symlinks=False)

                if not self._is_there(folder, name, lambda _folder, _name, status: os.path.samestat(status, first)):
                    _settle(folder, self._make(folder, name, path, entry, link)[1], name)
        except OSError as error:
            fatal = self._fatal(error)
            if fatal is not None:
                raise fatal from error
            return False
        except Blocked:
            return False
        return True

    def delete_extraneous(self, folder_path: bytes, keep_names: Container[bytes]) -> list[bytes]:
        """Remove what the folder holds beside `keep_names`; gives the paths, a folder's for all that was in it."""
        try:
            with self._folders.take(folder_path, make=False) as folder:
                removed = remove_others(folder.fd, folder_path, keep_names, self._say)
        except FileNotFoundError:
            return []
        except (Blocked, OSError) as error:
            self._tell(folder_path, error)
            return []
        for path in removed:
            self._folders.forget(path)
        return removed

    def finish(self) -> None:
        """Put the metadata onto the folders, the last one made first.  To be called once, at the end; closes."""
        self._finishing = True
        for record in self._spool.backwards():
            path, mode, uid, gid, mtime, xattrs, disinherit = cast("list[object]", dagcbor.decode(record, "spool"))
            pairs = tuple((name, value) for name, value in cast("list[list[bytes]]", xattrs))
            stamp = Stamp(cast("int", mode), cast("int", uid), cast("int", gid), cast("int | None", mtime), pairs)
            where = cast("bytes", path)
            try:
                with self._folders.take(where, make=False) as folder:
                    born = (-1, -1)  # "leave both" needs no call
                    self._stamper.put(where, folder.fd, stamp, born=born, disinherit=bool(disinherit))
            except (Blocked, OSError) as error:
                self._tell(where, error)
        self.close()

    def close(self) -> None:
        """Let go of everything, finished or not."""
        self._folders.close()
        self._spool.close()

    def _remember(self, path: bytes, stamp: Stamp, *, disinherit: bool = False) -> None:
        pairs = [list(pair) for pair in stamp.xattrs]
        record = dagcbor.encode([path, stamp.mode, stamp.uid, stamp.gid, stamp.mtime, pairs, disinherit])
        try:
            with self._folders.lock:
                self._spool.append(record)
        except OSError as error:
            raise self._fatal(error) or _unwritable(self._root, error) from error

    def _loosened(self, path: bytes, status: os.stat_result) -> None:
        # While finishing, all that is opened has its mode on record already.
        if not self._finishing:
            self._remember(path, Stamp(stat.S_IMODE(status.st_mode), -1, -1, None, ()))

    def _within(self, path: bytes, action: Callable[[OpenFolder, bytes], bool]) -> bool:
        """What `action` gives, in the folder of `path`; False, and told, if it is stopped."""
        try:
            parent, name = _split(path)
            with self._folders.take(parent) as folder:
                return action(folder, name)
        except (Blocked, WrongLength, OSError, OverflowError) as error:
            self._tell(path, error)
            return False

    def _make(
        self, folder: OpenFolder, name: bytes, path: bytes, entry: Entry, make: Callable[[bytes], T]
    ) -> tuple[T, bytes]:
        """What `make` gives, and the name under which it made it: a passing one where a good thing is replaced."""
        with suppress(FileExistsError):
            return make(name), name
        status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
        if is_partial(status):
            os.unlink(name, dir_fd=folder.fd)
            return make(name), name
        self._check_replaceable(status, entry)
        if stat.S_ISDIR(status.st_mode):
            self._folders.forget(path)
            try:
                os.rmdir(name, dir_fd=folder.fd)
            except OSError as error:
                raise Blocked(f"not restored: a folder is in its place: {error.strerror}") from error
            return make(name), name
        passing = b".pinfold-" + blake2b(name, digest_size=8).hexdigest().encode()
        with suppress(FileNotFoundError):
            os.unlink(passing, dir_fd=folder.fd)  # of a restore that was killed
        return make(passing), passing

    def _is_there(
        self, folder: OpenFolder, name: bytes, is_same: Callable[[OpenFolder, bytes, os.stat_result], bool]
    ) -> bool:
        if folder.fresh:
            return False
        try:
            return is_same(folder, name, os.stat(name, dir_fd=folder.fd, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _check_replaceable(self, status: os.stat_result, entry: Entry | None) -> None:
        """Raise Blocked if what has this status stays."""
        why = "" if is_partial(status) else why_kept(self._overwrite, status, entry)
        if why:
            raise Blocked(why)

    def _stamp_by_name(
        self, folder: OpenFolder, name: bytes, path: bytes, stamp: Stamp, *, disinherit: bool = False
    ) -> None:
        """Stamp what may not be opened for itself, a pipe as an example; a symlink in its place is not followed."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=folder.fd)
        try:
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                self._stamper.put(path, b"/proc/self/fd/%d" % fd, stamp, disinherit=disinherit)
        finally:
            os.close(fd)

    def _tell(self, path: bytes, error: Exception) -> None:
        """Tell of `path`, or raise what stops the whole restore."""
        if not isinstance(error, OSError):
            self._say(path, str(error))
            return
        fatal = self._fatal(error)
        if fatal is not None:
            raise fatal from error
        self._say(path, f"not restored: {reason(error)}")

    def _fatal(self, error: OSError) -> PinfoldError | None:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return Full(
                f"no room left for {self._root} ({error.strerror}): "
                "free some and run the same restore again, it goes on where it stopped"
            )
        if error.errno == errno.EROFS:
            return _unwritable(self._root, error)
        return None

    def _say(self, path: bytes, what: str) -> None:
        with self._problem_lock:
            self._problem(path, what)


def _open_root(root: Path) -> int:
    try:
        root.mkdir(parents=True, exist_ok=True)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(root, error) from error
    if not os.access(root, os.W_OK | os.X_OK, effective_ids=True):
        os.close(fd)
        raise PinfoldError(f"cannot restore into {root}: it may not be written; choose a folder that may")
    return fd


def _unwritable(root: Path, error: OSError) -> PinfoldError:
    return PinfoldError(f"cannot restore into {root}: {error.strerror}; choose a folder that may be written")


def _split(path: bytes) -> tuple[bytes, bytes]:
    """The folder and the name.  Raises Blocked if there is no such path below anything."""
    parent, slash, name = path.rpartition(b"/")
    if slash and not parent:
        raise Blocked("an absolute path, which no snapshot holds")
    return parent, check_name(name)


def why_kept(overwrite: Overwrite, status: os.stat_result, entry: Entry | None) -> str:
    """Why what has this status stays in the place of `entry`; empty if it does not."""
    if overwrite is Overwrite.NEVER:
        return "not restored: something else is there, and it is kept"
    if overwrite is Overwrite.IF_NEWER and (entry is None or entry.mtime <= status.st_mtime_ns):
        return "not restored: what is there is as new or newer, and it is kept"
    return ""


def is_partial(status: os.stat_result) -> bool:
    """Whether a restore that was cut off left this file unfinished."""
    return stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) in _PARTIALS


def is_restored(status: os.stat_result, entry: Entry) -> bool:
    """Whether what has this status counts as restored: type, time and, of files, size are the entry's."""
    if stat.S_IFMT(status.st_mode) != stat.S_IFMT(entry.mode) or status.st_mtime_ns != entry.mtime:
        return False
    return not stat.S_ISREG(status.st_mode) or status.st_size == entry.size


def _settle(folder: OpenFolder, made: bytes, name: bytes) -> None:
    """Give what was made under a passing name its own, in one step."""
    if made is not name:
        os.rename(made, name, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
