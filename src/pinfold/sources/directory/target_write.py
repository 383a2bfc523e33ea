"""A file's bytes put into a descriptor, holes left as holes.  Crash rule: whoever opened it marks it as partial."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pinfold.errors import PinfoldError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinfold.sources.directory.entry import Entry


class WrongLength(PinfoldError):
    """The data given for a file is not as long as the index says."""


def pour(fd: int, entry: Entry, data: Iterable[bytes | memoryview]) -> None:
    """Write all of `data`, the entry's runs of bytes laid end to end.

    Raises OSError, WrongLength if there is more or less data than the entry tells (never writing more), and
    whatever `data` raises.
    """
    if entry.extents is not None:
        _pour_runs(fd, entry, data)
        return
    left = entry.size
    for piece in data:
        left -= len(piece)
        if left < 0:
            break
        if not piece:
            continue
        _write(fd, piece)
    if left:
        raise _wrong(entry, entry.size - left)


def _pour_runs(fd: int, entry: Entry, data: Iterable[bytes | memoryview]) -> None:
    runs = iter(entry.extents or ())
    offset = room = done = 0
    for piece in data:
        rest = memoryview(piece)
        while rest:
            if not room:
                offset, room = next(runs, (0, 0))
                if not room or offset < 0 or offset + room > entry.size:
                    raise _wrong(entry, done + len(rest))
                os.lseek(fd, offset, os.SEEK_SET)
            part = rest[:room]
            _write(fd, part)
            rest = rest[room:]
            room -= len(part)
            done += len(part)
    if done != entry.stored:
        raise _wrong(entry, done)
    os.ftruncate(fd, entry.size)


def _write(fd: int, data: bytes | memoryview) -> None:
    done = os.write(fd, data)
    while done < len(data):  # a full disk or a limit gives a short write first, the error next
        done += os.write(fd, memoryview(data)[done:])


def _wrong(entry: Entry, got: int) -> WrongLength:
    return WrongLength(f"not restored: the snapshot tells of {entry.stored} bytes, but {got} or more came")
