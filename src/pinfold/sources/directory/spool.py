"""Records put down on disk in one order and taken up in the other, so that a million cost no memory.

The file has no name and dies with its process: nothing is left behind and nothing is to be recovered.
A record is its length (u32le), its bytes, its length again: the second is read when going backwards.
"""

from __future__ import annotations

import struct
import tempfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LENGTH: Final = struct.Struct("<I")
_STEP: Final = 1 << 20


class Spool:
    """Records in an unnamed file in `folder`.  Not for several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError if no file can be made in `folder`."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 -- lives as long as the spool

    def append(self, record: bytes) -> None:
        """Put down one record.  Raises OSError, as when the disk is full."""
        length = _LENGTH.pack(len(record))
        self._file.write(length + record + length)

    def backwards(self) -> Iterator[bytes]:
        """Every record, the last one first.  Raises OSError."""
        self._file.flush()
        begin = end = self._file.seek(0, 2)
        held = b""
        while end:
            begin, held = self._reach(begin, held, end, end - _LENGTH.size)
            (length,) = _LENGTH.unpack_from(held, end - begin - _LENGTH.size)
            start = end - length - 2 * _LENGTH.size
            begin, held = self._reach(begin, held, end, start)
            yield held[start - begin + _LENGTH.size : end - begin - _LENGTH.size]
            end = start

    def _reach(self, begin: int, held: bytes, end: int, wanted: int) -> tuple[int, bytes]:
        """Where the held bytes begin, at or before `wanted`, and they themselves; what lies behind `end` is let go."""
        if wanted >= begin:
            return begin, held
        start = max(0, min(wanted, begin - _STEP))
        self._file.seek(start)
        return start, self._file.read(begin - start) + held[: end - begin]

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
