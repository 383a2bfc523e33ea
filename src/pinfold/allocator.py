"""Keeps glibc from giving chunk-sized buffers back to the kernel after each use.

Every chunk passes through several buffers of a megabyte or so.  By default each may be mapped, faulted
in page by page and unmapped again: of a first backup of 4 GB that was a quarter of the system time and
a tenth of the wall time (18.6 s against 16.8, peak memory the same).  Elsewhere this does nothing.
Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGEST_BUFFER: Final = 32 << 20
_KEPT_AT_TOP: Final = 64 << 20


@cache
def keep_buffers() -> None:
    """Tell the C library, once for each process."""
    _tell((_M_MMAP_THRESHOLD, _LARGEST_BUFFER), (_M_TRIM_THRESHOLD, _KEPT_AT_TOP))


@cache
def share_buffers() -> None:
    """Let all threads use the same two heaps, once for each process; before the second thread begins, or in vain.

    A hundred threads that fetch from afar would else spread the same buffers over sixteen: 250 MB were kept
    for 30 MB in use, and 112 MB are this way; what one or two threads do takes as long as before.
    """
    _tell((_M_ARENA_MAX, 2))


def _tell(*settings: tuple[int, int]) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # musl, macOS: other allocators with other habits
    for what, value in settings:
        mallopt(what, value)
