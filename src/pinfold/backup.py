"""A backup: source → cut → seal → store → snapshot, one page.

Crash rule: data and index blocks, then keyring, manifest, header and folders, then the pin, then the
local cache (docs/design.md, "The order of writing").  A crash anywhere leaves garbage, never a hole.
"""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from pinfold import __version__, catalogue, digests, snapshot
from pinfold.blockset import BlockSet
from pinfold.cache import Kept
from pinfold.clock import rfc3339
from pinfold.errors import Incomplete, KeyFailure, Missing, StoreError
from pinfold.ipld import CID
from pinfold.ipld.cid import RAW
from pinfold.snapshot import Header, Manifest
from pinfold.sources.seam import Previous
from pinfold.store.copies import at_once
from pinfold.upload import Uploader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from pinfold.cache import Cache
    from pinfold.clock import Clock
    from pinfold.seal.keyring import Keyring
    from pinfold.seal.keys import AgentKey
    from pinfold.seal.refs import Ref, Tree
    from pinfold.snapshot import Snapshot
    from pinfold.sources.seam import Counts, Outcome, Segments, Source
    from pinfold.store.seam import PinStatus, Store

    Progress = Callable[[bytes, Counts], None]

MOST_ERRORS: Final = 1000
# A manifest stays within snapshot.MAX_MANIFEST whatever happened in a run.
_LONGEST_TOLD: Final = 1000
_MOST_SPARSE: Final = 1 << 16
CHECKPOINT_SECONDS: Final = 300.0
_MOST_MISSING: Final = 1000  # what Incomplete tells of


@dataclass(frozen=True, slots=True)
class Repository:
    """What every run needs: where blocks go, who seals, under which keyring, the cache, the time.

    `pages`: reads the index pages of an older snapshot where the key allows it, for a lost cache.
    `node`: likewise for a node of refs.
    """

    store: Store
    keyring: Keyring
    agent: AgentKey
    cache: Cache
    clock: Clock
    pages: Callable[[Snapshot], tuple[Iterator[bytes], frozenset[bytes]] | None] = lambda _: None
    node: Callable[[Ref, int], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller wants of a run.

    `host`: another name than the machine's own; `interval`: seconds promised until the next, or None.
    """

    tags: tuple[str, ...] = ()
    host: str = ""
    interval: int | None = None
    skip_unchanged: bool = False
    check_all: bool = False
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    progress: Progress = lambda _, __: None


@dataclass(slots=True)
class Result:
    """What a run made.  `snapshot` is None when nothing changed and that was not to be kept."""

    source: str
    snapshot: Snapshot | None
    counts: Counts
    new_blocks: int
    new_bytes: int
    seconds: float
    status: PinStatus | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)
    problem_count: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)


def backup(repository: Repository, source: Source, wishes: Wishes) -> Result:
    """Make one snapshot of one source.

    Raises StoreError when storing failed, UsageError when the source cannot be read at all, and
    KeyFailure when the agent may not sign here.  Files that cannot be saved are in `problems`.
    """
    agent = repository.agent
    check_agent(agent, repository.keyring)
    with repository.store.session():
        first = _Run(repository, source, wishes)
        try:
            return first.run()
        except Incomplete as error:
            # The cache, or the store, spoke of blocks that are gone (somebody unpinned and collected
            # them): once more, believing nothing but the files.
            repository.cache.forget(agent.source_id(source.name))
            again = _Run(repository, source, wishes, doubted=_doubted(error))
            again.replaces(first)
            return again.run()


def check_agent(agent: AgentKey, keyring: Keyring) -> None:
    """Raise KeyFailure unless this keyring lets this agent make snapshots."""
    listed = keyring.agent(agent.signer.public)
    if listed is None or listed.until:
        raise KeyFailure(f"agent {agent.name} is not allowed to sign for repository {agent.repository}")
    if agent.generation != keyring.generation:
        raise KeyFailure(
            f"agent {agent.name} has the key of generation {agent.generation}, the repository is at"
            f" {keyring.generation}; make it a new key with: pinfold key new-agent {agent.name}"
        )


def _doubted(error: Incomplete) -> Callable[[bytes], bool]:
    """Whether a block is put again whatever the store says of it."""
    missing = [CID.parse(str(one)) for one in error.missing]
    if len(missing) >= _MOST_MISSING or any(one.codec != RAW for one in missing):
        return lambda _: True  # there may be more than were told, and below a missing node nobody looked
    return frozenset(one.digest for one in missing).__contains__


class _Run:
    """One run; it is the sink that its source writes to."""

    def __init__(
        self, repository: Repository, source: Source, wishes: Wishes, doubted: Callable[[bytes], bool] | None = None
    ) -> None:
        self._repository = repository
        self._source = source
        self._wishes = wishes
        self._clock = repository.clock
        self._started: datetime = self._clock.now()
        self._began = self._clock.monotonic()
        self._last_checkpoint = self._began
        self._id = repository.agent.source_id(source.name)
        self._blocks = BlockSet()
        self._cache_run = repository.cache.begin(self._id)
        self._page_count = 0
        self._pinned_checkpoint: CID | None = None
        self._strays: list[CID] = []
        self._previous = catalogue.previous(
            repository.store, repository.agent.repository, self._id, repository.agent.signer.public.hex()
        )
        self._trusting = doubted is None
        self._uploader = Uploader(
            repository.store,
            repository.agent.sealer(padding=repository.keyring.repository.padding),
            repository.cache,
            check_all=wishes.check_all,
            doubted=doubted,
            believed=self._believed(),
        )
        self.problems: list[tuple[str, str]] = []
        self.problem_count = 0
        self.notes: list[tuple[str, str]] = []

    def replaces(self, other: _Run) -> None:
        """Take the place of another run, and of its checkpoint."""
        self._pinned_checkpoint = other._pinned_checkpoint

    def run(self) -> Result:
        """The page itself."""
        try:
            previous, old_tree = self._parent()
            outcome = self._source.run(self, previous)
            self._uploader.flush()
            unchanged = outcome.index is not None and old_tree == _packed(outcome.index)
            if unchanged and self._wishes.skip_unchanged and self._previous is not None and not self.problem_count:
                # Not made, but proved: pinning again what is pinned finds whatever is missing below it.
                status = self._repository.store.pin(self._previous.root, self._previous.header.pin_name)
                self._repository.cache.commit(self._id, "full", self._kept(outcome, str(self._previous.root)))
                return self._result(None, outcome, status)
            made, status = self._finish(outcome, "full")
            self._repository.cache.commit(self._id, "full", self._kept(outcome, str(made.root)))
            return self._result(made, outcome, status)
        finally:
            self._uploader.close()
            self._blocks.close()
            self._repository.cache.abandon(self._cache_run)

    def _believed(self) -> Callable[[bytes], bool] | None:
        """Which blocks a far store is believed to hold: what its pinned snapshot lists; the final pin proves it."""
        store = self._repository.store
        many = at_once(store)
        if many == 1:
            return None
        if self._previous is None or not self._trusting:
            return lambda _: False
        return digests.Listed(self._previous.blocks, self._previous.header.blocks_count, store.get, many)

    def _parent(self) -> tuple[Previous, bytes]:
        """The last index, from the cache if its snapshot is still pinned, else from the store."""
        cache, generation = self._repository.cache, self._repository.agent.generation
        if not self._trusting:
            return Previous(), b""
        pinned = {
            str(one.root)
            for one in catalogue.listed(self._repository.store, self._repository.agent.repository, self._id)
        }
        begun = cache.last(self._id, "checkpoint", generation)
        resume: Iterator[bytes] = iter(())
        if begun and begun.root in pinned:
            resume = cache.pages(begun)
            self._pinned_checkpoint = CID.parse(begun.root)
        # A run killed in the middle of a pin, or a change of keys, leaves some that the cache does not know.
        agent = self._repository.agent
        for root in catalogue.checkpoints(
            self._repository.store, agent.repository, self._id, agent.signer.public.hex()
        ):
            if self._pinned_checkpoint is None:
                self._pinned_checkpoint = root
            elif root != self._pinned_checkpoint:
                self._strays.append(root)
        kept = cache.last(self._id, "full", generation)
        if kept and kept.root in pinned:
            # Only the agent's newest snapshot can stand for one that is not made.
            newest = self._previous is not None and str(self._previous.root) == kept.root
            return Previous(cache.pages(kept), resume, kept.sparse), kept.tree if newest else b""
        if self._previous and self._previous.header.generation == generation:
            found = self._repository.pages(self._previous)
            if found is not None:
                return Previous(found[0], resume, found[1]), b""
        return Previous(iter(()), resume), b""

    def _finish(self, outcome: Outcome, kind: str) -> tuple[Snapshot, PinStatus]:
        """Manifest, header, folders, pin: in this order."""
        agent, keyring = self._repository.agent, self._keyring()
        emit = self._uploader.block
        manifest = snapshot.seal_manifest(self._manifest(outcome), agent, emit)
        folder = self._blocks.build(emit)
        before = self._previous
        header = Header(
            repository=agent.repository,
            source=self._id,
            agent=agent.signer.public.hex(),
            kind=kind,
            base=None,
            previous=str(before.id) if before else None,
            sequence=before.header.sequence + 1 if before else 0,
            started=rfc3339(self._started),
            finished=self._finished(),
            generation=agent.generation,
            manifest=str(manifest[0]),
            blocks_root=str(folder.root),
            blocks_count=folder.blocks,
            blocks_bytes=folder.total,
            new_blocks=self._uploader.new_blocks,
            new_bytes=self._uploader.new_bytes,
            interval=self._wishes.interval,
        )
        made = snapshot.build(header, agent, keyring, manifest, folder, emit)
        self._uploader.flush()
        status = self._repository.store.pin(made.root, header.pin_name, replaces=self._pinned_checkpoint)
        newer = self._keyring()
        while newer.sequence > made.keyring.sequence:
            # Somebody changed the keys meanwhile: what was taken away must not open this root.
            old = made.root
            made = snapshot.reroot(made, newer, self._repository.store.get, emit)
            self._uploader.flush()
            status = self._repository.store.pin(made.root, header.pin_name, replaces=old)
            newer = self._keyring()
        self._drop_strays()
        return made, status

    def _drop_strays(self) -> None:
        """Unpin checkpoints that nothing goes on from; what cannot be is left to a later run, or to retention."""
        try:
            if self._strays:
                self._repository.store.unpin(self._strays)
        except StoreError as error:
            self.note(b"", f"an older checkpoint stays pinned: {error}")
        self._strays = []

    def _keyring(self) -> Keyring:
        """The newest keyring, which must still let this agent sign.  Raises KeyFailure."""
        repository = self._repository
        keyring = catalogue.newest_keyring(repository.store, repository.agent.repository)
        check_agent(repository.agent, keyring)
        return keyring

    def _finished(self) -> str:
        """Now, or just behind the snapshot before, if the clock was set back: the newest must look newest."""
        now = self._clock.now()
        if self._previous is not None:
            before = datetime.fromisoformat(self._previous.header.finished)
            if now <= before:
                self.note(b"", f"the clock is behind the last snapshot's ({rfc3339(before)}); dated just behind that")
                now = before + timedelta(microseconds=1)
        return rfc3339(now)

    def _manifest(self, outcome: Outcome) -> Manifest:
        return Manifest(
            source=self._source.name,
            type=self._source.kind,
            host=self._wishes.host or socket.gethostname(),
            versions={"pinfold": __version__, "python": platform.python_version()},
            options=self._source.options(),
            streams=[],
            index=outcome.index,
            counts=asdict(outcome.counts),
            errors=[[path[:_LONGEST_TOLD], what[:_LONGEST_TOLD]] for path, what in self.problems],
            sparse=outcome.sparse[:_MOST_SPARSE],
            secret=self._repository.agent.secret_id(),
            tags=list(self._wishes.tags),
        )

    def _kept(self, outcome: Outcome, root: str) -> Kept:
        return Kept(
            self._cache_run,
            self._page_count,
            root,
            self._repository.agent.generation,
            _packed(outcome.index),
            frozenset(outcome.sparse),
        )

    def _result(self, made: Snapshot | None, outcome: Outcome, status: PinStatus | None) -> Result:
        return Result(
            self._source.name,
            made,
            outcome.counts,
            self._uploader.new_blocks,
            self._uploader.new_bytes,
            self._clock.monotonic() - self._began,
            status,
            self.problems,
            self.problem_count,
            self.notes,
        )

    # What the source sees of a run: sources.seam.Sink.

    def chunk(self, data: bytes, *, edges: Sequence[int] = (), check: bool = False) -> Future[Segments]:
        """Seal and store a chunk."""
        return self._uploader.chunk(data, edges=edges, check=check)

    def node(self, ref: Ref) -> bytes:
        """The plaintext of a node of refs stored earlier: from the cache, else if the key allows it."""
        plain = self._repository.cache.node(ref.digest)
        if plain is None:
            if self._repository.node is None:
                raise Missing(ref.cid, "the local cache, and an agent's key opens nothing")
            plain = self._repository.node(ref, self._repository.agent.generation)
        self.keep_node(ref, plain)
        return plain

    def keep_node(self, ref: Ref, plain: bytes) -> None:
        """Remember a node of refs for the next run."""
        self._repository.cache.add_node(self._cache_run, ref.digest, plain)

    def refer(self, ref: Ref) -> None:
        """The snapshot needs this block."""
        self._blocks.add(ref.digest, ref.size)

    def keep_page(self, page: bytes) -> None:
        """Remember an index page for the next run."""
        self._repository.cache.add_page(self._cache_run, self._page_count, page)
        self._page_count += 1

    def problem(self, path: bytes, what: str) -> None:
        """Something could not be saved."""
        self.problem_count += 1
        if len(self.problems) < MOST_ERRORS:
            self.problems.append((_shown(path), what))

    def note(self, path: bytes, what: str) -> None:
        """Something was left out as it should be."""
        if len(self.notes) < MOST_ERRORS:
            self.notes.append((_shown(path), what))

    def progress(self, current: bytes, counts: Counts) -> None:
        """How far the run has come."""
        self._wishes.progress(current, counts)

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._clock.monotonic() - self._last_checkpoint >= self._wishes.checkpoint_seconds

    def checkpoint(self, outcome: Outcome) -> None:
        """Pin what there is so far; it takes the place of the run's last checkpoint."""
        self._uploader.flush()
        made, _ = self._finish(outcome, "checkpoint")
        self._pinned_checkpoint = made.root
        self._repository.cache.commit(self._id, "checkpoint", self._kept(outcome, str(made.root)))
        self._last_checkpoint = self._clock.monotonic()


def _packed(tree: Tree | None) -> bytes:
    return b"" if tree is None else tree.root.packed + bytes((tree.depth,))


def _shown(path: bytes) -> str:
    return os.fsdecode(path).encode(errors="backslashreplace").decode() or "."
