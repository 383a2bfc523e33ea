"""The smallest true store: blocks and pins in memory.  For tests, and for DAGs made in passing."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pinfold.clock import SystemClock, rfc3339
from pinfold.errors import Corrupt, Missing, Refused
from pinfold.ipld.cid import CID, IDENTITY, RAW, SHA2_256
from pinfold.ipld.walk import links
from pinfold.store.prove import prove
from pinfold.store.seam import Block, Collected, CopyStatus, Pin, PinState, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pinfold.clock import Clock


class MemoryStore:
    """A store in a dictionary, keyed by sha2-256 digest.  One lock guards all of it."""

    def __init__(self, name: str = "memory", clock: Clock | None = None) -> None:
        """`name`: how status answers call this copy."""
        self._name = name
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._blocks: dict[bytes, bytes] = {}
        self._pins: dict[CID, tuple[str, str]] = {}
        self._sessions: dict[int, set[bytes]] = {}
        self._entered = 0

    @property
    def name(self) -> str:
        """As given."""
        return self._name

    @contextmanager
    def session(self) -> Iterator[None]:
        """Guard what is put or seen until left."""
        with self._lock:
            self._entered += 1
            mine = self._entered
            self._sessions[mine] = set()
        try:
            yield
        finally:
            with self._lock:
                del self._sessions[mine]

    def put(self, blocks: Iterable[Block]) -> int:
        """Store blocks.  Raises Refused for hash functions other than sha2-256 and identity."""
        new = 0
        for cid, block in blocks:
            if cid.hash_code == IDENTITY:
                continue
            if cid.hash_code != SHA2_256:
                raise Refused(f"{self._name} keeps sha2-256 blocks only, not {cid}")
            with self._lock:
                self._hold(cid.digest)
                if cid.digest not in self._blocks:
                    self._blocks[cid.digest] = bytes(block)
                    new += len(block)
        return new

    def get(self, cid: CID) -> bytes:
        """The block.  Raises Missing or Corrupt."""
        if cid.hash_code == IDENTITY:
            return cid.digest
        block = self._blocks.get(cid.digest) if cid.hash_code == SHA2_256 else None
        if block is None:
            raise Missing(cid, self._name)
        cid.verify(block, self._name)
        return block

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that are stored."""
        with self._lock:
            found = {cid for cid in cids if self._present(cid)}
            for cid in found:
                self._hold(cid.digest)
        return found

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Keep everything below `root`.  Raises Incomplete, Corrupt, Refused."""
        with self._lock:
            base = replaces if replaces in self._pins else None
            prove(root, self.get, lambda cids: {cid for cid in cids if self._present(cid)}, base)
            if replaces is not None and replaces != root:
                self._pins.pop(replaces, None)
            self._pins[root] = (name, rfc3339(self._clock.now()))
            return self.status(root)

    def unpin(self, roots: Iterable[CID]) -> None:
        """Drop pins."""
        with self._lock:
            for root in roots:
                self._pins.pop(root, None)

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """Pins by name, then by root."""
        with self._lock:
            found = [Pin(root, name) for root, (name, _) in self._pins.items() if name.startswith(prefix)]
        return iter(sorted(found, key=lambda pin: (pin.name, pin.root)))

    def status(self, root: CID) -> PinStatus:
        """One copy: here or absent."""
        held = self._pins.get(root)
        if held is None:
            return PinStatus(root, (CopyStatus(self._name, PinState.ABSENT),))
        return PinStatus(root, (CopyStatus(self._name, PinState.PINNED, held[1]),))

    def usage(self) -> Usage:
        """Bytes of all blocks."""
        with self._lock:
            return Usage(sum(map(len, self._blocks.values())))

    def collect(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> Collected:
        """Free what no pin reaches and no session holds.  Raises Missing or Corrupt below a pin."""
        with self._lock:
            live = self._marked()
            held = set().union(*self._sessions.values()) - live
            dead = [digest for digest in self._blocks if digest not in live and digest not in held]
            freed = sum(len(self._blocks[digest]) for digest in dead)
            result = Collected(
                freed_blocks=len(dead),
                freed_bytes=freed,
                live_blocks=len(live),
                live_bytes=sum(len(self._blocks[digest]) for digest in live),
                waiting_bytes=sum(len(self._blocks[digest]) for digest in held if digest in self._blocks),
            )
            if not dry_run:
                for digest in dead:
                    del self._blocks[digest]
            if progress is not None:
                progress(len(dead), len(dead))
            return result

    def check(self, progress: Callable[[int, int], None] | None = None) -> Iterator[tuple[str, str]]:
        """Yield what does not hash to its name."""
        with self._lock:
            everything = list(self._blocks.items())
        for done, (digest, block) in enumerate(everything, 1):
            cid = CID.raw(digest)
            try:
                cid.verify(block, self._name)
            except Corrupt as error:
                yield str(cid), str(error)
            if progress is not None:
                progress(done, len(everything))

    def replace(self, block: Block) -> None:
        """Take this copy instead of the one that is there.  Raises Corrupt if it is bad itself."""
        cid, data = block
        cid.verify(data)
        with self._lock:
            self._blocks[cid.digest] = bytes(data)

    def close(self) -> None:
        """Nothing to let go of."""

    def _present(self, cid: CID) -> bool:
        return cid.hash_code == IDENTITY or (cid.hash_code == SHA2_256 and cid.digest in self._blocks)

    def _hold(self, digest: bytes) -> None:
        for held in self._sessions.values():
            held.add(digest)

    def _marked(self) -> set[bytes]:
        live: set[bytes] = set()
        nodes: set[bytes] = set()
        stack = list(self._pins)
        while stack:
            cid = stack.pop()
            if cid.hash_code != IDENTITY:
                live.add(cid.digest)
            if cid.codec != RAW and bytes(cid) not in nodes:
                nodes.add(bytes(cid))
                stack.extend(links(cid, self.get(cid)))
        return live & self._blocks.keys()
