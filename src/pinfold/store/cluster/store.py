"""A cluster of Kubo nodes as a store.

Blocks go in as CARs, each under a passing pin until the pin of a snapshot covers them; passing pins that
were left behind by a run that died end by themselves (`expire-in`, by the cluster's own clock: no other
clock is ever compared with it).  A pin is proved twice: here, by asking the Kubos behind the cluster for every
block below its root, and by each peer, whose Kubo walks the DAG.

Crash rule: a CAR's blocks are on disk at its peers when `put` returns; the pin is ordered after them.
"""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pinfold.errors import Missing, Refused, StoreError, Unavailable
from pinfold.ipld.cid import IDENTITY, SHA2_256
from pinfold.store.cluster import cars
from pinfold.store.cluster.collection import Collection
from pinfold.store.cluster.endpoints import Endpoints
from pinfold.store.cluster.factors import Factors, room
from pinfold.store.cluster.peers import Peers
from pinfold.store.cluster.pinning import PASSING, Pinning
from pinfold.store.cluster.proof import Proof
from pinfold.store.cluster.reading import Reading, ways
from pinfold.store.cluster.sent import Sent
from pinfold.store.crew import Crew
from pinfold.store.seam import Pin, PinState, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pinfold.ipld.cid import CID
    from pinfold.seal.secret import Secret
    from pinfold.store.address import Address
    from pinfold.store.client import Client
    from pinfold.store.cluster.answers import Allocation
    from pinfold.store.seam import Block, Collected, PinStatus

WAIT_SECONDS: Final = 120.0
_SEND_SECONDS: Final = 60.0
_PASSING_LIFE: Final = "48h"
_AT_ONCE: Final = 16
# Slashes in the name of a snapshot's pin. Whoever makes a snapshot tells of its copies; of other pins nobody does.
_OF_SNAPSHOTS: Final = 4


class ClusterStore:
    """IPFS Cluster by its REST interface.  Makes no network call until it is asked for something."""

    def __init__(
        self,
        address: Address,
        *,
        authorization: Secret | None = None,
        ca_file: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`authorization`: the header's value; `sleep` takes seconds.  Raises UsageError."""
        self._name = address.name
        self._factors = Factors.of(address)
        wait = max(address.seconds("wait", WAIT_SECONDS), 0.0)
        self._wait = wait
        self._crew = Crew(_AT_ONCE, "pinfold-cluster")
        self._endpoints = Endpoints(address.urls, authorization=authorization, ca_file=ca_file)
        assumed = not {"kubo", "gateway"} & {option for option, value in address.options.items() if value}
        self._reading = Reading(ways(address, authorization, ca_file), self._crew, self._name, assumed=assumed)
        self._peers = Peers(self._endpoints, self._factors, self._name, sleep)
        self._pinning = Pinning(
            self._endpoints, self._peers, self._factors, crew=self._crew, wait=wait, name=self._name, sleep=sleep
        )
        self._sent = Sent()
        self._proof = Proof(self._reading, self._peers, self._sent, self._crew)
        self._lock = threading.Lock()
        self._sessions = 0
        self._told: list[str] = []

    @property
    def name(self) -> str:
        """The address, without its options."""
        return self._name

    @property
    def warnings(self) -> list[str]:
        """What there is to tell that is no error."""
        silent = [f"{url} did not answer: a pin that no other peer knows is not listed" for url in self._pinning.silent]
        return [*self._told, *silent]

    @property
    def at_once(self) -> int:
        """How many reads should be under way at the same time."""
        return 2 * _AT_ONCE

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keep what is put pinned in passing.  A session that fails leaves it so, for the next run to go on from."""
        with self._lock:
            self._sessions += 1
        try:
            yield
        except BaseException:
            with self._lock:
                self._sessions -= 1
            raise
        with self._lock:
            self._sessions -= 1
            last = self._sessions == 0
        if last:
            self._let_go(self._sent.passing())

    def put(self, blocks: Iterable[Block]) -> int:
        """Send what the cluster does not hold, CAR by CAR.  Raises Refused, Unavailable, Full.

        Where nothing can be read, which is of use beside other stores, `warnings` say so.
        """
        if not self._reading.ways and self._reading.none not in self._told:
            self._told.append(self._reading.none)
        new = 0
        for batch in cars.batches(self._taken(blocks)):
            there = self.has(cid for cid, _ in batch)
            fresh = [(cid, block) for cid, block in batch if cid not in there]
            if fresh:
                self._send(cars.listed(fresh, f"{PASSING[:-1]}-{secrets.token_hex(8)}"))
                self._sent.add(cid for cid, _ in fresh)
                new += sum(len(block) for _, block in fresh)
        return new

    def get(self, cid: CID) -> bytes:
        """The block, from a Kubo behind the cluster.  Raises Missing, Corrupt, Unavailable, Refused, UsageError."""
        try:
            return self._reading.get(cid)
        except Missing:
            if cid.hash_code != SHA2_256 or not self._proof.partial():
                raise
        return self._reading.get(cid, search=True)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that the Kubos asked hold; where none can be asked, those that this store has sent."""
        if self._reading.ways:
            return self._reading.has(cids)
        return {cid for cid in cids if cid.hash_code == IDENTITY or (cid.hash_code == SHA2_256 and cid in self._sent)}

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Order the pin and wait for enough peers to prove it.

        Raises Incomplete, Corrupt or Refused for what cannot be pinned, Unavailable where no peer proves it in time.
        """
        passing = self._sent.passing() if self._sessions <= 1 else ()
        before = self._pinning.find(root)
        replaced = self._pinning.find(replaces) if replaces is not None and replaces != root else None
        proved = replaced is not None and self._pinning.status(replaced.cid).pinned > 0
        self._proof.prove(root, replaced.cid if replaced is not None and proved else None)
        base = None if before is not None else replaced or self._newest(name)
        status = self._pinning.settle(self._pinning.order(root, name, base))
        if status.pinned == 0:
            self._give_up(root, status, before)
        if status.short and name.count("/") < _OF_SNAPSHOTS:
            self._warn(status)
        if replaced is not None:
            self._replace(replaced)
        self._let_go(passing)
        return status

    def unpin(self, roots: Iterable[CID]) -> None:
        """Drop pins, many at once.  Raises StoreError."""
        self._pinning.drop(roots)

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """What the cluster wants pinned, by name, then by root.  Raises StoreError."""
        found = [Pin(pin.cid, pin.name) for pin in self._pinning.all() if pin.name.startswith(prefix)]
        return iter(sorted(found, key=lambda pin: (pin.name, pin.root)))

    def status(self, root: CID) -> PinStatus:
        """What each peer says.  Raises StoreError."""
        return self._pinning.status(root)

    def usage(self) -> Usage:
        """Bytes in the fullest Kubo that can be asked; and what still fits, kept by as many peers as are wanted."""
        used = self._reading.used()
        free = self._peers.rooms()
        if used is None:
            used = self._sent.size
        return Usage(used, used + room(free.values(), self._factors.most) if free else None)

    def collect(self, *, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> Collected:
        """Let every peer's Kubo collect; see `Collection`.  Raises StoreError, Refused for a dry run."""
        self._sent.forget()
        collection = Collection(self._endpoints, self._pinning, self._reading, wait=self._wait, name=self._name)
        done, told = collection.run(dry_run=dry_run)
        self._told += told
        if progress is not None:
            progress(done.freed_blocks, done.freed_blocks)
        return done

    def close(self) -> None:
        """Let go of connections and threads.  Idempotent."""
        self._crew.close()
        self._endpoints.close()
        self._reading.close()

    def _taken(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for cid, block in blocks:
            if cid.hash_code == IDENTITY:
                continue
            if cid.hash_code != SHA2_256:
                raise Refused(f"{self._name} is given sha2-256 blocks only, not {cid}")
            yield cid, block

    def _send(self, batch: cars.Batch) -> None:
        """One CAR; its passing pin is known before it is sent, so that it is dropped even if no answer comes."""
        least = self._peers.least(self._wait)
        query = [
            ("format", "car"),
            ("stream-channels", "false"),
            ("name", f"{PASSING}{batch.root}"),
            ("expire-in", _PASSING_LIFE),
            *self._factors.query(least),
        ]
        boundary = secrets.token_hex(16)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        self._sent.begin(batch.root, batch.size)

        def send(client: Client) -> object:
            return client.json(
                "POST", "/add", query, body=cars.body(batch, boundary), headers=headers, timeout=_SEND_SECONDS
            )

        told = self._endpoints.attempt(send)
        one = told[0] if isinstance(told, list) and len(told) == 1 else None
        if not isinstance(one, dict) or (one.get("cid"), one.get("bytes")) != (str(batch.root), batch.size):
            raise Unavailable(f"{self._name} did not take a CAR of {batch.size} bytes whole: it answered {one!r:.200}")

    def _newest(self, name: str) -> Allocation | None:
        """The last snapshot of the same source: it shares most with the next."""
        if name.count("/") < 2:
            return None
        prefix = f"{name.rsplit('/', 2)[0]}/"
        return max(
            (pin for pin in self._pinning.all() if pin.name.startswith(prefix)), key=lambda pin: pin.name, default=None
        )

    def _give_up(self, root: CID, status: PinStatus, before: Allocation | None) -> None:
        """Nobody proves the pin: it goes, unless it was there before.  Raises Incomplete, Unavailable."""
        if before is None:
            self._pinning.drop([root])
        self._sent.forget()
        self._proof.prove(root)
        raise Unavailable(f"no peer of {self._name} proved the pin of {root}: {_reasons(status)}")

    def _warn(self, status: PinStatus) -> None:
        line = f"{status.root} is on {status.pinned} of {status.due} peers of {self._name}: {_reasons(status)}"
        self._told.append(line)

    def _replace(self, old: Allocation) -> None:
        """Drop a pin that another took the place of.  Whoever may not unpin leaves it to those who may."""
        try:
            self._pinning.drop([old.cid])
        except Refused as error:
            self._told.append(f"{self._name} keeps {old.name}, which was replaced: {error}")

    def _let_go(self, passing: Iterable[CID]) -> None:
        """Drop passing pins.  Those that cannot be dropped end by themselves."""
        done = tuple(passing)
        try:
            self._pinning.drop(done)
        except StoreError as error:
            self._told.append(f"{self._name} keeps {len(done)} passing pins for {_PASSING_LIFE}: {error}")
        self._sent.end(done)


def _reasons(status: PinStatus) -> str:
    lacking = [copy for copy in status.copies if copy.state is not PinState.PINNED]
    return "; ".join(f"{copy.where.rpartition(' ')[2]} {copy.state}: {copy.detail}" for copy in lacking[:20])
