"""A snapshot as several CAR files, none larger than asked for: for services and disks that take no more at once.

    part = header(root: the listing) ‖ some of the snapshot's blocks ‖ README.txt ‖ part.json ‖ the listing

The listing is a UnixFS folder of the part's blocks.  It links each as a raw one, whatever it is, so that a pin of it
holds this part and asks for no other: parts may be imported in any order, or each be kept somewhere else.
Crash rule: all parts are written under passing names, and renamed when the last of them is on disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pinfold.errors import Full, Malformed, PinfoldError, UsageError
from pinfold.ipld import CID, build_folder, car, lookup, walk
from pinfold.ipld.cid import DAG_PB, RAW
from pinfold.seal import canonical
from pinfold.store.ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pinfold.store.seam import Store

# No block of a snapshot is larger than 1 MiB, so even the smallest part holds a few.
SMALLEST: Final = 4 << 20
_FORMAT: Final = "pinfold-part/1"
_DOCUMENT: Final = b"part.json"
_MAX_DOCUMENT: Final = 1024
# Their CIDs are held until the part is done: 20 MB.
_MOST_BLOCKS: Final = 1 << 16
# What the listing takes for a block: 110 bytes for its link, at most as much again where the folder is sharded.
_LISTED: Final = 256
_TAIL: Final = 4096
_BUFFER: Final = 1 << 20
_README: Final = """This CAR file is a part of a pinfold snapshot: an encrypted backup of one source at one moment.
Get all its parts, in any order, and restore it with the key:
  pinfold import PART.car... --repository FOLDER --create
  pinfold restore latest TARGET --repository FOLDER
Any IPFS node takes them, too:
  ipfs dag import PART.car... && ipfs pin add {root}
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One file: where it lies, its own root, how many of the snapshot's blocks it holds, its bytes."""

    path: Path
    root: CID
    blocks: int
    bytes: int


def split(
    store: Store, root: CID, target: Path, size: int, progress: Callable[[int], None] = lambda _: None
) -> list[Part]:
    """Write the graph below `root` as CARv1 files NAME.001.car, NAME.002.car… of at most `size` bytes each.

    Raises UsageError for a size below SMALLEST and if one of the files is there already, Full, Missing, Corrupt.
    """
    if size < SMALLEST:
        raise UsageError(f"parts of {size} bytes are too small to be of use; {SMALLEST} is the least")
    done: list[Part] = []
    with _translated(target):
        try:
            with ahead(store, leaves=True) as get:
                current = _Writer(root, target, 1, size)
                try:
                    for cid in walk(root, get):
                        block = get(cid)
                        if not current.takes(cid, block):
                            done.append(current.seal())
                            current = _Writer(root, target, len(done) + 1, size)
                        current.add(cid, block)
                        progress(len(block))
                    done.append(current.seal())
                finally:
                    current.close()
            for part in done:
                _passing(part.path).rename(part.path)
        finally:
            _sweep(target, len(done) + 1)
    return done


def whole(root: CID, get: Callable[[CID], bytes]) -> CID | None:
    """The snapshot that the part with this root belongs to; None where it is the root of something else.

    Raises what `get` raises.
    """
    if root.codec != DAG_PB:
        return None
    try:
        entry = lookup(root, _DOCUMENT, get)
        if entry is None or len(text := get(entry.cid)) > _MAX_DOCUMENT:
            return None
        document = canonical.decode(text, "part.json")
        return CID.parse(str(document.get("snapshot"))) if document.get("format") == _FORMAT else None
    except Malformed:
        return None


class _Writer:
    """One part being written under its passing name."""

    def __init__(self, root: CID, target: Path, number: int, size: int) -> None:
        self._root = root
        self._number = number
        self._most = size
        self._path = _numbered(target, number)
        if self._path.exists():
            raise UsageError(f"{self._path} is there already; name another file")
        self._out = _passing(self._path).open("wb", buffering=_BUFFER)
        os.fchmod(self._out.fileno(), 0o600)
        self._out.write(car.fixed_header(root))  # patched when the listing is made
        self._bytes = car.HEADER_SIZE
        self._listed: list[tuple[bytes, CID, int]] = []

    def takes(self, cid: CID, block: bytes) -> bool:
        """Whether a block fits.  Raises UsageError for one that fits into no part."""
        needed = len(car.section_prefix(cid, len(block))) + len(block) + _LISTED + _TAIL
        if car.HEADER_SIZE + needed > self._most:
            raise UsageError(f"block {cid} of {len(block)} bytes fits into no part of {self._most}")
        held = len(self._listed)
        return held < _MOST_BLOCKS and self._bytes + held * _LISTED + needed <= self._most

    def add(self, cid: CID, block: bytes) -> None:
        """Append a block."""
        raw = CID.raw(cid.digest)
        self._append(cid, block)
        self._listed.append((str(raw).encode(), raw, len(block)))

    def seal(self) -> Part:
        """Append the listing, make it the root, and all that durable."""
        count = len(self._listed)
        document = {"format": _FORMAT, "part": self._number, "snapshot": str(self._root)}
        for name, text in (
            (b"README.txt", _README.format(root=self._root).encode()),
            (_DOCUMENT, canonical.encode(document)),
        ):
            cid = CID.of(RAW, text)
            self._append(cid, text)
            self._listed.append((name, cid, len(text)))
        listing, _ = build_folder(self._listed, self._append)
        self._out.seek(0)
        self._out.write(car.fixed_header(listing))
        self._out.flush()
        os.fsync(self._out.fileno())
        self.close()
        return Part(self._path, listing, count, self._bytes)

    def close(self) -> None:
        """Let go of the file."""
        self._out.close()

    def _append(self, cid: CID, block: bytes) -> None:
        prefix = car.section_prefix(cid, len(block))
        self._out.write(prefix)
        self._out.write(block)
        self._bytes += len(prefix) + len(block)


def _numbered(target: Path, number: int) -> Path:
    return target.with_name(f"{target.stem}.{number:03}{target.suffix or '.car'}")


def _passing(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _sweep(target: Path, last: int) -> None:
    for number in range(1, last + 1):
        with contextlib.suppress(OSError):
            _passing(_numbered(target, number)).unlink(missing_ok=True)


@contextlib.contextmanager
def _translated(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Full(f"no room left for {target}") from error
        raise PinfoldError(f"cannot write {target}: {error.strerror}") from error
