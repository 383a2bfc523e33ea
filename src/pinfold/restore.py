"""A restore: the page of `backup` read backwards.

index pages → folders, links and devices at once → files, grouped by bundle, by worker threads →
hard links when their first names are there → at the end, folder metadata, children before parents.
Crash rule: nothing outside TARGET is touched; a file half written carries a mark by which the next
run tells it from the user's own, and files that are there and equal are not written again.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.errors import PinfoldError, UsageError
from pinfold.reading import DAMAGE
from pinfold.seal.refs import Tree
from pinfold.sources.directory.cleaning import Cleaning
from pinfold.sources.directory.entry import Chunks, Slice
from pinfold.sources.directory.target import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pinfold.reading import Reader
    from pinfold.seal.refs import Ref
    from pinfold.snapshot import Manifest
    from pinfold.sources.directory.entry import Entry, Page, Part
    from pinfold.sources.directory.target import Target
    from pinfold.sources.directory.target_rehearse import Lookup

_WRITERS: Final = 2
# Pages whose files may be under way at once: enough that no worker waits at a page's end.
_PAGES_AHEAD: Final = 2
# From afar: until there is work enough to keep the network busy, in at most so many entries (600 bytes each).
_ROWS_AHEAD_FAR: Final = 32768
# Files that share a bundle are written by one task; a task of this many keeps both writers busy.
_GROUP: Final = 64
_GROUP_FAR: Final = 1 << 20
MOST_TOLD: Final = 1000


@dataclass(slots=True)
class Restored:
    """What a restore did.  `damaged` and `problems`: (path, why); the counts go on behind 1000."""

    files: int = 0
    folders: int = 0
    others: int = 0
    written: int = 0
    kept: int = 0
    removed: int = 0
    damaged: list[tuple[bytes, str]] = field(default_factory=list)
    damaged_count: int = 0
    lost_pages: int = 0
    problems: list[tuple[bytes, str]] = field(default_factory=list)
    problem_count: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a snapshot is wanted.  `delete`: remove from TARGET what the snapshot does not hold."""

    wanted: Callable[[bytes, bool], bool] | None = None
    delete: bool = False
    progress: Callable[[bytes, Restored], None] = lambda _, __: None


class _Waiting(NamedTuple):
    """A page under way: tasks, hard links to be made behind them, folders all of whose names came by then."""

    rows: int
    tasks: list[Future[None]]
    links: list[tuple[bytes, Entry]]
    complete: list[tuple[bytes, set[bytes]]]


class _Way:
    """The folders that lead to the current one, so that those above what is wanted can be made.

    Memory: the subfolders of the folders on the way down.
    """

    def __init__(self) -> None:
        self._stack: list[tuple[bytes | None, dict[bytes, Entry]]] = []

    def wanted(self, part: Part, fits: Callable[[bytes, bool], bool] | None) -> Iterator[tuple[bytes, Entry]]:
        """The part's entries that are wanted, the folders above each before it."""
        if fits is None:
            yield from ((part.path(entry), entry) for entry in part.entries)
            return
        self._enter(part)
        for entry in part.entries:
            path = part.path(entry)
            if fits(path, entry.is_folder):
                yield from self._lead(path)
                yield path, entry

    def _enter(self, part: Part) -> None:
        """Go on to this part, in the order of the index."""
        stack, folder = self._stack, part.folder
        while stack and stack[-1][0] != folder and not _is_above(stack[-1][0], folder):
            stack.pop()
        if not stack or stack[-1][0] != folder:
            stack.append((folder, {}))
        stack[-1][1].update((part.path(entry), entry) for entry in part.entries if entry.is_folder)

    def _lead(self, path: bytes) -> Iterator[tuple[bytes, Entry]]:
        """The folders above `path`, which is in the current part, outermost first; each is given once."""
        for (_, folders), (below, _) in pairwise(self._stack):
            entry = folders.pop(below or b"", None)
            if entry is not None:
                yield below or b"", entry
        self._stack[-1][1].pop(path, None)


def _is_above(one: bytes | None, other: bytes | None) -> bool:
    return other is not None and (not one or other.startswith(one + b"/"))


def _cleaning(manifest: Manifest, result: Restored) -> Cleaning | None:
    unsaved = [str(error[0]) for error in manifest.errors if error]
    if len(unsaved) >= MOST_TOLD:
        # There may have been more than the manifest tells: what is not in the snapshot may well exist.
        result.problem_count += 1
        result.problems.append((b"", "nothing is removed: the backup could not save too many files"))
        return None
    return Cleaning(unsaved, whole=not manifest.options.get("one_file_system"))


class Restore:
    """One restore of one snapshot into one target."""

    def __init__(self, reader: Reader, manifest: Manifest, target: Target, choice: Choice, result: Restored) -> None:
        """`result` is filled as the work goes; `target` reports its problems into it."""
        self._reader = reader
        self._manifest = manifest
        self._target = target
        self._choice = choice
        self._result = result
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._way = _Way()
        self._last = b""
        self._cleaning = _cleaning(manifest, result) if choice.delete else None

    def run(self) -> Restored:
        """Write everything that is wanted.

        Raises Full or another PinfoldError when TARGET cannot be written at all; damage to single
        files is in the result.
        """
        _check(self._manifest, self._choice)
        # A writer for each block under way: most of them wait for one at any moment.
        writers = max(_WRITERS, self._reader.at_once)
        with ThreadPoolExecutor(writers, thread_name_prefix="pinfold-restore") as pool:
            try:
                self._work(pool)
            except BaseException as error:
                self._failure = self._failure or error
                self._reader.close()  # those who wait for a block must not hold back who wants to end
                raise
        if self._cleaning is not None:
            self._remove(self._cleaning.rest())
        self._target.finish()
        return self._result

    def _work(self, pool: ThreadPoolExecutor) -> None:
        waiting: deque[_Waiting] = deque()
        for page in self._reader.pages(self._manifest.index, self._lost):
            waiting.append(self._page(page, pool))
            while self._has_enough(waiting):
                self._settle(waiting.popleft())
        while waiting:
            self._settle(waiting.popleft())

    def _has_enough(self, waiting: deque[_Waiting]) -> bool:
        if not self._reader.at_once:
            return len(waiting) > _PAGES_AHEAD
        tasks, rows = sum(len(page.tasks) for page in waiting), sum(page.rows for page in waiting)
        return len(waiting) > 1 and (tasks > 4 * self._reader.at_once or rows > _ROWS_AHEAD_FAR)

    def _page(self, page: Page, pool: ThreadPoolExecutor) -> _Waiting:
        """Make what needs no content, and hand files to the writers."""
        self._target.learn_owners(page.users, page.groups)
        bundles: dict[Ref, list[tuple[bytes, Entry]]] = {}
        tasks: list[Future[None]] = []
        links: list[tuple[bytes, Entry]] = []
        for part in page.parts:
            if self._cleaning is not None:
                self._cleaning.take(part)
            for path, entry in self._way.wanted(part, self._choice.wanted):
                self._last = path
                if not entry.is_file:
                    self._make(path, entry)
                elif entry.link is not None:
                    links.append((path, entry))
                elif isinstance(entry.content, Slice):
                    bundles.setdefault(entry.content.ref, []).append((path, entry))
                else:
                    tasks.append(pool.submit(self._guard, self._write_large, path, entry))
        most = _GROUP_FAR if self._reader.at_once else _GROUP
        for ref, files in bundles.items():
            groups = (files[start : start + most] for start in range(0, len(files), most))
            tasks.extend(pool.submit(self._guard, self._write_small, ref, group) for group in groups)
        rows = sum(len(part.entries) for part in page.parts)
        return _Waiting(rows, tasks, links, [] if self._cleaning is None else self._cleaning.complete())

    def _make(self, path: bytes, entry: Entry) -> None:
        if entry.is_folder:
            self._target.folder(path, entry)
            self._result.folders += 1
        elif entry.is_symlink:
            self._target.symlink(path, entry)
            self._result.others += 1
        else:
            self._target.special(path, entry)
            self._result.others += 1

    def _remove(self, folders: Iterable[tuple[bytes, set[bytes]]]) -> None:
        for folder, names in folders:
            # Of what stood on a lost page nobody knows, so nothing is extraneous any more.
            if not self._result.lost_pages:
                self._result.removed += len(self._target.delete_extraneous(folder, names))

    def _settle(self, page: _Waiting) -> None:
        for task in page.tasks:
            task.result()
        if self._failure is not None:
            raise self._failure
        for path, entry in page.links:
            if entry.link is not None and self._target.hardlink(path, entry, entry.link):
                self._count(path, 0)
            else:
                self._write_large(path, entry)
        self._remove(page.complete)
        self._choice.progress(self._last, self._result)

    def _guard(self, work: Callable[..., None], *values: object) -> None:
        """Run a task unless the restore has failed; a failure of the target stops the others."""
        if self._failure is not None:
            return
        try:
            work(*values)
        except BaseException as error:  # noqa: BLE001  # raised again by _settle
            self._failure = self._failure or error  # the first is the cause

    def _write_small(self, ref: Ref, files: list[tuple[bytes, Entry]]) -> None:
        needed = [(path, entry) for path, entry in files if self._needed(path, entry)]
        if not needed:
            return
        try:
            with self._reader.bundle(ref) as plain:
                self._write_slices(memoryview(plain), needed)
        except DAMAGE as error:  # what else goes wrong with the target passes through
            for path, _ in needed:
                self._damage(path, error)

    def _write_slices(self, bundle: memoryview, files: list[tuple[bytes, Entry]]) -> None:
        for path, entry in files:
            if isinstance(entry.content, Slice):
                start = entry.content.offset
                if self._target.write_file(path, entry, (bundle[start : start + entry.size],)):
                    self._count(path, entry.size)

    def _write_large(self, path: bytes, entry: Entry) -> None:
        if self._needed(path, entry):
            self._write_one(path, entry)

    def _write_one(self, path: bytes, entry: Entry) -> None:
        try:
            done = self._target.write_file(path, entry, self._content(entry))
        except DAMAGE as error:
            self._damage(path, error)
        else:
            if done:
                self._count(path, entry.size)

    def _content(self, entry: Entry) -> Iterator[bytes]:
        content = entry.content
        if isinstance(content, Slice):
            with self._reader.bundle(content.ref) as plain:
                yield plain[content.offset : content.offset + entry.size]
        elif isinstance(content, Chunks):
            yield from self._reader.stream(content.refs)
        elif isinstance(content, Tree):
            yield from self._reader.stream(self._reader.leaves(content))

    def _needed(self, path: bytes, entry: Entry) -> bool:
        decision = self._target.wanted(path, entry)
        if decision is Decision.SAME:
            with self._lock:
                self._result.kept += 1
        return decision is Decision.WRITE

    def _count(self, path: bytes, size: int) -> None:
        with self._lock:
            self._result.files += 1
            self._result.written += size
            count = self._result.files
        if count % 256 == 0:
            self._choice.progress(path, self._result)

    def _damage(self, path: bytes, error: Exception) -> None:
        if not isinstance(error, PinfoldError) or error.exit_code != 4:
            raise error
        with self._lock:
            self._result.damaged_count += 1
            if len(self._result.damaged) < MOST_TOLD:
                self._result.damaged.append((path, str(error)))

    def _lost(self, ref: Ref, error: Exception) -> None:
        with self._lock:
            self._result.lost_pages += 1
            self._result.damaged_count += 1
            if len(self._result.damaged) < MOST_TOLD:
                after = self._last.decode(errors="backslashreplace") or "the beginning"
                what = f"part of the index is lost: names after {after} are unknown ({error})"
                self._result.damaged.append((ref.digest.hex()[:16].encode(), what))


def _check(manifest: Manifest, choice: Choice) -> None:
    if manifest.type != "directory":
        raise UsageError(f"this snapshot is of a {manifest.type}, not of a directory")
    if choice.wanted is not None and choice.delete:
        raise UsageError("--delete would remove what --include leaves out; use one of them")


def rehearse(
    pages: Iterable[Page], manifest: Manifest, target: Lookup, choice: Choice, tell: Callable[[str, bytes], None]
) -> Restored:
    """Find out what a restore would do, and touch nothing.

    `tell`: told of each path that the restore would "write" or "remove".
    `files`, `folders`, `others` and `written` count what would be made; `kept` what is there already;
    `problems` what else would be kept.  Raises UsageError as a restore does.
    """
    _check(manifest, choice)
    result = Restored()
    cleaning = _cleaning(manifest, result) if choice.delete else None
    way = _Way()

    def remove(folders: Iterable[tuple[bytes, set[bytes]]]) -> None:
        for folder, names in folders:
            for path in target.extraneous(folder, names):
                result.removed += 1
                tell("remove", path)

    for page in pages:
        for part in page.parts:
            if cleaning is not None:
                cleaning.take(part)
            for path, entry in way.wanted(part, choice.wanted):
                _rehearse_one(path, entry, target, result, tell)
        if cleaning is not None:
            remove(cleaning.complete())
    if cleaning is not None:
        remove(cleaning.rest())
    return result


def _rehearse_one(
    path: bytes, entry: Entry, target: Lookup, result: Restored, tell: Callable[[str, bytes], None]
) -> None:
    decision, why = target.decide(path, entry)
    if decision is Decision.SAME:
        result.kept += not entry.is_folder
    elif decision is Decision.KEEP:
        result.problem_count += 1
        if len(result.problems) < MOST_TOLD:
            result.problems.append((path, why))
    else:
        result.files += entry.is_file
        result.folders += entry.is_folder
        result.others += not (entry.is_file or entry.is_folder)
        result.written += entry.size if entry.is_file and entry.link is None else 0
        tell("write", path)
