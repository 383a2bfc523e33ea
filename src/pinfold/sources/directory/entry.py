"""What the index says of one name in one folder, and where that file's bytes lie."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pinfold.seal.refs import Ref, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = b"."


class Slice(NamedTuple):
    """A small file: the bytes from `offset` on in the bundle behind `ref`."""

    ref: Ref
    offset: int


class Chunks(NamedTuple):
    """A larger file: its chunks in order, at most 64."""

    refs: tuple[Ref, ...]


# A regular file without content is empty, or all hole.
Content = Slice | Chunks | Tree


@dataclass(slots=True)
class Entry:
    """One name.  Times in nanoseconds since 1970; `size` in bytes (0 unless regular).

    `link`: the path of an earlier name of the same file (a hard link); the rest is told all the same.
    `extents`: for sparse files, (offset, length) of each run of data; the content is these runs.
    """

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    ctime: int
    inode: int
    content: Content | None = None
    target: bytes | None = None
    rdev: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    link: bytes | None = None
    extents: tuple[tuple[int, int], ...] | None = None

    @property
    def is_file(self) -> bool:
        """A regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """A folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        """A symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def stored(self) -> int:
        """Bytes of content: the size, less the holes of a sparse file."""
        return self.size if self.extents is None else sum(length for _, length in self.extents)


@dataclass(slots=True)
class Part:
    """Up to some thousand entries of one folder, ordered by name; a large folder has several parts.

    `folder`: the path below the root, b"" for the root itself, None for the first part of an index,
    whose only entry is the root: b"." for a folder, its name for a lone file.
    """

    folder: bytes | None
    entries: list[Entry]

    def path(self, entry: Entry) -> bytes:
        """The entry's path below the root, without a leading slash; b"" for the root folder."""
        if self.folder is None:
            return b"" if entry.name == ROOT else entry.name
        return self.folder + b"/" + entry.name if self.folder else entry.name


@dataclass(slots=True)
class Page:
    """A run of parts that is sealed as one chunk, with the names of the owners that appear in it."""

    parts: list[Part]
    users: dict[int, str] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[bytes, Entry]]:
        """Every entry with its path."""
        for part in self.parts:
            for entry in part.entries:
                yield part.path(entry), entry


def order(path: bytes) -> bytes:
    """The key by which folders follow each other: depth first, names as bytes."""
    return path.replace(b"/", b"\0")
