"""Looking into snapshots without restoring: list, find, compare, count."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pinfold.sources.directory.entry import Slice, order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinfold.ipld import CID
    from pinfold.reading import Reader
    from pinfold.snapshot import Manifest
    from pinfold.sources.directory.entry import Entry

_END: Final = b"\xff" * 8192


def rows(reader: Reader, manifest: Manifest) -> Iterator[tuple[bytes, Entry]]:
    """Every entry with its path, the root first, folder by folder."""
    for page in reader.pages(manifest.index):
        yield from page.rows()


def below(reader: Reader, manifest: Manifest, path: bytes, *, deep: bool) -> Iterator[tuple[bytes, Entry]]:
    """What lies at `path`: a file itself, or a folder's entries, with `deep` all below them."""
    path = path.strip(b"/")
    path = b"" if path == b"." else path
    inside = path + b"/" if path else b""
    for one, entry in rows(reader, manifest):
        if one == path:
            if not entry.is_folder:
                yield one, entry
        elif one.startswith(inside) and (deep or b"/" not in one[len(inside) :]):
            yield one, entry


class Change(StrEnum):
    """How an entry differs between two snapshots."""

    ADDED = "+"
    REMOVED = "-"
    CHANGED = "M"
    TOUCHED = "U"
    RETYPED = "T"


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that differs; `before` or `after` is None where it is not there."""

    change: Change
    path: bytes
    before: Entry | None
    after: Entry | None


def diff(
    before: Iterator[tuple[bytes, Entry]], after: Iterator[tuple[bytes, Entry]], *, metadata: bool = False
) -> Iterator[Difference]:
    """What changed from one snapshot to another, as two sorted streams; `metadata`: tell touched ones too."""
    left, right = next(before, None), next(after, None)
    while left is not None or right is not None:
        left_key = _key(left[0]) if left else (_END, b"")
        right_key = _key(right[0]) if right else (_END, b"")
        if left is not None and left_key < right_key:
            yield Difference(Change.REMOVED, left[0], left[1], None)
            left = next(before, None)
        elif right is not None and right_key < left_key:
            yield Difference(Change.ADDED, right[0], None, right[1])
            right = next(after, None)
        elif left is not None and right is not None:
            change = _compare(left[1], right[1], metadata=metadata)
            if change is not None:
                yield Difference(change, left[0], left[1], right[1])
            left, right = next(before, None), next(after, None)


def _key(path: bytes) -> tuple[bytes, bytes]:
    # The order of an index: a folder's entries together, before those of its subfolders.
    folder, _, name = path.rpartition(b"/")
    return (b"" if not path else b"\0" + order(folder), name)


def _compare(before: Entry, after: Entry, *, metadata: bool) -> Change | None:
    if (before.mode ^ after.mode) & 0o170000:
        return Change.RETYPED
    same = before.size == after.size and before.target == after.target and before.rdev == after.rdev
    if not same or (before.content != after.content and _touched_content(before, after)):
        return Change.CHANGED
    touched = (before.mode, before.uid, before.gid, before.mtime, before.xattrs) != (
        after.mode,
        after.uid,
        after.gid,
        after.mtime,
        after.xattrs,
    )
    return Change.TOUCHED if metadata and touched else None


def _touched_content(before: Entry, after: Entry) -> bool:
    """Whether other refs mean other bytes: bundles are laid anew, and generations sealed anew, without a change."""
    in_bundles = type(before.content) is Slice or type(after.content) is Slice
    return before.mtime != after.mtime or (before.ctime != after.ctime and not in_bundles)


@dataclass(slots=True)
class Stats:
    """What some snapshots take: `blocks` and `bytes` shared ones counted once; `plain_bytes` of each."""

    snapshots: int = 0
    blocks: int = 0
    bytes: int = 0
    plain_bytes: int = 0
    files: int = 0


def stats(found: Iterator[tuple[Iterator[tuple[CID, int]], Manifest | None]], seen: Callable[[CID], bool]) -> Stats:
    """Add up snapshots: their blocks with sizes, and their manifests where a key is there.

    `seen(cid)` is true when the block comes for the first time.
    """
    total = Stats()
    for blocks, manifest in found:
        total.snapshots += 1
        for cid, size in blocks:
            if seen(cid):
                total.blocks += 1
                total.bytes += size
        if manifest is not None:
            total.plain_bytes += int(manifest.counts.get("bytes", 0))
            total.files += int(manifest.counts.get("files", 0))
    return total
