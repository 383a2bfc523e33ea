"""Pins as files: pins/NAME holds the root's CID, one line.  Like git's refs, readable by eye.

A name that is taken by another root, or that is a folder of other names, gets `+` and the tail of its
root behind it; reading strips that again.

Crash rule: a pin file appears whole (written aside, synced, renamed) before the one it replaces goes.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.clock import rfc3339
from pinfold.errors import Malformed, Refused
from pinfold.ipld.cid import CID
from pinfold.store.folder.layout import read_head, sync_folder, translated, write_for_good
from pinfold.store.folder.locks import locked
from pinfold.store.seam import Pin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pinfold.store.folder.layout import Layout

_TAIL: Final = 16
_MAX_PART: Final = 255 - _TAIL - 1
_MAX_NAME: Final = 2048
_MAX_FILE: Final = 1024


class _Known(NamedTuple):
    """A pin file as it was read: inode, time and size of that file, since when, and the root."""

    mark: tuple[int, int, int]
    since: float
    root: CID


class PinsLost(Refused):
    """The pin list is gone while blocks are there: what is kept and what is garbage cannot be told."""

    exit_code = 4

    def __init__(self, folder: Path) -> None:
        """`folder`: where the pin files should be."""
        super().__init__(
            f"the pin list of {folder.parent} is gone: nothing is safe to free; put {folder.name}/ back"
            " from another copy of the store"
        )


class Pins:
    """The pin files of one store folder."""

    def __init__(self, layout: Layout) -> None:
        self._folder = layout.pins
        self._lock = layout.locks / "pins"
        self._lockable = layout.writable()
        self._known: dict[str, _Known] = {}
        self._broken: dict[str, str] = {}

    def keep(self, root: CID, name: str, replaces: CID | None) -> str:
        """Write the pin for good; then drop other names of `root`, and the pin of `replaces`.  Returns since when."""
        check_name(name)
        with locked(self._lock), translated(self._folder):
            self._must_exist()
            path = self._place(root, name)
            self._make_folder(path.parent)
            write_for_good(path, f"{root}\n".encode())
            pins = self._scan()
            for held, pin in pins.items():
                if held != str(path) and pin.root in {root, replaces}:
                    self._remove(Path(held))
            return _time(pins[str(path)])

    def drop(self, roots: Iterable[CID]) -> None:
        """Remove the pins of `roots`."""
        gone = set(roots)
        with locked(self._lock), translated(self._folder):
            for path, pin in self._scan().items():
                if pin.root in gone:
                    self._remove(Path(path))

    def list(self) -> Sequence[Pin]:
        """Every pin, ordered by name, then by root; without those whose file holds no CID.  Raises PinsLost."""
        return self.read()[0]

    def read(self) -> tuple[Sequence[Pin], Sequence[str]]:
        """Every pin, and for each file that holds no CID what is wrong with it.  Raises PinsLost.

        Locked, lest a pin on its way from one name to another be missed.
        """
        with locked(self._lock) if self._lockable else nullcontext(), translated(self._folder):
            found = {Pin(pin.root, self._name(path, pin.root)) for path, pin in self._scan().items()}
            broken = sorted(self._broken.values())
        return sorted(found, key=lambda pin: (pin.name, pin.root)), broken

    def all(self) -> Sequence[Pin]:
        """Every pin there is.  Raises Refused if a file holds no CID, PinsLost if there is no pin at all.

        For whoever frees what is not pinned: a pin that cannot be read may keep anything.
        """
        found, broken = self.read()
        if broken:
            raise Refused(f"nothing was freed: {broken[0]}")
        if not found:
            raise PinsLost(self._folder)
        return found

    def since(self, root: CID) -> str | None:
        """When `root` was pinned, RFC 3339; None if it is not."""
        with translated(self._folder):
            return next((_time(pin) for pin in self._scan().values() if pin.root == root), None)

    def _place(self, root: CID, name: str) -> Path:
        plain, tailed = self._folder / name, self._folder / (name + _tail(root))
        # A name that looks tailed already must keep what it ends with when the tail is stripped.
        if name.endswith(_tail(root)) or plain.is_dir():
            return tailed
        held = _read(plain)
        return plain if held is None or held == root else tailed

    def _make_folder(self, folder: Path) -> None:
        """Make the folders of a name.  A pin that bears such a folder's name moves to its tailed file."""
        made = []
        while folder != self._folder and not folder.is_dir():
            held = _read(folder)
            if held is not None:
                folder.rename(folder.with_name(folder.name + _tail(held)))
            made.append(folder)
            folder = folder.parent
        for missing in reversed(made):
            missing.mkdir(mode=0o700)
            sync_folder(missing.parent)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
        with suppress(OSError):
            while (path := path.parent) != self._folder:
                path.rmdir()

    def _name(self, path: str, root: CID) -> str:
        name = path[len(str(self._folder)) + 1 :]
        return name.removesuffix(_tail(root)) if name[-_TAIL - 1 : -_TAIL] == "+" else name

    def _scan(self) -> dict[str, _Known]:
        """Every pin file by its path.  One that has not changed is not read again (4 µs against 25)."""
        self._must_exist()
        found: dict[str, _Known] = {}
        broken: dict[str, str] = {}
        folders = [str(self._folder)]
        while folders:
            with _listing(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif not entry.name.startswith("."):
                        try:
                            pin = _look(entry, self._known.get(entry.path))
                        except Refused as error:
                            broken[entry.path] = str(error)
                            continue
                        if pin is not None:
                            found[entry.path] = pin
        self._known, self._broken = found, broken
        return found

    def _must_exist(self) -> None:
        if not self._folder.is_dir():
            raise PinsLost(self._folder)


def check_name(name: str) -> None:
    """Raise Refused unless `name` can be a path below pins/."""
    parts = name.split("/")
    if (
        any(not part or part.startswith(".") or len(part.encode("utf-8", "replace")) > _MAX_PART for part in parts)
        or len(name) > _MAX_NAME
        or not name.isprintable()
        or "\\" in name
    ):
        raise Refused(
            f"{name[:80]!r} cannot name a pin: use printable words joined by slashes, none empty, longer than"
            f" {_MAX_PART} bytes, or starting with a dot"
        )


def _tail(root: CID) -> str:
    return f"+{str(root)[-_TAIL:]}"


def _read(path: Path) -> CID | None:
    try:
        text = read_head(path, _MAX_FILE)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    try:
        return CID.parse(text.decode("ascii").strip())
    except (Malformed, UnicodeDecodeError):
        raise Refused(f"pin file {path} holds no CID: put the right one there, or remove it to drop the pin") from None


def _time(pin: _Known) -> str:
    return rfc3339(datetime.fromtimestamp(pin.since, UTC))


@contextmanager
def _listing(folder: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:  # its last pin went meanwhile
        yield iter(())
        return
    with entries:
        yield entries


def _look(entry: os.DirEntry[str], known: _Known | None) -> _Known | None:
    try:
        now = entry.stat()
    except FileNotFoundError:
        return None
    mark = (now.st_ino, now.st_mtime_ns, now.st_size)
    if known is not None and known.mark == mark:
        return known
    root = _read(Path(entry.path))
    return None if root is None else _Known(mark, now.st_mtime, root)
