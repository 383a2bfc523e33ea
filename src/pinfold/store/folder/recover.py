"""Bringing the index level with the cars: at opening, and whenever somebody may have changed them.

Usually this is one stat per car.  A car unknown to the index is scanned (heads only, if it is sealed).
A car whose writer has died is checked block by block from where it is indexed, cut behind its last good
block, and sealed.  Of a living writer's car only whole, good sections are taken.

Crash rule: each car is made known in one transaction, after it was synced; being killed costs the
scan of one car.
"""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, BinaryIO

from pinfold.errors import Full, Malformed
from pinfold.ipld import car
from pinfold.store.folder.cars import OPENING, seal
from pinfold.store.folder.layout import open_regular, translated
from pinfold.store.folder.locks import locked, open_locked
from pinfold.store.folder.rows import CarRow, Row
from pinfold.store.folder.scan import Gap, first_section, is_good, sections

if TYPE_CHECKING:
    from pathlib import Path

    from pinfold.store.folder.index import Index
    from pinfold.store.folder.layout import Layout

_ROWS: int = 1 << 16


def refresh(layout: Layout, index: Index, *, recover: bool) -> None:
    """Compare index and cars; `recover` also cuts and seals what dead writers left.

    Raises Full, Refused, Unavailable.
    """
    # Where nothing may be written there is nothing to lock, and the index is this process's own.
    with locked(layout.locks / "index") if recover else nullcontext():
        index.reopen_if_replaced()
        known = index.cars()
        with translated(layout.cars):
            there = {entry.name: entry.stat().st_size for entry in os.scandir(layout.cars) if entry.name[-4:] == ".car"}
            for name in known.keys() - there.keys():
                index.forget_beyond(name, 0)
            for name, size in sorted(there.items()):
                row = known.get(name) or CarRow(name, 0, sealed=False, listing=None)
                if row.indexed > size:
                    index.forget_beyond(name, size)
                    row = row._replace(indexed=size)
                if not (row.sealed and row.indexed == size):
                    _catch_up(layout.cars / name, row, index, recover=recover)
        index.is_stale = False


def _catch_up(path: Path, row: CarRow, index: Index, *, recover: bool) -> None:
    fd = None
    with suppress(FileNotFoundError):
        fd = _lock_of_dead(path) if recover else None
        if fd is not None:
            try:
                _adopt(fd, path, row, index)
            finally:
                os.close(fd)
            return
        with os.fdopen(open_regular(path), "rb") as file:
            _read_whole(file, row, index, final=not recover)


def _lock_of_dead(path: Path) -> int | None:
    """The car, locked, if nobody writes it."""
    if not path.exists():
        raise FileNotFoundError(path)
    return open_locked(path, wait=False)


def _adopt(fd: int, path: Path, row: CarRow, index: Index) -> None:
    """Take over a car that nobody writes: cut what a crash tore, seal it, know it."""
    with open(fd, "rb", closefd=False) as file:
        try:
            begin, sealed = first_section(file)
        except Malformed:
            if os.fstat(fd).st_size <= len(OPENING):
                path.unlink()
                return
            begin, sealed = len(OPENING), True  # a damaged header: the blocks are still good
        if sealed:
            _know_sealed(file, max(begin, row.indexed), row, index)
            return
        end, gaps = _know_checked(file, _where_to_go_on(file, begin, row.indexed), row, index)
    if end < os.fstat(fd).st_size:
        os.ftruncate(fd, end)
        os.fsync(fd)
    if end == begin:
        path.unlink()
        index.forget_beyond(path.name, 0)
    elif gaps:
        index.add(CarRow(path.name, end, sealed=True, listing=None), [])
    else:
        with suppress(Full):  # the next opening tries again
            _seal(fd, path, index)


def _where_to_go_on(file: BinaryIO, begin: int, indexed: int) -> int:
    """`indexed` if a section ends there, else `begin`: what is cut off must not hang on what a cache says."""
    at = begin
    with suppress(Malformed):
        for place in car.scan(file, begin):
            if at >= indexed:
                break
            at = place.offset + place.length
    return indexed if at == indexed else begin


def _seal(fd: int, path: Path, index: Index) -> None:
    try:
        with translated(path):
            with open(fd, "rb", closefd=False) as file:
                blocks = [(place.cid, place.length) for place in car.scan(file, len(OPENING))]
            seal(fd, path.name, blocks, index)
    except Malformed:
        # Damage before where it was indexed: check() names it, and the car stays as it is.
        index.add(CarRow(path.name, os.fstat(fd).st_size, sealed=True, listing=None), [])


def _know_sealed(file: BinaryIO, start: int, row: CarRow, index: Index) -> None:
    """Index a sealed car by its heads: sealing synced it, and get() checks each block anyway."""
    rows: list[Row] = []
    end = start
    for section in sections(file, start):
        end = section.end
        if not isinstance(section, Gap):
            rows.append(section.row(row.name))
        if len(rows) >= _ROWS:
            index.add(CarRow(row.name, end, sealed=False, listing=None), rows)
            rows = []
    index.add(CarRow(row.name, end, sealed=True, listing=None), rows)


def _know_checked(file: BinaryIO, start: int, row: CarRow, index: Index, *, sync: bool = True) -> tuple[int, bool]:
    """Index the good blocks of a car from `start` on; return the end of the last, and whether gaps lie before it."""
    rows: list[Row] = []
    end, gap, gaps = start, False, False
    for section in sections(file, start):
        if isinstance(section, Gap):
            gap = True
        elif is_good(file, section):
            rows.append(section.row(row.name))
            end, gaps = section.end, gap
    if sync:
        os.fsync(file.fileno())
    index.add(CarRow(row.name, end, sealed=False, listing=None), rows)
    return end, gaps


def _read_whole(file: BinaryIO, row: CarRow, index: Index, *, final: bool) -> None:
    """Index the whole and good sections of a car that somebody else writes, or that may not be changed (`final`)."""
    try:
        begin, sealed = first_section(file)
    except Malformed:
        if not final:
            return
        begin, sealed = len(OPENING), True  # a damaged header: the blocks are still good
    if final and sealed:
        _know_sealed(file, max(begin, row.indexed), row, index)
    else:
        _know_checked(file, max(begin, row.indexed), row, index, sync=not final)
