"""Cars being written: append-only CARv1 files of at most 256 MiB, one writer each.

A car is locked while its writer lives.  It starts with a fixed-width header whose one root is the empty
folder, and that folder's block, so even an unfinished car imports elsewhere.  Sealing appends a UnixFS
folder that lists the car's blocks by CID and patches the header to its root.

Crash rule: sections are appended whole and in order; index rows follow only after the car was synced.
A section torn by a crash is cut off by recover.py once the lock shows that the writer is dead.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pinfold.errors import Unavailable
from pinfold.ipld import car
from pinfold.ipld.cid import CID
from pinfold.ipld.folders import build_folder
from pinfold.store.folder.layout import sync_folder, translated
from pinfold.store.folder.locks import open_locked
from pinfold.store.folder.rows import CarRow, Row

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future, ThreadPoolExecutor
    from pathlib import Path

    from pinfold.store.folder.index import Index
    from pinfold.store.seam import Block

EMPTY: Final = CID.parse("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
OPENING: Final = car.fixed_header(EMPTY) + car.section(EMPTY, b"\x0a\x02\x08\x01")
# With the listing of 32,768 blocks, 5 MiB at most, a car stays below 256 MiB.
MAX_DATA: Final = 240 << 20
MAX_BLOCKS: Final = 1 << 15  # their CIDs are held until sealing: 10 MB
MAX_BLOCK: Final = car.MAX_SECTION - 64
STEP: Final = 64 << 20
_IOV: Final = 1024
_ROOT_AT: Final = car.HEADER_SIZE - len(b"\x67version\x01") - 36


class Appender:
    """The writer of one car.  Used by one thread at a time.

    Every STEP bytes the car is synced on a thread of its own, so that writing goes on meanwhile.
    """

    def __init__(self, path: Path, index: Index, syncer: ThreadPoolExecutor) -> None:
        """Begin the car `path`.  Raises Full, Refused, Unavailable."""
        self.path = path
        self._index = index
        self._syncer = syncer
        with translated(path):
            fd = open_locked(path, wait=False)
            if fd is None:
                raise Unavailable(f"{path} is being written by somebody else")
            self._fd = fd
            try:
                os.ftruncate(fd, 0)
                os.write(fd, OPENING)
                sync_folder(path.parent)
            except BaseException:
                path.unlink(missing_ok=True)
                os.close(fd)
                raise
        self.size = self._committed = self._started = len(OPENING)
        self._listed: list[tuple[CID, int]] = []
        self._rows: list[Row] = []
        self._flight: tuple[Future[None], int, int] | None = None
        self.unsynced: set[bytes] = set()
        # A car that was cut is not gone on with: another process may have seen what was cut off.
        self.was_cut = False

    @property
    def closed(self) -> bool:
        """Whether the car was let go of."""
        return self._fd < 0

    def takes(self, size: int, count: int) -> bool:
        """Whether `count` more blocks of `size` bytes in all fit."""
        held = len(self._listed)
        return held == 0 or (self.size + size <= MAX_DATA and held + count <= MAX_BLOCKS)

    def append(self, blocks: list[Block]) -> list[Row]:
        """Write sections, and return where they lie.

        On failure the car ends where it ended before.  Raises OSError.
        """
        pieces: list[bytes] = []
        rows: list[Row] = []
        end = self.size
        for cid, block in blocks:
            prefix = car.section_prefix(cid, len(block))
            pieces += (prefix, block)
            rows.append(Row(cid.digest, cid.codec, self.path.name, end, len(prefix), len(block)))
            end = rows[-1].end
        try:
            for start in range(0, len(pieces), _IOV):
                _write_all(self._fd, pieces[start : start + _IOV])
        except BaseException:
            self._cut(self.size)
            raise
        self.size = end
        self._listed += ((cid, len(block)) for cid, block in blocks)
        self._rows += rows
        self.unsynced.update(row.digest for row in rows)
        if self.size - self._started >= STEP:
            self._land()
            self._flight = self._syncer.submit(os.fsync, self._fd), len(self._rows), self.size
            self._started = self.size
        return rows

    def commit(self) -> None:
        """Make all that was appended durable and known.  Raises OSError, Full, Unavailable."""
        self._land()
        if self._rows:
            os.fsync(self._fd)
            self._know(len(self._rows), self.size)
            self._started = self.size

    def _land(self) -> None:
        """Wait for the sync under way, and make known what it covers."""
        if self._flight is not None:
            sync, count, size = self._flight
            sync.result()
            self._flight = None
            self._know(count, size)

    def _know(self, count: int, size: int) -> None:
        self._index.add(CarRow(self.path.name, size, sealed=False, listing=None), self._rows[:count])
        self.unsynced.difference_update(row.digest for row in self._rows[:count])
        del self._rows[:count]
        self._committed = size

    def undo(self) -> None:
        """After a failed commit: cut the car back to what is durable and known.  Raises OSError."""
        if self._flight is not None:
            with suppress(OSError):
                self._flight[0].result()
            self._flight = None
        del self._listed[len(self._listed) - len(self._rows) :]
        self._rows.clear()
        self.unsynced.clear()
        self._cut(self._committed)
        self.size = self._started = self._committed

    def _cut(self, size: int) -> None:
        self.was_cut = True
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)

    def finish(self) -> None:
        """Seal and close the car; an empty one is removed.  Raises OSError, Full, Unavailable."""
        try:
            if self._committed == len(OPENING):
                self.path.unlink(missing_ok=True)
            else:
                seal(self._fd, self.path.name, self._listed, self._index)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the car as it is: recovery will see to it."""
        if self._flight is not None:
            with suppress(OSError):
                self._flight[0].result()
            self._flight = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def seal(fd: int, name: str, blocks: Iterable[tuple[CID, int]], index: Index) -> None:
    """Append the listing of a car that holds `blocks` (CID, length), patch its root, and make both known.

    On failure the car is left as it was, without a listing.  Raises OSError, Full, Unavailable.
    """
    listed = {str(cid).encode("ascii"): (cid, length) for cid, length in blocks}
    end = os.lseek(fd, 0, os.SEEK_END)
    sections: list[bytes] = []
    root, _ = build_folder(
        ((text, cid, size) for text, (cid, size) in listed.items()),
        lambda cid, block: sections.append(car.section(cid, block)),
    )
    listing = b"".join(sections)
    try:
        _write_all(fd, [listing])
        os.fsync(fd)
        os.pwrite(fd, bytes(root), _ROOT_AT)
        os.fsync(fd)
    except BaseException:
        os.pwrite(fd, bytes(EMPTY), _ROOT_AT)
        os.ftruncate(fd, end)
        raise
    index.add(CarRow(name, end + len(listing), sealed=True, listing=end), [])


def _write_all(fd: int, pieces: list[bytes]) -> None:
    left = sum(map(len, pieces)) - os.writev(fd, pieces)
    if left:
        # Rare: a signal, or the last bytes of a disk; the second attempt brings the error.
        rest = memoryview(b"".join(pieces))[-left:]
        while rest:
            rest = rest[os.write(fd, rest) :]
