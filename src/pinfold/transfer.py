"""Snapshots as CAR files: out of a store, and into one.

A CAR holds one snapshot whole, its root first, every block once; `ipfs dag import` takes it as it is.
One that is to be cut into several files is written by `parts`; read, both are the same.
Crash rule: an export is written under a passing name and renamed when it is on disk; an import pins
last, so what was cut short is garbage.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from pinfold import catalogue, parts, snapshot
from pinfold.errors import Corrupt, Full, Incomplete, Malformed, Missing, PinfoldError, UsageError
from pinfold.ipld import CID, car, walk
from pinfold.store import Heals, power
from pinfold.store.ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from pinfold.snapshot import Snapshot
    from pinfold.store.seam import Block, Store

_BUFFER: Final = 1 << 20


def export(store: Store, root: CID, target: Path, progress: Callable[[int], None] = lambda _: None) -> tuple[int, int]:
    """Write the graph below `root` as CARv1; returns how many blocks and bytes.

    Raises UsageError if `target` is there already, Full, Missing, Corrupt.
    """
    if target.exists():
        raise UsageError(f"{target} is there already; name another file")
    passing = target.with_name(f".{target.name}.part")
    try:
        with passing.open("wb", buffering=_BUFFER) as out:
            os.fchmod(out.fileno(), 0o600)
            count = _write(store, root, out, progress)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
        passing.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise Full(f"no room left for {target}") from error
        raise PinfoldError(f"cannot write {target}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            passing.unlink(missing_ok=True)
    return count, size


def pour(store: Store, root: CID, out: BinaryIO, progress: Callable[[int], None] = lambda _: None) -> tuple[int, int]:
    """Write the graph below `root` as CARv1 into an open stream; returns how many blocks and bytes.

    Raises Missing, Corrupt, and BrokenPipeError when nobody reads any more.
    """
    counting = _Counting(out)
    count = _write(store, root, counting, progress)
    out.flush()
    return count, counting.bytes


class _Counting:
    """A stream that cannot tell how far it is."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.bytes = 0

    def write(self, data: bytes, /) -> int:
        self.bytes += len(data)
        return self._out.write(data)


class _Writes(Protocol):
    def write(self, data: bytes, /) -> int: ...


def _write(store: Store, root: CID, out: _Writes, progress: Callable[[int], None]) -> int:
    out.write(car.header([root]))
    count = 0
    with ahead(store, leaves=True) as get:
        for cid in walk(root, get):
            block = get(cid)
            out.write(car.section_prefix(cid, len(block)))
            out.write(block)
            count += 1
            progress(len(block))
    return count


def load(
    store: Store,
    source: BinaryIO,
    progress: Callable[[int], None] = lambda _: None,
    *,
    admits: Callable[[str], bool] | None = None,
) -> tuple[int, list[Snapshot]]:
    """Take a CAR's blocks in and pin the snapshots that are its roots; returns new bytes and the snapshots.

    `admits`: whether snapshots of the repository with this id may be pinned; without it, those of the
    repositories that are here, and of any where none is.
    Raises Malformed, Corrupt for a bad file, Incomplete if blocks are missing, UsageError for roots that
    are no snapshots or not admitted.
    """
    return load_all(store, [source], progress, admits=admits)


def load_all(
    store: Store,
    sources: Iterable[BinaryIO],
    progress: Callable[[int], None] = lambda _: None,
    *,
    admits: Callable[[str], bool] | None = None,
) -> tuple[int, list[Snapshot]]:
    """Take several CARs in, as `load` does one; parts of an export pin the snapshot that they make up together."""
    if admits is None:
        here = catalogue.repositories(store)
        admits = here.__contains__ if here else lambda _: True
    with store.session():
        new = 0
        roots: list[CID] = []
        for source in sources:
            named, blocks = _read(source)
            if not named:
                raise UsageError(
                    f"{_name(source)} names no root, so there is no snapshot to pin; --blocks-only takes its blocks"
                )
            new += store.put(_passed(store, source, blocks, progress))
            roots += named
        found = _named(store, roots)
        for one in found:
            if not admits(one.header.repository):
                raise UsageError(
                    f"this CAR file is of repository {one.header.repository}, which {store.name} does not hold; nothing"
                    f" was pinned. To keep it there, too: --foreign, or --repository-id {one.header.repository}"
                )
        for one in found:
            with _told_of_parts(one.root, roots):
                store.pin(one.root, one.header.pin_name)
            _keep_keyring(store, one)
    return new, found


def _named(store: Store, roots: Sequence[CID]) -> list[Snapshot]:
    """The snapshots that roots are, or that they are parts of, each once."""
    found: dict[CID, Snapshot] = {}
    for root in roots:
        meant = parts.whole(root, store.get) or root
        if meant not in found:
            with _told_of_parts(meant, roots):
                found[meant] = _load(store, meant)
    return list(found.values())


@contextlib.contextmanager
def _told_of_parts(root: CID, roots: Sequence[CID]) -> Iterator[None]:
    """Say what to do if blocks are missing of a snapshot that came in parts: as none of the roots."""
    try:
        yield
    except (Missing, Incomplete) as error:
        if root in roots:
            raise
        raise UsageError(
            f"this is a part of snapshot {root}, and other parts are missing; nothing was pinned. pinfold import takes"
            " all parts in one command, or one after the other, all but the last with --blocks-only"
        ) from error


def load_blocks(store: Store, source: BinaryIO, progress: Callable[[int], None] = lambda _: None) -> int:
    """Take a CAR's blocks in and pin nothing; returns new bytes.  Raises Malformed, Corrupt for a bad file."""
    _, blocks = _read(source)
    with store.session():
        return store.put(_passed(store, source, blocks, progress))


def _read(source: BinaryIO) -> tuple[list[CID], Iterator[car.Block]]:
    with _told_of(source):
        return car.read_car(source, verify=True)


def _name(source: BinaryIO) -> str:
    name = getattr(source, "name", None)  # a stream in memory has none
    return f"CAR file {name}" if isinstance(name, str) else "the CAR file"


@contextlib.contextmanager
def _told_of(source: BinaryIO) -> Iterator[None]:
    """Say which file an error is of: there may be many."""
    name = _name(source)
    try:
        yield
    except OSError as error:
        raise PinfoldError(f"cannot read {name}: {error.strerror}") from error
    except Malformed as error:
        raise Malformed(f"{error.field} of {name}", error.reason, error.offset) from error
    except Corrupt as error:
        raise Corrupt(error.name, name) from error


def _passed(
    store: Store, source: BinaryIO, blocks: Iterator[car.Block], progress: Callable[[int], None]
) -> Iterator[Block]:
    heals = power(store, Heals)  # type: ignore[type-abstract]  # a protocol, asked for by isinstance
    with _told_of(source):
        for cid, _, block in blocks:
            progress(len(block))
            if heals is not None and _is_damaged(store, cid):
                heals.replace((cid, block))  # put would pass over it
            yield cid, block


def _load(store: Store, root: CID) -> Snapshot:
    try:
        return snapshot.load(root, store.get)
    except Malformed as error:
        raise UsageError(
            f"root {root} of this CAR file is no snapshot ({error}); nothing was pinned."
            " To take its blocks without pinning them: --blocks-only"
        ) from error


def _is_damaged(store: Store, cid: CID) -> bool:
    """Whether a store holds a block that does not hash to its name."""
    if not store.has([cid]):
        return False
    try:
        store.get(cid)
    except Corrupt:
        return True
    return False


def _keep_keyring(store: Store, found: Snapshot) -> None:
    """A repository must have a keyring that stands alone, also when it came here by import.

    An older one than there is stays away: it may open with what was taken away since.
    """
    name = catalogue.keyring_pin(found.keyring)
    prefix = f"{catalogue.PREFIX}{found.keyring.repository.id}/keyring/"
    if any(catalogue.keyring_sequence(pin) > found.keyring.sequence for pin in store.pins(prefix)):
        return
    blocks: list[Block] = []
    root = snapshot.write_keyring(found.keyring, lambda cid, data: blocks.append((cid, data)))
    store.put(blocks)
    store.pin(root, name)
