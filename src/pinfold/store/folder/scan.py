"""Reading cars without the index: section after section, and on behind damage.

Where a section's head is damaged the next one is searched for: its CID's first bytes, a length before
them that fits, and a block that hashes to it.  Nothing that fails its hash is ever taken for a block.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from pinfold.errors import Corrupt, Malformed
from pinfold.ipld import car, varint
from pinfold.store.folder.cars import OPENING
from pinfold.store.folder.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.ipld.cid import CID

_CID_STARTS: Final = re.compile(rb"\x01[\x55\x70\x71]\x12\x20|\x12\x20")
_WINDOW: Final = 4 << 20
_OVERLAP: Final = 64
_LONGEST_PREFIX: Final = 4  # a varint of at most MAX_SECTION


class Gap(NamedTuple):
    """Bytes of a car that are no sections."""

    start: int
    end: int
    reason: str


class Section(NamedTuple):
    """One section: where it starts, its block's CID, where the block's bytes start and how many they are."""

    start: int
    cid: CID
    data: int
    length: int

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.data + self.length

    def row(self, name: str) -> Row:
        """This section of car `name` as the index keeps it."""
        return Row(self.cid.digest, self.cid.codec, name, self.start, self.data - self.start, self.length)


def first_section(file: BinaryIO) -> tuple[int, bool]:
    """Where the blocks of a car begin, and whether its root says that it is sealed.  Raises Malformed."""
    file.seek(0)
    opening = file.read(len(OPENING))
    if opening == OPENING:
        return len(OPENING), False
    file.seek(0)
    _, at = car.read_header(file)
    # Our own cars go on with the empty folder's block: it belongs to the opening, not to the blocks.
    ours = at == car.HEADER_SIZE and opening[at:] == OPENING[at:]
    return (len(OPENING) if ours else at), True


def sections(file: BinaryIO, start: int) -> Iterator[Section | Gap]:
    """Everything in a car from byte `start` on, in order, without a hole: sections and gaps.

    Blocks are not checked, save for the last one before a break: where its length was damaged, what
    seems to be it has swallowed or cut what follows.
    """
    at: int | None = start
    while at is not None:
        held: Section | None = None
        here = at
        try:
            for place in car.scan(file, here):
                if held is not None:
                    yield held
                held = Section(here, place.cid, place.offset, place.length)
                here = held.end
        except Malformed as error:
            if held is not None and is_good(file, held):
                yield held
            elif held is not None:
                here = held.start
            at = resync(file, here + 1)
            yield Gap(here, file.seek(0, 2) if at is None else at, error.reason)
        else:
            if held is not None:
                yield held
            return


def is_good(file: BinaryIO, section: Section) -> bool:
    """Whether the block of `section` hashes to its CID; False for hash functions that cannot be checked."""
    file.seek(section.data)
    try:
        section.cid.verify(file.read(section.length))
    except (Corrupt, Malformed):
        return False
    return True


def resync(file: BinaryIO, start: int) -> int | None:
    """The start of the first section at or behind byte `start` whose block is good, or None."""
    end = file.seek(0, 2)
    at = start
    while at < end:
        file.seek(at)
        window = file.read(_WINDOW)
        for match in _CID_STARTS.finditer(window):
            for width in range(1, _LONGEST_PREFIX + 1):
                begin = match.start() - width
                if begin >= 0 and _is_section(file, window[begin : match.start()], at + begin, end):
                    return at + begin
        at += max(len(window) - _OVERLAP, 1) if len(window) == _WINDOW else len(window)
    return None


def _is_section(file: BinaryIO, prefix: bytes, start: int, end: int) -> bool:
    with suppress(Malformed):
        size, behind = varint.decode(prefix)
        if behind == len(prefix) and size <= car.MAX_SECTION and start + behind + size <= end:
            place = next(car.scan(file, start))
            return is_good(file, Section(start, place.cid, place.offset, place.length))
    return False
