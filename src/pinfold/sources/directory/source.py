"""A directory as a source: walk, compare with the parent, read what changed, write the index.

The data's way: `scan.Walk` → here, each part beside its parent's → `read` → `pack.Packer` (bundles
and chunks) → `IndexWriter` (pages) → the sink.  Crash rule: none of its own; nothing is written here.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pinfold.clock import SystemClock
from pinfold.errors import Malformed, StoreError
from pinfold.seal import refs
from pinfold.seal.refs import Tree
from pinfold.sources.directory import attributes, index, read
from pinfold.sources.directory.entry import Entry, Part, Slice
from pinfold.sources.directory.pack import Packer, is_small
from pinfold.sources.directory.pages import IndexWriter
from pinfold.sources.directory.parent import Parent, Resumed
from pinfold.sources.directory.scan import Leaves, Seen, Walk, entry_of
from pinfold.sources.seam import Counts, Outcome, Previous

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinfold.clock import Clock
    from pinfold.seal.keys import AgentKey
    from pinfold.sources.seam import Sink


@dataclass(frozen=True, slots=True)
class Settings:
    """How a directory is read.

    `ignore_inode`, `ignore_ctime`: for file systems that make them up; `avoid`: (device, inode) of
    folders that are not saved, because the backup is written there.
    """

    one_file_system: bool = False
    ignore_inode: bool = False
    ignore_ctime: bool = False
    xattrs: bool = True
    described: dict[str, object] = field(default_factory=dict)
    avoid: frozenset[tuple[int, int]] = frozenset()
    clock: Clock = field(default_factory=SystemClock)


class Directory:
    """A directory, or a lone file."""

    kind = "directory"

    def __init__(self, name: str, root: bytes, rules: Leaves, settings: Settings, key: AgentKey) -> None:
        """`name`: the source's; `root`: its path; `described`: settings for the manifest."""
        self.name = name
        self._root = root
        self._rules = rules
        self._settings = settings
        self._key = key

    def options(self) -> dict[str, object]:
        """Settings that shaped the snapshot, for its manifest."""
        return {"path": self._root, "one_file_system": self._settings.one_file_system, **self._settings.described}

    def run(self, sink: Sink, previous: Previous) -> Outcome:
        """Read the tree once; files that have not changed since `previous` are not read."""
        older = Resumed(_parts(previous.begun), _parts(previous.pages))
        return _Run(self._root, self._rules, self._settings, self._key, sink, older, previous.sparse).run()


def _parts(pages: Iterator[bytes]) -> Iterator[Part]:
    # A page that makes no sense ends the parent there: what follows is read again.
    with contextlib.suppress(Malformed):
        for page in pages:
            yield from index.decode(page).parts


class _Run:
    """One run over one tree."""

    def __init__(
        self,
        root: bytes,
        rules: Leaves,
        settings: Settings,
        key: AgentKey,
        sink: Sink,
        older: Resumed,
        sparse: frozenset[bytes],
    ) -> None:
        self._sink = sink
        self._settings = settings
        self._older = older
        self._parent = Parent(older)
        self._sparse = sparse
        self._counts = Counts()
        self._walk = Walk(
            root,
            rules,
            sink,
            one_file_system=settings.one_file_system,
            avoid=settings.avoid,
            parent=self._parent,
            same=self._same,
        )
        self._packer = Packer(sink, key.gear(), key.bundle_cut())
        self._index = IndexWriter(sink, key.page_cut)
        self._names: dict[tuple[int, int], _Name] = {}

    def run(self) -> Outcome:
        for seen in self._walk.parts():
            self._part(seen)
            due = self._older.behind and self._sink.due()
            for part in self._packer.settled(soon=due):
                self._index.add(part)
            if due:
                self._sink.checkpoint(self._outcome())
        for part in self._packer.settled(all_of_them=True):
            self._index.add(part)
        self._counts.files_gone = self._parent.drain()
        return self._outcome()

    def _outcome(self) -> Outcome:
        return Outcome(self._index.finish(), self._counts, self._index.sparse())

    def _part(self, seen: Seen) -> None:
        part = seen.part
        counts = self._counts
        kept: list[Entry] = []
        for entry, old, status in zip(part.entries, seen.olds, seen.stats, strict=True):
            if not stat.S_ISREG(entry.mode):
                if self._other(seen, part, entry, old):
                    kept.append(entry)
                continue
            if entry is old and not self._unchanged(part, entry, status):
                entry = entry_of(entry.name, status)  # noqa: PLW2901  # what was known of it is of no use
            if entry is old or self._file(seen, part, entry, status):
                if entry is not old:
                    self._count(status, old)
                kept.append(entry)
                counts.files += 1
                counts.bytes += entry.size
        part.entries = kept
        self._sink.progress(part.folder or b"", counts)
        if kept:
            self._packer.close_part(part)

    def _unchanged(self, part: Part, entry: Entry, status: os.stat_result) -> bool:
        """Take a file over from the parent as it is; False if its content is not to be had."""
        if not self._still_there(entry):
            return False
        entry.link = None
        if status.st_nlink > 1:
            self._linked(part, entry, status)
        self._counts.files_unchanged += 1
        return True

    def _count(self, status: os.stat_result, old: Entry | None) -> None:
        if old is None:
            self._counts.files_new += 1
        elif self._same(old, status):
            self._counts.files_unchanged += 1  # read all the same, because its bundle was mostly out of date
        else:
            self._counts.files_changed += 1

    def _file(self, seen: Seen, part: Part, entry: Entry, status: os.stat_result) -> bool:
        """Give a regular file its content, or the promise of it; False if it cannot be saved."""
        first = self._linked(part, entry, status) if status.st_nlink > 1 else None
        path = part.path(entry)
        if first is not None:
            # It may have changed since this name was looked at: what was read is what both names tell.
            entry.size, entry.mtime, entry.ctime, entry.mode = first.size, first.mtime, first.ctime, first.mode
            entry.extents, entry.xattrs = first.extents, first.xattrs
            self._packer.same(entry, first)
            return True
        try:
            return self._content(seen, path, entry, status)
        except read.Unreadable as error:
            self._sink.problem(path, str(error))
            self._names.pop((status.st_dev, status.st_ino), None)
            return False

    def _content(self, seen: Seen, path: bytes, entry: Entry, status: os.stat_result) -> bool:
        counts = self._counts
        fd = read.open_file(entry.name, seen.fd)
        try:
            entry.xattrs = self._attributes(path, fd)
            if entry.size == 0 and status.st_size == 0:
                return True
            if is_small(entry.size) and not read.may_have_holes(status):
                data, still = read.whole(fd, entry)
                if data is not None:
                    counts.read_bytes += len(data)
                    if not still:
                        self._sink.problem(path, "changed while it was read; saved as it was read last")
                    if data:
                        self._packer.small(path, entry, data)
                    return True
            self._sink.progress(path, counts)
            entry.extents = read.extents(fd, read.afresh(fd, entry))
            stream = read.Stream(fd, entry.extents, self._tell(path))
            self._packer.large(entry, stream.read)
            if not read.held_still(fd, entry, stream.read_bytes):
                self._sink.problem(path, "changed while it was read; saved as it was read")
        finally:
            os.close(fd)
            if read.is_in_doubt(entry, self._settings.clock.now()):
                entry.ctime = 0  # no file has it, so the next run reads this one again
        return True

    def _tell(self, path: bytes) -> Callable[[int], None]:
        def tell(count: int) -> None:
            self._counts.read_bytes += count
            self._sink.progress(path, self._counts)

        return tell

    def _other(self, seen: Seen, part: Part, entry: Entry, old: Entry | None) -> bool:
        """Folders, links and devices: only what the name itself carries."""
        if entry.is_folder:
            self._counts.folders += 1
        else:
            self._counts.others += 1
        if entry is old:
            return True
        path = part.path(entry)
        if entry.is_symlink:
            try:
                entry.target = os.readlink(entry.name, dir_fd=seen.fd)
            except OSError as error:
                self._sink.problem(path, f"link cannot be read: {error.strerror}")
                return False
        entry.xattrs = self._attributes(path, attributes.beside(seen.fd, entry.name))
        return True

    def _attributes(self, path: bytes, where: int | bytes) -> tuple[tuple[bytes, bytes], ...]:
        if not self._settings.xattrs:
            return ()
        found, problems = attributes.read(where)
        for problem in problems:
            self._sink.problem(path, problem)
        return found

    def _same(self, old: Entry, status: os.stat_result) -> bool:
        settings = self._settings
        return (
            old.mtime == status.st_mtime_ns
            and old.mode == status.st_mode
            and (old.size == status.st_size or not stat.S_ISREG(old.mode))
            and (old.inode == status.st_ino or settings.ignore_inode)
            and (
                old.ctime == status.st_ctime_ns
                or (settings.ignore_ctime and old.uid == status.st_uid and old.gid == status.st_gid)
            )
        )

    def _still_there(self, old: Entry) -> bool:
        """Whether an unchanged file's content can be used again; tells the sink of trees' blocks."""
        content = old.content
        if type(content) is Slice:
            return content.ref.digest not in self._sparse
        if isinstance(content, Tree):
            try:
                for ref in refs.leaves(content, self._sink.node, self._sink.refer):
                    self._sink.refer(ref)
            except (StoreError, Malformed):
                # The list of its chunks is not to be had: reading the file again makes it anew.
                return False
        return True

    def _linked(self, part: Part, entry: Entry, status: os.stat_result) -> Entry | None:
        """The entry of the first name of this file, if it was met before.

        A number alone is no proof: if a file goes and another comes during the run, it may get its
        number.  So it must also be as it was; a link made or removed meanwhile makes it count as new.
        """
        key = (status.st_dev, status.st_ino)
        now = (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        known = self._names.pop(key, None)
        if known is None or known.status != now:
            self._names[key] = _Name(part.path(entry), entry, status.st_nlink - 1, now)
            return None
        entry.link = known.path
        if known.left > 1:
            self._names[key] = known._replace(left=known.left - 1)
        return known.first


class _Name(NamedTuple):
    """The first name of a file with several: how many more there are, and (mtime, ctime, size) then."""

    path: bytes
    first: Entry
    left: int
    status: tuple[int, int, int]
