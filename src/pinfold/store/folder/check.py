"""Looking at every byte at rest: each block re-hashed, each head compared, each pin proved.

What the index says lies in a car must lie there; what else lies in it must be sections too, or an
import of the car elsewhere would fail.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, BinaryIO, Final

from pinfold.errors import Corrupt, Incomplete, Malformed, Missing, Refused
from pinfold.ipld import car
from pinfold.ipld.cid import CID, DAG_PB, RAW, SHA2_256
from pinfold.store.folder.cars import EMPTY
from pinfold.store.folder.layout import open_regular, translated
from pinfold.store.folder.rows import BAD
from pinfold.store.folder.scan import Gap, Section, first_section, is_good, sections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pinfold.store.folder.index import Index
    from pinfold.store.folder.layout import Layout
    from pinfold.store.folder.pins import Pins
    from pinfold.store.folder.reading import Blocks
    from pinfold.store.folder.rows import Row

    Finding = tuple[str, str]
    Progress = Callable[[int, int], None]

_CODECS: Final = {RAW, DAG_PB}
_EVERY: Final = 64
_CARS_AT_ONCE: Final = 8


def check(layout: Layout, index: Index, pins: Pins, blocks: Blocks, progress: Progress | None) -> Iterator[Finding]:
    """Yield what is damaged or lost.  What `blocks` has no good copy of, the index knows as bad from then on."""
    total, done = index.count(), 0
    names = sorted(index.cars())
    for start in range(0, len(names), _CARS_AT_ONCE):
        for name, rows in index.rows_of(names[start : start + _CARS_AT_ONCE]).items():
            for finding in _check_file(layout.cars / name, rows, blocks):
                if finding is not None:
                    yield finding
                done += 1
                if progress is not None and done % _EVERY == 0:
                    progress(min(done, total), total)
    yield from _check_pins(pins, lambda root: blocks.prove(root, bad=True))
    if progress is not None:
        progress(total, total)


def _check_file(path: Path, rows: list[Row], blocks: Blocks) -> Iterator[Finding | None]:
    try:
        with translated(path), os.fdopen(open_regular(path), "rb") as file:
            yield from _check_car(file, path.name, rows, blocks)
    except FileNotFoundError:
        return  # collected meanwhile


def _check_car(file: BinaryIO, name: str, rows: list[Row], blocks: Blocks) -> Iterator[Finding | None]:
    """Findings, and None for each block that is fine."""
    known = {row.offset: row for row in rows}
    for row in rows:
        yield _check_row(file, row, blocks)
    try:
        begin, _ = first_section(file)
    except Malformed as error:
        yield name, f"its header is damaged ({error}); its blocks can still be read"
        return
    roots = _roots(file)
    for part in sections(file, begin):
        if isinstance(part, Section):
            roots.discard(part.cid)
            if (
                part.start not in known
                and not (part.cid.codec in _CODECS and is_good(file, part))
                and not blocks.holds_good(part.cid)
            ):
                yield str(part.cid), f"damaged in {name} at byte {part.start}; the index holds no such block there"
        elif not _covers(part, known):
            yield name, f"bytes {part.start} to {part.end} are no blocks: {part.reason}"
    for root in roots - {EMPTY}:
        yield name, f"its header names the root {root}, which is not in it"


def _check_row(file: BinaryIO, row: Row, blocks: Blocks) -> Finding | None:
    cid = CID(1, row.codec, SHA2_256, row.digest)
    where = f"{row.car} at byte {row.offset}"
    try:
        data = _read_at(file, row.offset, row.head + row.length)
        cid.verify(memoryview(data)[row.head :])
    except Corrupt:
        return str(cid), f"damaged in {where}{blocks.other_copy(cid, row)}"
    if row.condemned == BAD:
        blocks.other_copy(cid, row)
    prefix = data[: row.head]
    old = CID(0, row.codec, SHA2_256, row.digest) if bytes(cid)[1] == EMPTY.codec else cid
    if prefix not in {car.section_prefix(cid, row.length), car.section_prefix(old, row.length)}:
        return str(cid), f"the head of its section is damaged in {where}; the block can still be read here"
    return None


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Bytes of a car; a place that the disk cannot read counts as empty, and so as damaged."""
    try:
        file.seek(offset)
        return file.read(size)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def _roots(file: BinaryIO) -> set[CID]:
    file.seek(0)
    return set(car.read_header(file)[0])


def _covers(gap: Gap, known: dict[int, Row]) -> bool:
    """Whether a block the index knows of starts in the gap: then it was told of already."""
    return any(gap.start <= offset < gap.end for offset in known)


def _check_pins(pins: Pins, proof: Callable[[CID], None]) -> Iterator[Finding]:
    try:
        held, broken = pins.read()
    except Refused as error:
        yield "pins", str(error)
        return
    for why in broken:
        yield "pins", why
    for pin in held:
        try:
            proof(pin.root)
        except Incomplete as error:
            for cid in error.missing:
                yield str(cid), f"missing; pin {pin.name!r} needs it"
        except (Corrupt, Missing, Refused) as error:
            yield f"pin {pin.name}", f"cannot be proved: {error}"
