"""Verification in three prices: present (no key), read back and hashed (no key), opened (key).

A block is checked once, however many snapshots need it.  Damage never stops the work: everything is
named, with the files it touches where a key is there to tell.
"""

from __future__ import annotations

import random
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Final

from pinfold import catalogue, snapshot
from pinfold.errors import Corrupt, Missing, PinfoldError
from pinfold.ipld import CID, SeenMarks, list_folder
from pinfold.ipld.cid import RAW
from pinfold.reading import DAMAGE, Reader
from pinfold.seal.refs import Tree, split
from pinfold.sources.directory.entry import Chunks, Slice
from pinfold.store.copies import Copies
from pinfold.store.layers import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from pinfold.catalogue import Listed
    from pinfold.seal.keyring import Keyring
    from pinfold.seal.keys import OwnerKey
    from pinfold.seal.refs import Ref
    from pinfold.snapshot import Snapshot
    from pinfold.store.seam import Store

_BATCH: Final = 1000
_AHEAD: Final = 16
MOST_TOLD: Final = 10_000


@dataclass(slots=True)
class Report:
    """What a verification found.  `damage`: (what, why); what is a CID, or a snapshot and a path.

    `notes`: what is no damage, as a copy that was healed from another; a line for each.
    """

    snapshots: int = 0
    blocks: int = 0
    bytes: int = 0
    read: int = 0
    opened: int = 0
    damage: list[tuple[str, str]] = field(default_factory=list)
    damage_count: int = 0
    files: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, why: str) -> None:
        """Note damage; what was named already is not named again."""
        if (what, why) not in self.damage[-64:]:
            self.damage_count += 1
            if len(self.damage) < MOST_TOLD:
                self.damage.append((what, why))


@dataclass(frozen=True, slots=True)
class Depth:
    """How deep to look.  `read`: fetch and hash every block; `decrypt`: percent of chunks to open."""

    read: bool = False
    decrypt: float = 0.0
    seed: int = 0
    progress: Callable[[Report], None] = lambda _: None


class Verification:
    """One verification of some snapshots of a store.  `key`: None checks all that needs none."""

    def __init__(self, store: Store, key: OwnerKey | None, depth: Depth) -> None:
        self._store = store
        self._copies = Copies(store)
        self._key = key
        self._depth = depth
        self._newest: Keyring | None = None
        self._seen = SeenMarks()
        self._bad: set[bytes] = set()
        self._random = random.Random(depth.seed)  # noqa: S311  # a sample, not a secret
        self.report = Report()

    def run(self, listed: Iterable[Listed]) -> Report:
        """Check snapshots by their pins.  Raises only what the store raises when it does not answer."""
        with ThreadPoolExecutor(4, thread_name_prefix="pinfold-verify") as pool:
            for one in listed:
                self._one(one, pool)
        self._note()
        return self.report

    def _note(self) -> None:
        self.report.notes = self._copies.notes()

    def keyrings(self, repository: str) -> None:
        """Check the keyrings that stand alone."""
        prefix = f"{catalogue.PREFIX}{repository}/keyring/"
        for pin in self._store.pins(prefix):
            try:
                snapshot.load_keyring(pin.root, self.fetch)
            except PinfoldError as error:
                self._damaged(error, f"keyring {pin.root}")
        self._note()

    def _one(self, one: Listed, pool: ThreadPoolExecutor) -> None:
        self.report.snapshots += 1
        try:
            made = snapshot.load(one.root, self.fetch)
            catalogue.check(made, one, self._keyring(one.repository))
        except PinfoldError as error:
            self._damaged(error, f"snapshot {one.root}")
            return
        listed = self._blocks(made, pool)
        self._small(made)
        if self._key is not None:
            self._contents(made, self._key, listed)

    def _keyring(self, repository: str) -> Keyring:
        if self._newest is None:
            self._newest = catalogue.newest_keyring(self._store, repository)
        return self._newest

    def fetch(self, cid: CID) -> bytes:
        """A block, hashed here whatever the store says."""
        block = self._copies.get(cid)
        cid.verify(block, self._store.name)
        return block

    def _damaged(self, error: PinfoldError, what: str) -> None:
        if error.exit_code not in {4, 5}:
            raise error
        name = getattr(error, "name", None)
        self.report.add(str(name) if name else what, f"{what}: {error}" if name else str(error))

    def _blocks(self, made: Snapshot, pool: ThreadPoolExecutor) -> SeenMarks | None:
        """The set of blocks: as many and as large as signed, all there, and sound if they are read.

        Returns which they are, or None if the set itself is damaged.
        """
        listed = SeenMarks()
        count = total = 0
        batch: list[tuple[CID, int]] = []
        lost: list[PinfoldError] = []
        try:
            for cid, name, size in list_folder(made.blocks, self.fetch, lambda _, error: lost.append(error)):
                count += 1
                total += size or 0
                if str(cid).encode() != name or cid.codec != RAW:
                    self.report.add(str(cid), f"snapshot {made.root}: an entry of blocks/ is not named by its CID")
                listed.add(cid)
                batch.append((cid, size or 0))
                if len(batch) >= _BATCH:
                    self._check(batch, made, pool)
                    batch = []
        except PinfoldError as error:
            lost.append(error)
        self._check(batch, made, pool)
        for one in lost:
            self._damaged(one, f"blocks/ of snapshot {made.root}")
        if lost:
            return None
        header = made.header
        if (count, total) != (header.blocks_count, header.blocks_bytes):
            signed = f"{header.blocks_count} of {header.blocks_bytes}"
            self.report.add(str(made.root), f"blocks/ lists {count} blocks of {total} bytes, signed were {signed}")
        return listed

    def _check(self, batch: list[tuple[CID, int]], made: Snapshot, pool: ThreadPoolExecutor) -> None:
        fresh = [(cid, size) for cid, size in batch if self._seen.add(cid)]
        there = self._copies.has([cid for cid, _ in fresh])
        wanted: list[tuple[CID, int]] = []
        for cid, size in fresh:
            self.report.blocks += 1
            self.report.bytes += size
            if cid not in there:
                self._absent(cid, made)
            elif self._depth.read:
                wanted.append((cid, size))
        under_way: deque[tuple[CID, int, Future[bytes]]] = deque()
        for cid, size in wanted:
            under_way.append((cid, size, pool.submit(self._copies.get, cid)))
            if len(under_way) >= _AHEAD:
                self._hashed(under_way, made)
        while under_way:
            self._hashed(under_way, made)
        self._depth.progress(self.report)

    def _absent(self, cid: CID, made: Snapshot) -> None:
        """A block that no copy vouches for: it is missing, or known to be damaged."""
        self._bad.add(cid.digest)
        why = "is missing"
        try:
            self.fetch(cid)
        except Corrupt:
            why = "is damaged"
        except Missing:
            pass
        else:  # it came meanwhile, or was put right
            self._bad.discard(cid.digest)
            return
        self.report.add(str(cid), f"{why}; snapshot {made.root} needs it")

    def _hashed(self, under_way: deque[tuple[CID, int, Future[bytes]]], made: Snapshot) -> None:
        cid, size, future = under_way.popleft()
        try:
            block = future.result()
            cid.verify(block, self._store.name)
            if len(block) != size:
                raise Corrupt(cid, f"snapshot {made.root}: {len(block)} bytes, blocks/ says {size}")
        except PinfoldError as error:
            self._bad.add(cid.digest)
            self._damaged(error, f"snapshot {made.root}")
        self.report.read += 1

    def _small(self, made: Snapshot) -> None:
        """The files beside blocks/ that nothing else reads."""
        for entry in list_folder(made.root, self.fetch):
            name = _shown(entry.name)
            try:
                if entry.name != b"blocks":
                    snapshot.read_small(entry.cid, self.fetch, snapshot.MAX_MANIFEST, name)
            except PinfoldError as error:
                self._damaged(error, f"{name} of snapshot {made.root}")

    def _contents(self, made: Snapshot, key: OwnerKey, listed: SeenMarks | None) -> None:
        """With a key: every ref is in blocks/, a sample opens, and damage is told by path."""
        try:
            manifest = made.open(key, self.fetch)
            opener = key.opener(made.header.generation)
        except PinfoldError as error:
            self._damaged(error, f"manifest of snapshot {made.root}")
            return
        set_of_blocks = _Listed(self._store, listed)
        reader = Reader(set_of_blocks, opener)
        try:
            _Contents(self, made, reader, set_of_blocks).run(manifest.index)
        finally:
            reader.close()

    def sampled(self) -> bool:
        """Whether the next chunk is one to open."""
        return self._random.random() * 100 < self._depth.decrypt

    def is_bad(self, ref: Ref) -> bool:
        """Whether a block was found missing or damaged."""
        return ref.digest in self._bad

    def damaged_chunk(self, error: PinfoldError, ref: Ref, what: str) -> None:
        """A chunk that does not open."""
        self._bad.add(ref.digest)
        self._damaged(error, what)


class _Listed(Layer):
    """A store that notes what is asked of it and blocks/ does not list.  `listed`: None where nobody knows."""

    def __init__(self, store: Store, listed: SeenMarks | None) -> None:
        super().__init__(store)
        self._listed = listed
        self._lock = Lock()
        self._strange: list[CID] = []

    def lacks(self, cid: CID) -> bool:
        """Whether blocks/ does not list it; said once."""
        with self._lock:
            return self._listed is not None and self._listed.add(cid)

    def get(self, cid: CID) -> bytes:
        """The block; one that is not listed is noted."""
        if self.lacks(cid):
            self._strange.append(cid)
        return super().get(cid)

    def strange(self) -> list[CID]:
        """What was noted since this was asked last."""
        found, self._strange = self._strange, []
        return found


class _Contents:
    """The look inside one snapshot."""

    def __init__(self, above: Verification, made: Snapshot, reader: Reader, listed: _Listed) -> None:
        self._above = above
        self._made = made
        self._reader = reader
        self._listed = listed
        self._tried = SeenMarks()

    def run(self, index: Tree | None) -> None:
        """Every file of every page."""
        for page in self._reader.pages(index, self._lost):
            for path, entry in page.rows():
                content = entry.content
                if isinstance(content, Slice):
                    self._chunk(content.ref, path)
                elif isinstance(content, Chunks):
                    for ref in content.refs:
                        self._chunk(ref, path)
                elif isinstance(content, Tree):
                    self._tree(content, path)
        self._tell_strange(f"the index of snapshot {self._made.root}")

    def _tell_strange(self, whose: str) -> None:
        for cid in self._listed.strange():
            self._above.report.add(str(cid), f"{whose} needs it, but blocks/ does not list it: forged")

    def _tree(self, tree: Tree, path: bytes) -> None:
        # A node that comes twice, as in a file of zeros, is looked at once: else a forged tree never ends.
        seen: set[tuple[bytes, int]] = set()
        pending = [tree]
        while pending:
            one = pending.pop()
            if one.depth == 0:
                self._chunk(one.root, path)
                continue
            if (one.root.digest, one.depth) in seen:
                continue
            seen.add((one.root.digest, one.depth))
            try:
                children = split(self._reader.open(one.root))
            except DAMAGE as error:
                self._above.damaged_chunk(error, one.root, self._file(path))
                self._harmed(path)
            else:
                pending += [Tree(ref, one.depth - 1) for ref in reversed(children)]
        self._tell_strange(self._file(path))

    def _chunk(self, ref: Ref, path: bytes) -> None:
        above = self._above
        if self._tried.add(ref.cid):
            if self._listed.lacks(ref.cid):
                above.report.add(str(ref.cid), f"{self._file(path)} needs it, but blocks/ does not list it: forged")
            if not above.is_bad(ref) and above.sampled():
                above.report.opened += 1
                try:
                    self._reader.open(ref)
                except DAMAGE as error:
                    above.damaged_chunk(error, ref, self._file(path))
        if above.is_bad(ref):
            self._harmed(path)

    def _harmed(self, path: bytes) -> None:
        files = self._above.report.files
        one = (str(self._made.root), _shown(path))
        if len(files) < MOST_TOLD and files[-1:] != [one]:
            files.append(one)

    def _file(self, path: bytes) -> str:
        return f"snapshot {self._made.root}, {_shown(path)}"

    def _lost(self, ref: Ref, error: Exception) -> None:
        if isinstance(error, PinfoldError):
            self._above.damaged_chunk(error, ref, f"index of snapshot {self._made.root}")


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace") or "."
