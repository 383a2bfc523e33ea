"""The folder store: blocks in CARs, pins as files, an index that is only a cache.  No daemon.

Many processes may read and write it at once, also while one collects garbage.
Crash rule: blocks are synced before the index knows them, and known before a pin is written.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pinfold.clock import SystemClock
from pinfold.errors import Refused, Unavailable
from pinfold.store.folder.check import check
from pinfold.store.folder.collect import Collection
from pinfold.store.folder.index import Index
from pinfold.store.folder.layout import Layout, translated
from pinfold.store.folder.locks import locked, locked_alone
from pinfold.store.folder.pins import Pins, check_name
from pinfold.store.folder.reading import Blocks
from pinfold.store.folder.recover import refresh
from pinfold.store.folder.writing import Writers
from pinfold.store.seam import Block, Collected, CopyStatus, Pin, PinState, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from pinfold.clock import Clock
    from pinfold.ipld.cid import CID


class FolderStore:
    """A store in a folder.  Made with `create` or `open`; use as a context manager or `close` it."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        """For `create` and `open`, which see to it that `path` is a store."""
        self._layout = layout = Layout(path)
        self._resources = ExitStack()
        self._writable = layout.writable()
        index_path = None
        if not self._writable:
            with translated(Path(tempfile.gettempdir())):
                scratch = self._resources.enter_context(tempfile.TemporaryDirectory(prefix="pinfold-index-"))
            index_path = str(Path(scratch) / "index.db")
        self._index = Index(layout, index_path)
        self._blocks = Blocks(layout, self._index, self._follow)
        self._pins = Pins(layout)
        self._writers = Writers(layout, self._index, clock or SystemClock())
        self._seen: object = None
        self.warnings: list[str] = []

    @classmethod
    def create(cls, path: str | os.PathLike[str], clock: Clock | None = None) -> FolderStore:
        """Make a new store in a folder that is empty or not there yet.  Raises Refused, Full."""
        Layout(Path(path)).create()
        return cls.open(path, clock)

    @classmethod
    def open(cls, path: str | os.PathLike[str], clock: Clock | None = None) -> FolderStore:
        """Open a store; brings its index level with its cars.  Raises Refused if it is none."""
        Layout(Path(path)).check()
        store = cls(Path(path), clock)
        try:
            store.refresh()
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self._layout.path)

    def session(self) -> AbstractContextManager[None]:
        """Hold a lease until left; garbage collection spares what the session put or saw."""
        self._may_write()
        return self._writers.session()

    def put(self, blocks: Iterable[Block]) -> int:
        """Store blocks.  Raises Full, Refused (not sha2-256, over 8 MiB, read-only), Unavailable."""
        self._may_write()
        self._level()
        return self._writers.put(blocks)

    def get(self, cid: CID) -> bytes:
        """The block, from another copy if the first is damaged.  Raises Missing, Corrupt."""
        self._level()
        return self._blocks.get(cid)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that are stored and not about to be collected."""
        self._level()
        return self._blocks.has(cids)

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Keep what is below `root`.  Raises Incomplete, Corrupt, Refused (read-only, a name no path can bear)."""
        self._may_write()
        check_name(name)
        self._level()
        # Shared with other pins, against the moment in which a collection deletes.
        with locked(self._layout.locks / "sweep", shared=True):
            proved = replaces if replaces is not None and self._pins.since(replaces) else None
            self._blocks.prove(root, proved)
            since = self._pins.keep(root, name, replaces)
        return self._status(root, since)

    def unpin(self, roots: Iterable[CID]) -> None:
        """Remove pin files."""
        self._may_write()
        self._pins.drop(roots)

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """Pins by name, then by root.  A pin file that holds no CID is told in `warnings`.  Raises PinsLost."""
        found, broken = self._pins.read()
        self.warnings += [why for why in broken if why not in self.warnings]
        return (pin for pin in found if pin.name.startswith(prefix))

    def status(self, root: CID) -> PinStatus:
        """One copy: pinned here since the pin file was written, or absent."""
        return self._status(root, self._pins.since(root))

    def _status(self, root: CID, since: str | None) -> PinStatus:
        state = PinState.ABSENT if since is None else PinState.PINNED
        return PinStatus(root, (CopyStatus(self.name, state, since or ""),))

    def usage(self) -> Usage:
        """Bytes of all files; capacity is these and what is free on the disk."""
        with translated(self._layout.path):
            used = 0
            for folder, _, names in os.walk(self._layout.path):
                for name in names:
                    try:
                        used += (Path(folder) / name).lstat().st_size
                    except FileNotFoundError:
                        continue
            disk = os.statvfs(self._layout.path)
        return Usage(used, used + disk.f_bavail * disk.f_frsize)

    def collect(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> Collected:
        """Free what no pin reaches, as collect.py tells.  Raises Refused if a collection runs already,
        if this store is read-only, or if damage below a pin hides what must be kept."""  # noqa: D209, D205
        self._may_write()
        busy = f"a garbage collection of {self.name} is running already: wait for it to end"
        with locked_alone(self._layout.locks / "collect", busy):
            self.refresh()
            with Collection(self._layout, self._index, self._pins, self.get, self._writers) as collection:
                return collection.run(dry_run=dry_run, progress=progress)

    def check(self, progress: Callable[[int, int], None] | None = None) -> Iterator[tuple[str, str]]:
        """Re-hash every block and prove every pin; yield (CID, why) for all that is damaged or lost."""
        self.refresh()
        return check(self._layout, self._index, self._pins, self._blocks, progress)

    def replace(self, block: Block) -> None:
        """Take this copy instead of the one that is there.  Raises Corrupt if it is bad itself."""
        self._may_write()
        block[0].verify(block[1], "the copy to heal with")
        self._writers.store_anew([block])

    def refresh(self) -> None:
        """Bring the index level with the cars, whoever changed them."""
        try:
            refresh(self._layout, self._index, recover=self._writable)
        except Unavailable:
            if not self._index.is_stale:
                raise
            refresh(self._layout, self._index, recover=self._writable)  # it was damaged, and is a new one now
        self._seen = self._state()

    def close(self) -> None:
        """Seal the cars being written; close everything."""
        self._writers.close()
        self._blocks.close()
        self._index.close()
        self._resources.close()

    def _may_write(self) -> None:
        if not self._writable:
            raise Refused(f"{self.name} may not be written to by this user")

    def _level(self) -> None:
        if self._index.is_stale:
            self.refresh()

    def _state(self) -> object:
        """Changes when cars come or go."""
        with translated(self._layout.cars):
            return self._layout.cars.stat().st_mtime_ns

    def _follow(self) -> bool:
        """Refresh if somebody may have changed the cars; return whether so."""
        news = self._state() != self._seen or not self._index.is_current()
        if news:
            self.refresh()
        return news
