"""Verification in three prices: present (no key), read back and hashed (no key), opened (key).

A block is checked once, however many snapshots need it; those of a store that is far are asked for many at
a time.  Damage never stops the work: everything is named, with the files it touches where a key is there
to tell.
"""

from __future__ import annotations

import random
from collections import deque
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
from pinfold.store import HasCopies, power
from pinfold.store.ahead import ahead
from pinfold.store.copies import Copies, at_once
from pinfold.store.crew import Crew
from pinfold.store.layers import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

    from pinfold.catalogue import Listed
    from pinfold.reading import Chunk
    from pinfold.seal.keyring import Keyring
    from pinfold.seal.keys import OwnerKey
    from pinfold.seal.refs import Ref
    from pinfold.snapshot import Snapshot
    from pinfold.sources.directory.entry import Content
    from pinfold.store.seam import Store

_BATCH: Final = 1000
_THREADS: Final = 4
_MOST_LOOKED_AT: Final = 4096
_AHEAD: Final = 16
_ROOM: Final = 48 << 20  # bytes of blocks that wait to be looked at
MOST_TOLD: Final = 10_000


@dataclass(slots=True)
class Report:
    """What a verification found.  `damage`: (what, why); what is a CID, or a snapshot and a path.

    `notes`: what is no damage, as a copy that was healed from another; a line for each; `short`: whether a copy
    could not be asked, or lacks what another holds.
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
    short: bool = False

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
        many = at_once(store)
        self._at_once = many if many > 1 else 0
        # From afar reading is not asked for leave first, a block that is not there says so; but of several
        # copies all are to be asked.
        self._asks = not self._at_once or power(store, HasCopies) is not None  # type: ignore[type-abstract]
        self._key = key
        self._depth = depth
        self._newest: Keyring | None = None
        self._seen = SeenMarks()
        self._bad: set[bytes] = set()
        self._random = random.Random(depth.seed)  # noqa: S311  # a sample, not a secret
        self.report = Report()

    def run(self, listed: Iterable[Listed]) -> Report:
        """Check snapshots by their pins.  Raises only what the store raises when it does not answer."""
        crew = Crew(self._at_once or _THREADS, "pinfold-verify")
        try:
            for one in listed:
                self._one(one, crew)
        finally:
            crew.close(wait=not self._at_once)
        self._note()
        return self.report

    def _note(self) -> None:
        self.report.notes = self._copies.notes()
        self.report.short = self._copies.short

    def keyrings(self, repository: str) -> None:
        """Check the keyrings that stand alone."""
        prefix = f"{catalogue.PREFIX}{repository}/keyring/"
        for pin in self._store.pins(prefix):
            try:
                snapshot.load_keyring(pin.root, self.fetch)
            except PinfoldError as error:
                self._damaged(error, f"keyring {pin.root}")
        self._note()

    def _one(self, one: Listed, crew: Crew) -> None:
        self.report.snapshots += 1
        try:
            made = snapshot.load(one.root, self.fetch)
            catalogue.check(made, one, self._keyring(one.repository))
        except PinfoldError as error:
            self._damaged(error, f"snapshot {one.root}")
            return
        listed = self._blocks(made, crew)
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

    def _blocks(self, made: Snapshot, crew: Crew) -> SeenMarks | None:
        """The set of blocks: as many and as large as signed, all there, and sound if they are read.

        Returns which they are, or None if the set itself is damaged.
        """
        listed = SeenMarks()
        count = total = 0
        batch: list[tuple[CID, int]] = []
        lost: list[PinfoldError] = []
        try:
            with ahead(self._store, self.fetch) as get:
                for cid, name, size in list_folder(made.blocks, get, lambda _, error: lost.append(error)):
                    count += 1
                    total += size or 0
                    if str(cid).encode() != name or cid.codec != RAW:
                        self.report.add(str(cid), f"snapshot {made.root}: an entry of blocks/ is not named by its CID")
                    listed.add(cid)
                    batch.append((cid, size or 0))
                    if len(batch) >= _BATCH:
                        self._check(batch, made, crew)
                        batch = []
        except PinfoldError as error:
            lost.append(error)
        self._check(batch, made, crew)
        for one in lost:
            self._damaged(one, f"blocks/ of snapshot {made.root}")
        if lost:
            return None
        header = made.header
        if (count, total) != (header.blocks_count, header.blocks_bytes):
            signed = f"{header.blocks_count} of {header.blocks_bytes}"
            self.report.add(str(made.root), f"blocks/ lists {count} blocks of {total} bytes, signed were {signed}")
        return listed

    def _check(self, batch: list[tuple[CID, int]], made: Snapshot, crew: Crew) -> None:
        fresh = [(cid, size) for cid, size in batch if self._seen.add(cid)]
        asked = [cid for cid, _ in fresh]
        there = self._copies.has(asked) if self._asks or not self._depth.read else set(asked)
        self.report.blocks += len(fresh)
        self.report.bytes += sum(size for _, size in fresh)
        for (cid, _), future in self._fetched([one for one in fresh if one[0] not in there], crew):
            self._absent(cid, future, made)
        if self._depth.read:
            for (cid, size), future in self._fetched([one for one in fresh if one[0] in there], crew):
                self._hashed(cid, size, future, made)
        self._depth.progress(self.report)

    def _fetched(self, wanted: list[tuple[CID, int]], crew: Crew) -> Iterator[tuple[tuple[CID, int], Future[bytes]]]:
        """Blocks in order, with some under way ahead of the one that is looked at."""
        under_way: deque[tuple[tuple[CID, int], Future[bytes]]] = deque()
        most, waiting = self._at_once or _AHEAD, 0
        for one in wanted:
            while under_way and (len(under_way) >= most or waiting + one[1] > _ROOM):
                waiting -= under_way[0][0][1]
                yield under_way.popleft()
            waiting += one[1]
            under_way.append((one, crew.submit(self.fetch, one[0])))
        yield from under_way

    def _absent(self, cid: CID, future: Future[bytes], made: Snapshot) -> None:
        """A block that no copy vouches for: it is missing, or known to be damaged."""
        self._bad.add(cid.digest)
        why = "is missing"
        try:
            future.result()
        except Corrupt:
            why = "is damaged"
        except Missing:
            pass
        else:  # it came meanwhile, or was put right
            self._bad.discard(cid.digest)
            return
        self.report.add(str(cid), f"{why}; snapshot {made.root} needs it")

    def _hashed(self, cid: CID, size: int, future: Future[bytes], made: Snapshot) -> None:
        try:
            block = future.result()
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
        self._most = reader.at_once or _AHEAD
        self._under_way: deque[tuple[Ref, bytes, Chunk | None]] = deque()
        self._waiting = 0

    def run(self, index: Tree | None) -> None:
        """Every file of every page."""
        coming: deque[tuple[bytes, Content | None, Chunk | None]] = deque()
        for page in self._reader.pages(index, self._lost):
            for path, entry in page.rows():
                coming.append((path, entry.content, self._node_later(entry.content)))
                if len(coming) > self._reader.at_once:
                    self._file_content(*coming.popleft())
        for one in coming:
            self._file_content(*one)
        while self._under_way:
            self._settle()
        self._tell_strange(f"the index of snapshot {self._made.root}")

    def _node_later(self, content: Content | None) -> Chunk | None:
        """The first node of a large file, where asking for it takes its time."""
        if not self._reader.at_once or not isinstance(content, Tree) or not content.depth:
            return None
        return self._reader.later(content.root)

    def _file_content(self, path: bytes, content: Content | None, node: Chunk | None) -> None:
        if isinstance(content, Slice):
            self._chunk(content.ref, path)
        elif isinstance(content, Chunks):
            for ref in content.refs:
                self._chunk(ref, path)
        elif isinstance(content, Tree):
            self._tree(content, path, node)

    def _tell_strange(self, whose: str) -> None:
        for cid in self._listed.strange():
            self._above.report.add(str(cid), f"{whose} needs it, but blocks/ does not list it: forged")

    def _tree(self, tree: Tree, path: bytes, node: Chunk | None) -> None:
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
                children = split(self._reader.open(one.root) if node is None else node.take())
            except DAMAGE as error:
                self._above.damaged_chunk(error, one.root, self._file(path))
                self._harmed(path)
            else:
                pending += [Tree(ref, one.depth - 1) for ref in reversed(children)]
            node = None
        self._tell_strange(self._file(path))

    def _chunk(self, ref: Ref, path: bytes) -> None:
        above = self._above
        chunk = None
        if self._tried.add(ref.cid):
            if self._listed.lacks(ref.cid):
                above.report.add(str(ref.cid), f"{self._file(path)} needs it, but blocks/ does not list it: forged")
            if not above.is_bad(ref) and above.sampled():
                above.report.opened += 1
                chunk = self._reader.later(ref)
        self._under_way.append((ref, path, chunk))
        self._waiting += chunk is not None
        while self._under_way and (
            self._waiting >= self._most or self._under_way[0][2] is None or len(self._under_way) > _MOST_LOOKED_AT
        ):
            self._settle()

    def _settle(self) -> None:
        ref, path, chunk = self._under_way.popleft()
        if chunk is not None:
            self._waiting -= 1
            try:
                chunk.take()
            except DAMAGE as error:
                self._above.damaged_chunk(error, ref, self._file(path))
        if self._above.is_bad(ref):
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
