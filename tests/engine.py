"""A whole repository in a few lines, for the tests of the engine: real keys and stores, a clock that ticks."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pinfold import backup, catalogue, rekey, verify, wiring
from pinfold.cache import Cache
from pinfold.reading import Reader
from pinfold.restore import Choice, Restore, Restored
from pinfold.seal.keyring import Agent, first_keyring
from pinfold.seal.keys import OwnerKey
from pinfold.seal.secret import Secret
from pinfold.seal.slots import Stretch, passphrase_slot
from pinfold.sources.directory import attributes
from pinfold.sources.directory.excludes import Rules
from pinfold.sources.directory.source import Directory, Settings
from pinfold.sources.directory.target import Overwrite, Target
from pinfold.store import MemoryStore
from pinfold.store.layers import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pinfold.ipld import CID
    from pinfold.seal.keyring import Keyring
    from pinfold.seal.keys import AgentKey
    from pinfold.snapshot import Snapshot
    from pinfold.sources.directory.entry import Entry
    from pinfold.sources.directory.scan import Leaves
    from pinfold.store import Block, Store

PASSPHRASE = Secret(b"correct horse")
CHEAP = Stretch("argon2id", iterations=1, memory=8, lanes=1)
"""The least stretching there is: 0.1 ms instead of 0.1 s."""


class TickingClock:
    """A second later at every look; its chance is seeded."""

    def __init__(self, seed: int = 0) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._seconds = 0.0
        self._chance = random.Random(seed)

    def now(self) -> datetime:
        """A second after the last answer."""
        self._now += timedelta(seconds=1)
        return self._now

    def monotonic(self) -> float:
        """A second after the last answer."""
        self._seconds += 1
        return self._seconds

    def random(self, size: int) -> bytes:
        """The next bytes of the seeded stream."""
        return self._chance.randbytes(size)


@dataclass
class Rig:
    """A repository and one machine that works with it.  `owner`: it holds the passphrase, not an agent's key."""

    store: Store
    key: OwnerKey
    keyring: Keyring
    agent: AgentKey
    cache: Cache
    clock: TickingClock
    owner: bool = True

    @property
    def repository(self) -> backup.Repository:
        """What a backup needs."""
        if not self.owner:
            return backup.Repository(self.store, self.keyring, self.agent, self.cache, self.clock)
        owned = self.owned
        return backup.Repository(
            self.store,
            self.keyring,
            self.agent,
            self.cache,
            self.clock,
            pages=wiring.owner_pages(owned),
            node=wiring.owner_node(owned),
        )

    @property
    def owned(self) -> wiring.Owned:
        """The repository as its owner sees it."""
        return wiring.Owned(self.store, self.keyring, self.key)

    def source(
        self, root: Path | bytes, name: str = "home", rules: Leaves | None = None, settings: Settings | None = None
    ) -> Directory:
        """A directory source."""
        return Directory(name, os.fsencode(root), rules or Rules(), settings or Settings(), self.agent)

    def backup(
        self,
        root: Path | bytes,
        name: str = "home",
        rules: Leaves | None = None,
        settings: Settings | None = None,
        wishes: backup.Wishes | None = None,
    ) -> backup.Result:
        """One backup of `root`."""
        return backup.backup(self.repository, self.source(root, name, rules, settings), wishes or backup.Wishes())

    def restore(
        self,
        made: Snapshot,
        target: Path,
        *,
        choice: Choice | None = None,
        overwrite: Overwrite = Overwrite.NEVER,
        store: Store | None = None,
    ) -> Restored:
        """Restore a snapshot into `target`."""
        result = Restored()

        def problem(path: bytes, what: str) -> None:
            result.problems.append((path, what))
            result.problem_count += 1

        where = store or self.store
        reader = Reader(where, self.key.opener(made.header.generation))
        goal = Target(target, overwrite=overwrite, numeric_owners=True, problem=problem)
        try:
            return Restore(reader, made.open(self.key, where.get), goal, choice or Choice(), result).run()
        finally:
            goal.close()
            reader.close()

    def verify(self, *, key: bool = True, store: Store | None = None, **depth: float) -> verify.Report:
        """Verify all snapshots; reads everything, and opens it where `key` allows."""
        look = verify.Depth(read=bool(depth.get("read", True)), decrypt=depth.get("decrypt", 100.0))
        where = store or self.store
        work = verify.Verification(where, self.key if key else None, look)
        work.keyrings(self.keyring.repository.id)
        return work.run(catalogue.listed(where, self.keyring.repository.id))

    def rows(self, made: Snapshot) -> dict[bytes, Entry]:
        """Every entry of a snapshot by its path."""
        reader = Reader(self.store, self.key.opener(made.header.generation))
        try:
            pages = reader.pages(made.open(self.key, self.store.get).index)
            return {path: entry for page in pages for path, entry in page.rows()}
        finally:
            reader.close()

    def listed(self) -> list[catalogue.Listed]:
        """The snapshots that are pinned."""
        return catalogue.listed(self.store, self.keyring.repository.id)

    def other_agent(self, cache: Path, name: str = "second", *, owner: bool = False) -> Rig:
        """Another machine of the same repository, with a key of its own."""
        self.keyring, agent = rekey.new_agent(self.keyring, self.key, name, self.clock)
        rekey.publish(self.store, self.keyring)
        return Rig(self.store, self.key, self.keyring, agent, Cache(cache), self.clock, owner=owner)


def rig(cache: Path, store: Store | None = None, *, owner: bool = True, padding: bool = True, seed: int = 0) -> Rig:
    """A new repository, in memory unless `store` is given; its keyring is published.  `seed`: makes it another one."""
    clock = TickingClock(seed)
    key = OwnerKey.new(clock.random)
    slot = passphrase_slot(PASSPHRASE, "passphrase", key.secrets(), key.repository, clock.random, CHEAP)
    agent = key.agent(rekey.OWNER)
    keyring = first_keyring(key, [slot], [Agent(rekey.OWNER, agent.signer.public)], padding=padding)
    where = store or MemoryStore()
    rekey.publish(where, keyring)
    return Rig(where, key, keyring, agent, Cache(cache), clock, owner=owner)


def made(result: backup.Result) -> Snapshot:
    """The snapshot of a run that made one and had no problem."""
    assert [] == result.problems
    assert result.snapshot is not None
    return result.snapshot


class Row(NamedTuple):
    """What a restore must bring back of one name.  `twins`: the other names of the same file."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    content: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]
    twins: frozenset[bytes]


def listing(root: Path | bytes, *, folder_times: bool = True) -> dict[bytes, Row]:
    """Everything below `root` (itself is b""), sockets left out; however deep, by descriptors only."""
    rows: dict[bytes, Row] = {}
    names: dict[tuple[int, int], set[bytes]] = {}
    for path, status, content, pairs in _walk(os.fsencode(root)):
        kind = stat.S_IFMT(status.st_mode)
        twins: set[bytes] = set()
        if kind == stat.S_IFREG:
            twins = names.setdefault((status.st_dev, status.st_ino), twins)
            twins.add(path)
        mtime = status.st_mtime_ns if folder_times or kind != stat.S_IFDIR else 0
        size = status.st_size if kind == stat.S_IFREG else 0
        rows[path] = Row(status.st_mode, status.st_uid, status.st_gid, size, mtime, content, pairs, frozenset(twins))
        for twin in twins:
            rows[twin] = rows[twin]._replace(twins=frozenset(twins))
    return rows


def _walk(root: bytes) -> Iterator[tuple[bytes, os.stat_result, bytes, attributes.Pairs]]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield b"", os.fstat(fd), b"", attributes.read(fd)[0]
    stack = [(b"", fd, _names(fd))]
    while stack:
        path, fd, names = stack[-1]
        name = next(names, None)
        if name is None:
            os.close(fd)
            stack.pop()
            continue
        child = path + b"/" + name if path else name
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISSOCK(status.st_mode):
            continue
        yield child, status, _content(name, fd, status), attributes.read(attributes.beside(fd, name))[0]
        if stat.S_ISDIR(status.st_mode):
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            stack.append((child, inner, _names(inner)))


def _names(fd: int) -> Iterator[bytes]:
    with os.scandir(fd) as found:
        return iter(sorted(os.fsencode(entry.name) for entry in found))


def _content(name: bytes, folder: int, status: os.stat_result) -> bytes:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(name, dir_fd=folder)
    if stat.S_ISREG(status.st_mode):
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:  # noqa: PTH123
            return hashlib.file_digest(file, "sha256").digest()
    return os.fsencode(str(status.st_rdev))


class Recording(Layer):
    """Remembers which blocks were put."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.put_cids: list[CID] = []

    def put(self, blocks: Iterable[Block]) -> int:
        """Note each CID as it passes."""

        def passed() -> Iterator[Block]:
            for cid, block in blocks:
                self.put_cids.append(cid)
                yield cid, block

        return self._store.put(passed())


def blocks_of(store: MemoryStore) -> dict[bytes, bytes]:
    """Every block of a store in memory by its digest: the dictionary itself, to be damaged."""
    return store._blocks


def below(store: Store, root: CID) -> list[CID]:
    """Every block that a pin of `root` keeps."""
    from pinfold.ipld import walk  # noqa: PLC0415

    return list(walk(root, store.get))


def write(root: Path, files: dict[str, bytes]) -> Path:
    """Write files below `root`, their folders with them."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    root.mkdir(parents=True, exist_ok=True)
    return root


def noise(seed: int, size: int) -> bytes:
    """Reproducible bytes that do not compress."""
    return random.Random(seed).randbytes(size)


class Meddling(Rules):
    """Rules that leave nothing out and meddle with the tree when a name is first asked about."""

    __slots__ = ("_acts",)

    def __init__(self, acts: dict[bytes, Callable[[], object]]) -> None:
        """`acts`: what to do when this path was listed and looked at, but not read yet."""
        super().__init__()
        self.idle = False
        self._acts = acts

    def leaves_out(self, path: bytes, is_folder: bool, size: int = 0) -> bool:  # noqa: ARG002  # as its base
        """Do what is to be done once; nothing is left out."""
        act = self._acts.pop(path, None)
        if act is not None:
            act()
        return False
