"""Snapshots as CAR files: out of a store, and into one.

A CAR holds one snapshot whole, its root first, every block once; `ipfs dag import` takes it as it is.
Crash rule: an export is written under a passing name and renamed when it is on disk; an import pins
last, so what was cut short is garbage.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, BinaryIO, Final

from pinfold import catalogue, snapshot
from pinfold.errors import Corrupt, Full, Malformed, PinfoldError, UsageError
from pinfold.ipld import CID, car, walk
from pinfold.store import Heals, power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


def _write(store: Store, root: CID, out: BinaryIO, progress: Callable[[int], None]) -> int:
    out.write(car.header([root]))
    count = 0
    for cid in walk(root, store.get):
        block = store.get(cid)
        out.write(car.section_prefix(cid, len(block)))
        out.write(block)
        count += 1
        progress(len(block))
    return count


def load(
    store: Store, source: BinaryIO, progress: Callable[[int], None] = lambda _: None
) -> tuple[int, list[Snapshot]]:
    """Take a CAR's blocks into a store and pin the snapshots that are its roots.

    Every block is checked against its CID, and takes the place of a damaged one of that name.
    Returns how many bytes were new, and the snapshots.
    Raises Malformed, Corrupt, Incomplete, or UsageError for a CAR whose roots are no snapshots.
    """
    try:
        roots, blocks = car.read_car(source, verify=True)
    except OSError as error:
        raise PinfoldError(f"cannot read the CAR file: {error.strerror}") from error
    if not roots:
        raise UsageError("this CAR file names no root, so there is no snapshot to pin")

    def passed() -> Iterator[Block]:
        try:
            for cid, _, block in blocks:
                progress(len(block))
                if heals is not None and _is_damaged(store, cid):
                    heals.replace((cid, block))  # put would pass over it
                yield cid, block
        except OSError as error:
            raise PinfoldError(f"cannot read the CAR file: {error.strerror}") from error

    heals = power(store, Heals)  # type: ignore[type-abstract]  # a protocol, asked for by isinstance
    with store.session():
        new = store.put(passed())
        found = [_load(store, root) for root in roots]
        for one in found:
            store.pin(one.root, one.header.pin_name)
            _keep_keyring(store, one)
    return new, found


def _load(store: Store, root: CID) -> Snapshot:
    try:
        return snapshot.load(root, store.get)
    except Malformed as error:
        raise UsageError(f"root {root} of this CAR file is no snapshot ({error}); nothing was pinned") from error


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
