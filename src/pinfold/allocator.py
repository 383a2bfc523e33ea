"""How glibc keeps chunk-sized buffers: a backup lets none go after each use, a server gives all back.

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
_MAPPED: Final = 256 << 10
_HEAPS: Final = 2


@cache
def keep_buffers() -> None:
    """Tell the C library, once for each process."""
    _tell((_M_MMAP_THRESHOLD, _LARGEST_BUFFER), (_M_TRIM_THRESHOLD, _KEPT_AT_TOP))


@cache
def give_back() -> None:
    """Let a server keep about what it holds, once for each process; to be called before there are threads.

    Doors run on 32 threads, and each gets a heap of its own in which the pieces of others leave holes; blocks of a
    megabyte come from those heaps too once the first was freed.  After 200 slow readers of 1 MiB pieces had left, five
    times over, 271 MB were kept; with two heaps, and large pieces mapped and given back each time, 54 MB.
    """
    _tell((_M_ARENA_MAX, _HEAPS), (_M_MMAP_THRESHOLD, _MAPPED))


@cache
def share_buffers() -> None:
    """Let all threads use the same two heaps, once for each process; before the second thread begins, or in vain.

    A hundred threads that fetch from afar would else spread the same buffers over sixteen: 250 MB were kept
    for 30 MB in use, and 112 MB are this way; what one or two threads do takes as long as before.
    """
    _tell((_M_ARENA_MAX, _HEAPS))


def _tell(*settings: tuple[int, int]) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # musl, macOS: other allocators with other habits
    for what, value in settings:
        mallopt(what, value)
