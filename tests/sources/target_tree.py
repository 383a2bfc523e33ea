"""What the tests of the target share: entries, a target that notes its problems, a life without privileges."""

import os
import pickle
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pinfold.sources.directory.entry import Entry
from pinfold.sources.directory.target import Overwrite, Target

T = TypeVar("T")
OPEN: list["Noted"] = []
MTIME = 1_600_000_000_123_456_789
NOBODY = 65534


def close_all() -> None:
    """Close the targets that a test has made."""
    while OPEN:
        OPEN.pop().close()


def names(folder: Path) -> set[str]:
    """The names in a folder."""
    return {path.name for path in folder.iterdir()}


def entry(mode: int, name: bytes = b"x", **changes: object) -> Entry:
    """An entry owned by whoever runs the tests."""
    made = Entry(name, mode, os.geteuid(), os.getegid(), 0, MTIME, MTIME, 1)
    for key, value in changes.items():
        setattr(made, key, value)
    return made


def file(size: int, mode: int = 0o644, **changes: object) -> Entry:
    """The entry of a regular file."""
    return entry(stat.S_IFREG | mode, size=size, **changes)


def folder(mode: int = 0o755, **changes: object) -> Entry:
    """The entry of a folder."""
    return entry(stat.S_IFDIR | mode, **changes)


def link(target: bytes, **changes: object) -> Entry:
    """The entry of a symlink."""
    return entry(stat.S_IFLNK | 0o777, target=target, **changes)


class Noted(Target):
    """A target that keeps its problems, in `problems`."""

    def __init__(self, root: Path, overwrite: Overwrite = Overwrite.NEVER, *, numeric_owners: bool = True) -> None:
        """As Target."""
        self.problems: list[tuple[bytes, str]] = []
        super().__init__(
            root,
            overwrite=overwrite,
            numeric_owners=numeric_owners,
            problem=lambda path, what: self.problems.append((path, what)),
        )
        OPEN.append(self)

    def put(self, path: bytes, data: bytes, mode: int = 0o644, **changes: object) -> bool:
        """Write a file of one piece."""
        return self.write_file(path, file(len(data), mode, **changes), [data])


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may reach and write, which pytest's own may not be."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o777)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def as_nobody(work: Callable[[], T]) -> T:
    """What `work` gives when done without privileges; done in a child, if the tests have any to give up."""
    if os.geteuid():
        return work()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with os.fdopen(writer, "wb") as pipe:
                try:
                    pipe.write(pickle.dumps((True, work())))
                except BaseException as error:  # noqa: BLE001 -- all of it is told to the parent
                    pipe.write(pickle.dumps((False, repr(error))))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    fine, value = pickle.loads(told)  # noqa: S301 -- our own child wrote it
    assert fine, value
    return value  # type: ignore[no-any-return]
