"""Which names a backup leaves out: patterns as in .gitignore, marked folders, sizes, lists of files.

Patterns are relative to the root of the source and mean what git means by them: the last one that
fits a name decides, `!` takes back, and a folder that is left out is not looked into.
Sources: https://git-scm.com/docs/gitignore; https://bford.info/cachedir/ for CACHEDIR.TAG.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.errors import ConfigError, UsageError
from pinfold.sources.directory.excludes_glob import FOLDER, Glob, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from pathlib import Path

CACHE_TAG: Final = b"CACHEDIR.TAG"
CACHE_SIGNATURE: Final = b"Signature: 8a477f597d28d172789f06886806bc55"
_COMMAND_LINE: Final = "--exclude"


class Chosen:
    """Only these paths, the folders that lead to them, and all that lies below them."""

    __slots__ = ("_all", "_paths")

    def __init__(self, paths: Sequence[bytes]) -> None:
        """`paths`: sorted, relative to the root, as `parse_files_from` gives them; b"" is the root itself."""
        self._paths = paths
        self._all = bool(paths) and not paths[0]

    def holds(self, path: bytes) -> bool:
        """Whether `path` is to be walked."""
        return self._all or not path or self._leads_on(path) or self._lies_below(path)

    def _leads_on(self, path: bytes) -> bool:
        below = path + b"/"
        at = bisect_left(self._paths, below)
        return at < len(self._paths) and self._paths[at].startswith(below)

    def _lies_below(self, path: bytes) -> bool:
        while path:
            at = bisect_left(self._paths, path)
            if at < len(self._paths) and self._paths[at] == path:
                return True
            path = path.rpartition(b"/")[0]
        return False


class _Run(NamedTuple):
    """Patterns of one sign that follow each other: those about a name, and those about a path."""

    excludes: bool
    name_fits: Callable[[str], object] | None
    path_fits: Callable[[str], object] | None


class Rules:
    """Decides what is left out.  `idle`: nothing is, so that nobody need ask."""

    __slots__ = ("_caches", "_chosen", "_largest", "_markers", "_runs", "idle", "marks")

    def __init__(
        self,
        patterns: Sequence[str] = (),
        files: Sequence[Path] = (),
        *,
        caches: bool = False,
        markers: Sequence[str] = (),
        larger_than: int | None = None,
        chosen: Chosen | None = None,
    ) -> None:
        """The rules of one source.

        `patterns`: one each; `files`: one to a line; `caches`: mind CACHEDIR.TAG; `markers`: names of files
        whose presence empties their folder; `larger_than`: bytes a file may have at most.
        Raises ConfigError telling all bad patterns and unreadable files at once.
        """
        mistakes: list[str] = []
        lines = [(_COMMAND_LINE, text) for text in patterns]
        for path in files:
            lines += _lines(path, mistakes)
        parsed = [found for where, text in lines if (found := _parse(where, text, mistakes))]
        if mistakes:
            raise ConfigError(mistakes)
        self._runs = [_run(excludes, list(group)) for excludes, group in groupby(parsed, lambda one: one.excludes)]
        self._runs.reverse()  # the last pattern that fits decides
        self._largest = larger_than
        self._chosen = chosen
        self._caches = caches
        self._markers = tuple(os.fsencode(name) for name in markers)
        self.marks = caches or bool(self._markers)
        self.idle = not self._runs and larger_than is None and chosen is None

    def leaves_out(self, path: bytes, is_folder: bool, size: int = 0) -> bool:
        """Whether the name at `path` (below the root, no leading slash) is left out.

        `size`: of a regular file, 0 for anything else.  To be asked of a folder before what lies in it.
        """
        if self.idle or not path:
            return False
        if self._largest is not None and size > self._largest and not is_folder:
            return True
        if self._chosen is not None and not self._chosen.holds(path):
            return True
        if not self._runs:
            return False
        text = path.decode("utf-8", "surrogateescape")
        name = text[text.rfind("/") + 1 :]
        if is_folder:
            text += FOLDER
            name += FOLDER
        for excludes, name_fits, path_fits in self._runs:
            if (name_fits is not None and name_fits(name)) or (path_fits is not None and path_fits(text)):
                return excludes
        return False

    def marker(self, names: Container[bytes], folder: int | bytes) -> bytes | None:
        """The name that marks a folder as to be left out, itself excepted; None for a folder to be walked.

        `names`: all that the folder holds; `folder`: its descriptor or path.  Worth asking where `marks` is set.
        """
        for name in self._markers:
            if name in names:
                return name
        return CACHE_TAG if self._caches and CACHE_TAG in names and _is_cache(folder) else None


def _is_cache(folder: int | bytes) -> bool:
    path, at = (CACHE_TAG, folder) if isinstance(folder, int) else (folder + b"/" + CACHE_TAG, None)
    try:
        # A pipe of that name must not stop the walk, nor a link lead out of it.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except OSError:
        return False
    try:
        return os.read(fd, len(CACHE_SIGNATURE)) == CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(fd)


def _lines(path: Path, mistakes: list[str]) -> Iterator[tuple[str, str]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        mistakes.append(f"--exclude-file {path}: cannot be read: {error.strerror}")
        return
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        yield f"{path}, line {number}", line.removesuffix("\r")


def _parse(where: str, text: str, mistakes: list[str]) -> Glob | None:
    """What a pattern says; None for an empty line, a comment, or (told) a mistake."""
    try:
        if "\0" in text or "\n" in text:
            raise ValueError("it holds a line's end or a zero byte")  # noqa: TRY301 -- told like the rest
        return translate(text)
    except ValueError as error:
        shown = text.encode("utf-8", "backslashreplace").decode()
        mistakes.append(f"{where}: pattern {shown!r} can fit no name: {error}")
        return None


def _run(excludes: bool, parsed: list[Glob]) -> _Run:
    # One alternation is asked in C; a loop over twenty patterns took ten times as long.
    names = "|".join(one.regex for one in parsed if one.of_name)
    paths = "|".join(one.regex for one in parsed if not one.of_name)
    return _Run(
        excludes,
        re.compile(names, re.DOTALL).match if names else None,
        re.compile(paths, re.DOTALL).match if paths else None,
    )


def parse_files_from(data: bytes, root: Path, name: str = "--files-from") -> list[bytes]:
    """The paths that `data` lists, one to a line (or between zero bytes, if there are any), for `Chosen`.

    Paths are relative to `root`, or absolute and below it; they come back relative, sorted, each once.
    `name`: the list's own name in errors.  Raises UsageError naming the line of a path outside `root`.
    """
    tops = [os.fsencode(top) for top in (os.path.abspath(root), os.path.realpath(root))]  # noqa: PTH100
    separator, unit = (b"\0", "entry") if b"\0" in data else (b"\n", "line")
    found = set()
    for number, line in enumerate(data.split(separator), 1):
        if not line:
            continue
        inside = _below(line, tops) if line.startswith(b"/") else line
        steps = [] if inside is None else [step for step in inside.split(b"/") if step not in {b"", b"."}]
        if inside is None or b".." in steps:
            shown = line.decode("utf-8", "backslashreplace")
            reason = f"lies outside {root}" if inside is None else "has a '..' in it; write it without"
            raise UsageError(f"{name}, {unit} {number}: {shown!r} {reason}")
        found.add(b"/".join(steps))
    return sorted(found)


def _below(path: bytes, tops: Sequence[bytes]) -> bytes | None:
    for top in tops:
        if path == top or path.startswith(top.rstrip(b"/") + b"/"):
            return path[len(top) :].lstrip(b"/")
    return None
