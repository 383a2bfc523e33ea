"""Writing the index: parts gather into pages, pages are sealed, their refs planted into one tree.

Where a page ends is decided by a keyed hash of the folder's path, with odds in proportion to its
rows, so that a change in one folder changes one page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pinfold.seal import refs
from pinfold.sources.directory import index, owners
from pinfold.sources.directory.entry import Chunks, Page, Part, Slice

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from pinfold.seal.refs import Ref, Tree
    from pinfold.sources.seam import Segments, Sink

TARGET_ROWS: Final = 2048
_MOST_ROWS: Final = 8192
# A page must fit a block even if nothing in it compresses.
_MOST_BYTES: Final = 600 << 10
_ROW_BYTES: Final = 64
_OWNER_BYTES: Final = 80  # two names of up to 32 letters, and their numbers
_SCALE: Final = 1 << 32


class IndexWriter:
    """Takes complete parts in walk order."""

    def __init__(self, sink: Sink, draw: Callable[[bytes], int]) -> None:
        """`draw`: 32 keyed bits of a folder's path."""
        self._sink = sink
        self._draw = draw
        self._parts: list[Part] = []
        self._rows = 0
        self._bytes = 0
        self._pages: list[Future[Segments]] = []
        self._used: dict[bytes, list[int]] = {}

    def add(self, part: Part) -> None:
        """Take a part; may seal a page.  A part too large for a page is taken in pieces."""
        for piece, size in _pieces(part):
            if self._bytes + size > _MOST_BYTES:
                self._flush()
            self._note_refs(piece)
            self._parts.append(piece)
            self._rows += len(piece.entries)
            self._bytes += size
            draw = self._draw(piece.folder or b"")
            if self._rows >= _MOST_ROWS or draw * TARGET_ROWS < len(piece.entries) * _SCALE:
                self._flush()

    def finish(self) -> Tree | None:
        """Seal what is left and plant the tree.  May be called again after more parts."""
        self._flush()
        return refs.plant((self._referred(future) for future in self._pages), self._node)

    def sparse(self) -> list[bytes]:
        """Digests of the bundles of which less than half is still used."""
        return sorted(digest for digest, (used, length) in self._used.items() if used * 2 < length)

    def _flush(self) -> None:
        if not self._parts:
            return
        uids = {entry.uid for part in self._parts for entry in part.entries}
        gids = {entry.gid for part in self._parts for entry in part.entries}
        page = Page(
            self._parts,
            {uid: name for uid in uids if (name := owners.user_name(uid))},
            {gid: name for gid in gids if (name := owners.group_name(gid))},
        )
        data = index.encode(page)
        self._sink.keep_page(data)
        self._pages.append(self._sink.chunk(data, check=True))
        self._parts = []
        self._rows = self._bytes = 0

    def _note_refs(self, part: Part) -> None:
        used = self._used
        last: Ref | None = None
        for entry in part.entries:
            content = entry.content
            if type(content) is Slice:
                ref = content.ref
                if ref is not last:
                    last = ref
                    self._sink.refer(ref)
                    tally = used.setdefault(ref.digest, [0, ref.length])
                if entry.link is None:
                    tally[0] += entry.size
            elif isinstance(content, Chunks):
                for ref in content.refs:
                    self._sink.refer(ref)

    def _referred(self, future: Future[Segments]) -> Ref:
        ref = future.result()[0][1]
        self._sink.refer(ref)
        return ref

    def _node(self, plain: bytes) -> Ref:
        return self._referred(self._sink.chunk(plain, check=True))


def _weight(part: Part) -> int:
    """About how many bytes a part takes in its page."""
    entries = part.entries
    total = len(part.folder or b"") + len(entries) * _ROW_BYTES
    for entry in entries:
        total += len(entry.name)
        content = entry.content
        if isinstance(content, Chunks):
            total += len(content.refs) * refs.REF_BYTES
        if entry.xattrs or entry.target is not None or entry.link is not None or entry.extents is not None:
            total += len(entry.target or b"") + len(entry.link or b"") + 24 * len(entry.extents or ())
            total += sum(len(name) + len(value) for name, value in entry.xattrs)
    return total


def _pieces(part: Part) -> list[tuple[Part, int]]:
    size = _weight(part)
    if size <= _MOST_BYTES // 2 or len(part.entries) == 1:
        return [(part, size)]
    middle = len(part.entries) // 2
    return _pieces(Part(part.folder, part.entries[:middle])) + _pieces(Part(part.folder, part.entries[middle:]))
