"""Locks that die with their process, and leases: how a collection knows who is at work.

All are flock(2) locks on small files, so kill -9 and power cuts free them; nothing is ever stale.
A session's lease is a locked file `writers/TOKEN-CAR-NUMBER`: TOKEN names the opened store, CAR
counts the cars it had begun when the session was entered, so cars from that number on hold what
the session itself has put.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from pinfold.errors import Refused
from pinfold.store.folder.layout import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def open_locked(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """A descriptor of `path`, created if need be, that holds its lock; None if held and not `wait`.

    Whoever removes a lock file does so while holding its lock, so a lock got on a file that has
    lost its name is worth nothing and is asked for anew.
    """
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind)
            if os.fstat(fd).st_nlink:
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of `path`, waiting for it."""
    with translated(path):
        fd = open_locked(path, shared=shared)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


@contextmanager
def locked_alone(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock of `path`, or raise Refused with `refusal` if somebody else does."""
    with translated(path):
        fd = open_locked(path, wait=False)
    if fd is None:
        raise Refused(refusal)
    try:
        yield
    finally:
        os.close(fd)


class Lease(NamedTuple):
    """A session at work somewhere."""

    token: str
    first_car: int
    file: str


@contextmanager
def lease(writers: Path, token: str, first_car: int, number: int) -> Iterator[None]:
    """Show the world a session until left, or until the process dies."""
    path = writers / f"{token}-{first_car:06}-{number}"
    with translated(path):
        fd = open_locked(path)
    try:
        yield
    finally:
        with suppress(FileNotFoundError), translated(path):
            path.unlink(missing_ok=True)
        if fd is not None:
            os.close(fd)


def leases(writers: Path) -> list[Lease]:
    """Every living session.  Files of dead ones are cleared away."""
    alive = []
    with translated(writers):
        for path in sorted(writers.iterdir()):
            parts = path.name.split("-")
            if len(parts) != 3 or not parts[1].isdecimal():
                continue
            if _is_held(path):
                alive.append(Lease(parts[0], int(parts[1]), path.name))
    return alive


def _is_held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
