"""What lies where in a store folder, how it is marked, and how small files are written for good.

    pinfold-store.json   marks the folder: format and version
    README.txt           for whoever finds it
    cars/*.car           blocks, append-only (cars.py)
    pins/NAME            one small file per pin (pins.py)
    index.db             where each block lies; only a cache (index.py)
    writers/, locks/     empty files whose locks tell who is at work (locks.py)

Crash rule: a small file is written aside, synced, renamed over, and its folder synced.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from pinfold.errors import Full, Refused, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT: Final = "pinfold-store"
VERSION: Final = 1
MARKER: Final = "pinfold-store.json"
PLACES: Final = ("cars", "pins", "writers", "locks")
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_README: Final = """\
This folder is a pinfold store: blocks of encrypted backups, named by their hash.

cars/    the blocks, as CARv1 files.  Any IPFS node takes them: ipfs dag import cars/*.car
pins/    one file per kept snapshot; it holds the CID of the snapshot's root
index.db where each block lies.  Only a cache: delete it and it is built again from cars/

Keep cars/ and pins/; everything else can be made again.  Were pins/ lost, no snapshot would be listed,
and their blocks would count as garbage: NEVER run gc then.  Nothing in cars/ is lost yet; import the cars
into an IPFS node, or use tools/recover.py of pinfold's source, which finds the snapshots without pins.
To restore:
    pinfold -r THIS_FOLDER snapshots
    pinfold -r THIS_FOLDER restore SNAPSHOT TARGET
Or import the cars into an IPFS node and restore from there by the CID in a pin file.
"""


class Layout:
    """The paths of one store folder."""

    def __init__(self, path: Path) -> None:
        """`path`: the folder, whether it exists yet or not."""
        self.path = path
        self.marker = path / MARKER
        self.cars = path / "cars"
        self.pins = path / "pins"
        self.writers = path / "writers"
        self.locks = path / "locks"
        self.index = path / "index.db"

    def create(self) -> None:
        """Make the folder and its marker.  Raises Refused where something is there already."""
        with translated(self.path):
            if self.marker.exists():
                raise Refused(f"{self.path} is a store already: a new one needs a folder of its own")
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise Refused(f"{self.path} is not an empty folder: a new store needs one")
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for place in PLACES:
                (self.path / place).mkdir(mode=0o700)
            write_for_good(self.path / "README.txt", _README.encode())
            marker = json.dumps({"format": FORMAT, "version": VERSION}) + "\n"
            write_for_good(self.marker, marker.encode())
            sync_folder(self.path.parent)

    def check(self) -> None:
        """Raise Refused unless the folder is a store this version can work with."""
        with translated(self.path):
            try:
                text = read_head(self.marker, 4096)
            except (FileNotFoundError, NotADirectoryError):
                raise Refused(f"{self.path} is no pinfold store: it has no {MARKER}; create one with init") from None
        try:
            marker = json.loads(text)
            ours, version = marker["format"] == FORMAT, marker["version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            ours, version = False, None
        if not ours:
            raise Refused(f"{self.marker} does not mark a pinfold store: is this the right folder?")
        if version != VERSION:
            raise Refused(f"{self.path} is a store of version {version!r}, this program knows {VERSION}: upgrade it")
        if self.writable():
            with translated(self.path):
                for place in PLACES:
                    if place != "pins" or not self.holds_cars():
                        (self.path / place).mkdir(mode=0o700, exist_ok=True)

    def holds_cars(self) -> bool:
        """Whether there are blocks: then an empty pins/ made anew would hide that the pin list was lost."""
        return self.cars.is_dir() and any(self.cars.glob("*.car"))

    def writable(self) -> bool:
        """Whether this process may change the folder; backups on read-only media can be read too."""
        places = [self.path, *(self.path / place for place in PLACES)]
        return all(os.access(place, os.W_OK) for place in places if place.exists())


@contextmanager
def translated(place: Path) -> Iterator[None]:
    """Turn the operating system's errors at `place` into the store's."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise store_error(error, place) from error


def store_error(error: OSError, place: Path) -> StoreError:
    """What `error` means for a store; the message names the place and what to do."""
    if error.errno in _NO_ROOM:
        return Full(f"no room left in {place} ({error.strerror}): free some or collect garbage, then run again")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return Refused(f"not allowed in {error.filename or place}: {error.strerror}")
    return Unavailable(f"{error.filename or place}: {error.strerror or error}")


def write_for_good(path: Path, data: bytes) -> None:
    """Write a small file so that a power cut leaves the old content or the new, never a part."""
    # A name nobody can guess, and never through a link: the folder may be another user's.
    aside = path.with_name(f".{path.name[:200]}.{os.urandom(6).hex()}.part")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            written = os.write(fd, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(fd)
        finally:
            os.close(fd)
        aside.replace(path)
    except OSError:
        with suppress(OSError):
            aside.unlink()
        raise
    sync_folder(path.parent)


def open_regular(path: Path) -> int:
    """A descriptor for reading; no link is followed, and a pipe in a file's place does not hang.

    Raises Refused for anything but a regular file, else OSError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refused(f"{path} is a symbolic link: a store holds none") from error
        raise
    kind = os.fstat(fd).st_mode
    if stat.S_ISREG(kind):
        return fd
    os.close(fd)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise Refused(f"{path} is no regular file")


def read_head(path: Path, most: int) -> bytes:
    """The first bytes of a small file.  Raises as `open_regular`."""
    fd = open_regular(path)
    try:
        return os.read(fd, most)
    finally:
        os.close(fd)


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or removed in `path` survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
