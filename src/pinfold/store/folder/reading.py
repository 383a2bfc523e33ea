"""get: from the index to checked bytes, with few open files and few system calls."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from pinfold.errors import Corrupt, Malformed, Missing
from pinfold.store.folder.layout import translated

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.ipld.cid import CID
    from pinfold.store.folder.index import Row

_OPEN_CARS: Final = 32


class Cars:
    """Open cars, least recently used closed first.  Safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _File] = OrderedDict()

    def read(self, row: Row, cid: CID) -> bytes:
        """The block at `row`, checked.  Raises Corrupt; Missing if the car is not there any more."""
        place = self._folder / row.car
        with translated(place):
            try:
                file = self._file(row.car)
            except FileNotFoundError:
                raise Missing(cid, str(place)) from None
            block = os.pread(file.fd, row.length, row.offset + row.head)
        if len(block) < row.length:
            raise Missing(cid, f"{place}, which ends before it")
        try:
            cid.verify(block, f"{place} at byte {row.offset}")
        except Malformed:
            raise Corrupt(cid, str(place)) from None
        return block

    def size(self, name: str) -> int:
        """How long car `name` is now; 0 if it is not there."""
        try:
            return (self._folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    def _file(self, name: str) -> _File:
        with self._lock:
            file = self._open.get(name)
            if file is not None:
                self._open.move_to_end(name)
                return file
            # Cars that were collected meanwhile would keep their space on disk while they are open.
            for other in [other for other, held in self._open.items() if not os.fstat(held.fd).st_nlink]:
                del self._open[other]
            file = self._open[name] = _File(self._folder / name)
            if len(self._open) > _OPEN_CARS:
                self._open.popitem(last=False)
            return file

    def close(self) -> None:
        """Close all."""
        with self._lock:
            self._open.clear()


class _File:
    """A descriptor that closes when the last reader lets go of it."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)
