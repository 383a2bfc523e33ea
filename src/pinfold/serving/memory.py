"""Keeps a server's memory near what it holds: glibc would keep what slow readers held long after they are gone.

Doors run on 32 threads, and each gets a heap of its own in which the pieces of others leave holes; blocks of a megabyte
come from those heaps too once the first was freed.  After 200 slow readers of 1 MiB pieces had left, five times over,
271 MB were kept; with two heaps, and large pieces mapped and given back each time, 54 MB.  Elsewhere this does nothing.
Source: mallopt(3).
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MAPPED: Final = 256 << 10
_HEAPS: Final = 2


def give_back() -> None:
    """Tell the C library; to be called before there are threads."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # musl, macOS: other allocators with other habits
    mallopt(_M_ARENA_MAX, _HEAPS)
    mallopt(_M_MMAP_THRESHOLD, _MAPPED)
