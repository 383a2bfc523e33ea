"""get, has, and the proof of a pin: from the index to checked bytes, with few open files and system calls.

The index may be behind the cars when another process works on them.  So what it knows of and is not
there, or is asked for and not known, is looked for once more after the index was brought level.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pinfold.errors import Corrupt, Full, Malformed, Missing, Unavailable
from pinfold.ipld.cid import IDENTITY, SHA2_256
from pinfold.store.folder.layout import open_regular, translated
from pinfold.store.folder.rows import BAD
from pinfold.store.prove import batches, prove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pinfold.ipld.cid import CID
    from pinfold.store.folder.index import Index
    from pinfold.store.folder.layout import Layout
    from pinfold.store.folder.rows import Row

_OPEN_CARS: Final = 32


class Blocks:
    """The blocks of one store folder, for reading."""

    def __init__(self, layout: Layout, index: Index, follow: Callable[[], bool]) -> None:
        """`follow` brings the index level if the cars have changed, and tells whether they had."""
        self._name = str(layout.path)
        self._index = index
        self._follow = follow
        self._cars = Cars(layout.cars)

    def get(self, cid: CID) -> bytes:
        """The block, from another copy if the first is damaged.  Raises Missing, Corrupt."""
        if cid.hash_code == IDENTITY:
            return cid.digest
        if cid.hash_code != SHA2_256:
            raise Missing(cid, self._name)
        try:
            return self._read(cid)
        except Missing:
            if not self._follow():
                raise
        return self._read(cid)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that are stored and not condemned."""
        found: set[CID] = set()
        for batch in batches(cids):
            found |= _present(batch, self._index.has)
        return found

    def prove(self, root: CID, proved: CID | None = None, *, bad: bool = False) -> None:
        """Raise Incomplete unless everything below `root` is there, in cars that are long enough.

        Condemned blocks count: a pin saves them.  What was found damaged counts only with `bad`; and
        while there is any, nothing is taken over from `proved`, so that whoever pins hears of it.
        """
        sizes: dict[str, int] = {}

        def whole(wanted: Iterable[bytes]) -> set[bytes]:
            return self._whole(list(wanted), sizes, bad=bad)

        prove(root, self.get, lambda cids: _present(cids, whole), None if self._index.has_bad() else proved)

    def other_copy(self, cid: CID, bad: Row) -> str:
        """Settle a copy that was seen damaged, or was noted as such; what to add to the telling of it."""
        if not self.holds_good(cid):
            return "; the next backup stores it anew if its source still has it"
        self._note(lambda: self._index.found_bad(bad) if bad in self._index.spares(cid.digest) else None)
        return "; a good copy lies elsewhere and is used"

    def holds_good(self, cid: CID) -> bool:
        """Whether a copy of the block can be read."""
        try:
            self.get(cid)
        except (Corrupt, Missing):
            return False
        return True

    def close(self) -> None:
        """Close the cars."""
        self._cars.close()

    def _read(self, cid: CID) -> bytes:
        for _ in range(3):  # a collection may move the block between the look and the reading
            row = self._index.row(cid.digest)
            if row is None:
                break
            try:
                block = self._cars.read(row, cid)
            except Missing:
                continue
            except Corrupt:
                return self._read_spare(cid, row)
            if row.condemned == BAD:
                self._note(lambda row=row: self._index.found_good(row))  # type: ignore[misc]
            return block
        raise Missing(cid, self._name)

    def _read_spare(self, cid: CID, bad: Row) -> bytes:
        """Another copy than `bad`, which takes its place; if there is none, the next put stores one."""
        for row in self._index.spares(cid.digest):
            try:
                block = self._cars.read(row, cid)
            except (Corrupt, Missing):
                continue
            self._note(lambda row=row: self._index.found_bad(bad, row))  # type: ignore[misc]
            return block
        if bad.condemned == 0:
            self._note(lambda: self._index.found_bad(bad))
        raise Corrupt(cid, self._name)

    def _note(self, action: Callable[[], None]) -> None:
        """Tell the index.  Where it cannot take it in, the next reader finds the same damage again."""
        with suppress(Full, Unavailable):
            action()

    def _whole(self, digests: list[bytes], sizes: dict[str, int], *, bad: bool) -> set[bytes]:
        found = self._whole_rows(digests, sizes, bad=bad)
        if len(found) < len(set(digests)) and self._follow():
            found = self._whole_rows(digests, sizes, bad=bad)
        return found

    def _whole_rows(self, digests: list[bytes], sizes: dict[str, int], *, bad: bool) -> set[bytes]:
        """Those whose car is as long as it must be; `sizes` remembers the lengths seen."""
        found = set()
        for row in self._index.rows(digests):
            if row.end > sizes.get(row.car, 0):
                sizes[row.car] = self._cars.size(row.car)
            if row.end <= sizes[row.car] and (bad or row.condemned != BAD):
                found.add(row.digest)
        return found


def _present(cids: list[CID], known: Callable[[Iterable[bytes]], set[bytes]]) -> set[CID]:
    found = known(cid.digest for cid in cids if cid.hash_code == SHA2_256)
    return {cid for cid in cids if cid.hash_code == IDENTITY or (cid.digest in found and cid.hash_code == SHA2_256)}


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
            try:
                block = os.pread(file.fd, row.length, row.offset + row.head)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                raise Corrupt(cid, f"{place} at byte {row.offset}, which the disk cannot read") from error
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
        self.fd = open_regular(path)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)
