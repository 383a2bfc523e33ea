"""A Kubo node as a store, over its RPC.  See the modules beside it for how each duty is done."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pinfold.clock import SystemClock
from pinfold.errors import Corrupt, Missing, Refused, StoreError, Unavailable, UsageError
from pinfold.ipld.cid import CID, IDENTITY, SHA2_256
from pinfold.store.client import Client
from pinfold.store.kubo.collect import Collection
from pinfold.store.kubo.keep import Keeper
from pinfold.store.kubo.memory import Memory
from pinfold.store.kubo.pins import Pins
from pinfold.store.kubo.presence import Presence
from pinfold.store.kubo.rpc import AT_ONCE, CONNECTIONS, LONGEST, Broken, Denied, NotHere, Rpc, fields, whole
from pinfold.store.kubo.upload import SEEN_AT_ONCE, Upload
from pinfold.store.seam import CopyStatus, PinState, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pinfold.clock import Clock
    from pinfold.seal.secret import Secret
    from pinfold.store.address import Address
    from pinfold.store.seam import Block, Collected, Pin

# Kubo takes blocks of any size when told to; nothing larger than this is ours.
MAX_BLOCK: Final = 8 << 20
_ABSENT: Final = (404, 412)
_CORRUPT: Final = re.compile(r"block (\S+) was corrupt.*")


class KuboStore:
    """One node.  Nothing is asked of it before the first call."""

    def __init__(
        self,
        address: Address,
        *,
        authorization: Secret | None = None,
        ca_file: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`address` may have two options.  Raises UsageError.

        `network`: seconds in which a block that is not local is looked for elsewhere, 0 for never;
        `gateway`: the URL where blocks are read instead of over the RPC.
        """
        if len(address.urls) != 1:
            raise UsageError(f"{address.name}: a Kubo store is one node; give others as mirrors")
        self._name = address.name
        self._network = address.seconds("network", 0)
        self._clock = clock or SystemClock()
        self._rpc = Rpc(address.urls[0], authorization=authorization, ca_file=ca_file)
        gateway = address.options.get("gateway")
        self._gateway = Client(gateway, ca_file=ca_file, connections=CONNECTIONS) if gateway else None
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pinfold-kubo")
        self._memory = Memory()
        self._pins = Pins(self._rpc)
        self._presence = Presence(self._rpc, self._memory, self._pool)
        self._upload = Upload(self._rpc, self._memory, self._presence, self._clock)
        self._keeper = Keeper(
            self._name, self._pins, self._presence, self._memory, self.get, self._upload.passing, self._pool
        )
        self._checked = self._failed = False
        self.warnings: list[str] = []

    @property
    def name(self) -> str:
        """Its address."""
        return self._name

    @property
    def at_once(self) -> int:
        """How many blocks should be asked for together."""
        return AT_ONCE

    @contextmanager
    def session(self) -> Iterator[None]:
        """Guard what is put or seen until left.

        What was put is pinned in passing before `put` returns.  What `has` saw is pinned in passing together
        with others; what somebody else unpins and collects before that makes the final pin raise Incomplete.
        After a session that failed the passing pins stay: the next one goes on from there.
        """
        self._memory.enter()
        try:
            yield
        except BaseException:
            self._failed = True
            raise
        finally:
            if self._memory.leave():
                passing, failed, self._failed = self._upload.finished(), self._failed, False
                if passing and not failed:
                    self._let_go(passing, "passing pins stay until the next `pinfold gc`", name_last=True)

    def put(self, blocks: Iterable[Block]) -> int:
        """Store blocks, in CARs of at most 16 MiB, two at a time.  Raises Full, Refused, Unavailable."""
        self._check_version()
        return self._upload.put(blocks)

    def get(self, cid: CID) -> bytes:
        """The block.  Raises Missing or Corrupt, and Unavailable."""
        if cid.hash_code == IDENTITY:
            return cid.digest
        if cid.hash_code != SHA2_256:
            raise Missing(cid, self._name)
        block = self._local(cid)
        if block is None and self._network > 0:
            block = self._elsewhere(cid)
        if block is None:
            raise Missing(cid, self._name)
        cid.verify(block, self._name)
        return block

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that the node holds itself."""
        found = self._presence.has(cids)
        if self._memory.active:
            self._upload.hold_seen(SEEN_AT_ONCE)
        return found

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Keep `root` and everything below it.

        First it is proved that every block is there: the difference to a pinned root is walked from here, so
        a missing block is an answer where Kubo would wait for the network.  Then Kubo pins it, which walks
        likewise while no collection can run, and is asked whether it did.  At last the root and up to 16
        blocks drawn by chance are read back and hashed: a node that only says so is caught.
        Raises Incomplete, Corrupt, Refused, Unavailable.
        """
        self._check_version()
        self._keeper.keep(root, name, replaces)
        if replaces is not None and replaces != root:
            self._let_go([replaces], "pins that were replaced stay until retention drops them")
        return self.status(root)

    def unpin(self, roots: Iterable[CID]) -> None:
        """Drop pins, many at once.  Raises Refused where the token may not."""
        self._pins.remove(roots)

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """Pins that have a name, by name, then by root."""
        self._check_version()
        return iter(self._pins.listed(prefix))

    def status(self, root: CID) -> PinStatus:
        """One copy: here or absent.  Kubo does not tell since when."""
        state = PinState.ABSENT if self._pins.own(root) is None else PinState.PINNED
        return PinStatus(root, (CopyStatus(self._name, state),))

    def usage(self) -> Usage:
        """Bytes of the node's repository; its StorageMax."""
        told = fields(self._rpc.json("repo/stat", [("size-only", "true")]), self._name)
        return Usage(whole(told.get("RepoSize"), self._name), whole(told.get("StorageMax"), self._name) or None)

    def collect(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> Collected:
        """Drop passing pins older than a day, then free what no pin reaches.  Raises Refused, Missing, Unavailable."""
        self._upload.hold_seen()
        return Collection(self._rpc, self._pins, self.get, self._pool, self._clock).run(
            dry_run=dry_run, progress=progress
        )

    def check(self, progress: Callable[[int, int], None] | None = None) -> Iterator[tuple[str, str]]:
        """Let the node hash every block it holds, and yield those that are damaged."""
        total = whole(fields(self._rpc.json("repo/stat"), self._name).get("NumObjects"), self._name)
        for line in self._rpc.lines("repo/verify", within=LONGEST):
            done, told = line.get("Progress"), line.get("Msg")
            found = _CORRUPT.match(told) if isinstance(told, str) else None
            if found is not None:
                yield found[1], found[0][:300]
            if progress is not None and isinstance(done, int) and done:
                progress(done, max(total, done))

    def replace(self, block: Block) -> None:
        """Write a good copy over a damaged one.

        A running node remembers which blocks it has, and writes none of these; then this raises Refused, and
        a restart of the node helps.  Raises Corrupt for a copy that is bad itself.
        """
        cid, data = block
        cid.verify(data)
        self._memory.forget([cid.digest])
        query = [("cid-codec", "raw"), ("mhtype", "sha2-256"), ("pin", "false"), ("allow-big-block", "true")]
        list(self._rpc.send("block/put", query, [data]))
        try:
            healed = self._local(cid) == data
        except Corrupt:
            healed = False
        if not healed:
            raise Refused(
                f"{self._name} takes its damaged copy of {cid} for whole and keeps it: restart that node and try again"
            )

    def close(self) -> None:
        """Let go of threads and connections."""
        self._pool.shutdown(cancel_futures=True)
        self._rpc.close()
        if self._gateway is not None:
            self._gateway.close()

    def _check_version(self) -> None:
        if not self._checked:
            self._rpc.check_version()
            self._checked = True

    def _local(self, cid: CID) -> bytes | None:
        if self._gateway is not None:
            headers = {"Cache-Control": "only-if-cached", "Accept": "application/vnd.ipld.raw"}
            path = f"/ipfs/{cid}"
            with self._gateway.open(
                "GET", path, [("format", "raw")], headers=headers, accept=(200, *_ABSENT)
            ) as answer:
                body = answer.read(MAX_BLOCK)
                return None if answer.status in _ABSENT else body
        try:
            return self._rpc.raw("block/get", [("arg", str(cid)), ("offline", "true")], most=MAX_BLOCK)
        except Broken as error:
            raise Corrupt(cid, self._name) from error
        except NotHere:
            return None

    def _elsewhere(self, cid: CID) -> bytes | None:
        """A block that Kubo finds in the network in time."""
        seconds = self._network
        query = [("arg", str(cid)), ("timeout", f"{seconds:g}s")]
        try:
            return self._rpc.raw("block/get", query, most=MAX_BLOCK, timeout=seconds + 5)
        except (NotHere, Unavailable):
            return None

    def _let_go(self, roots: list[CID], otherwise: str, *, name_last: bool = False) -> None:
        """Drop pins that nobody needs; a token that may not, as an agent's need not, leaves them to whoever may."""
        try:
            self._pins.remove(roots, name_last=name_last)
        except Denied:
            return
        except StoreError as error:
            line = f"{otherwise}: {error}"
            if line not in self.warnings:
                self.warnings.append(line)
