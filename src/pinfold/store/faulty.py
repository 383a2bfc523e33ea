"""A layer that breaks on purpose, by plan: what tests of crash and damage stand on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from pinfold.errors import Missing
from pinfold.store.layers import Layer
from pinfold.store.seam import CopyStatus, PinState, PinStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pinfold.ipld.cid import CID
    from pinfold.store.seam import Block, Pin, Store, Usage


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong when `method` is called for the `calls`-th times (from 1; empty: every time).

    `error` is raised; by a put only after `after` blocks went through to the store below.
    `flip`: get answers with this bit of the block turned over.  `missing`: get raises Missing.
    `lie`: has answers that all is there; pin that it is pinned, and does nothing.
    """

    method: str
    calls: frozenset[int] = frozenset()
    error: BaseException | None = None
    after: int = 0
    flip: int | None = None
    missing: bool = False
    lie: bool = False


class Faulty(Layer):
    """Passes everything on except where a fault of its plan says otherwise."""

    def __init__(self, store: Store, *faults: Fault) -> None:
        """`faults`: the first that fits a call is taken."""
        super().__init__(store)
        self.faults = faults
        self.calls: Counter[str] = Counter()
        self._lock = Lock()

    def _fault(self, method: str) -> Fault | None:
        """The fault of this call; raises what it says, save for put."""
        with self._lock:
            self.calls[method] += 1
            number = self.calls[method]
        for fault in self.faults:
            if fault.method == method and (not fault.calls or number in fault.calls):
                if fault.error is not None and method != "put":
                    raise fault.error
                return fault
        return None

    def put(self, blocks: Iterable[Block]) -> int:
        """Put, torn after so many blocks if planned."""
        fault = self._fault("put")
        if fault is None or fault.error is None:
            return self._store.put(blocks)
        return self._store.put(_torn(blocks, fault.after, fault.error))

    def get(self, cid: CID) -> bytes:
        """Get, flipped or missing if planned."""
        fault = self._fault("get")
        if fault is not None and fault.missing:
            raise Missing(cid, self.name)
        block = self._store.get(cid)
        if fault is None or fault.flip is None:
            return block
        broken = bytearray(block)
        broken[fault.flip // 8 % len(broken)] ^= 1 << fault.flip % 8
        return bytes(broken)

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Ask, or lie if planned."""
        fault = self._fault("has")
        return set(cids) if fault is not None and fault.lie else self._store.has(cids)

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        """Pin, or lie if planned."""
        fault = self._fault("pin")
        if fault is not None and fault.lie:
            return PinStatus(root, (CopyStatus(self.name, PinState.PINNED),))
        return self._store.pin(root, name, replaces=replaces)

    def unpin(self, roots: Iterable[CID]) -> None:
        """Unpin, unless planned otherwise."""
        self._fault("unpin")
        self._store.unpin(roots)

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """List, unless planned otherwise."""
        self._fault("pins")
        return self._store.pins(prefix)

    def status(self, root: CID) -> PinStatus:
        """Ask, unless planned otherwise."""
        self._fault("status")
        return self._store.status(root)

    def usage(self) -> Usage:
        """Ask, unless planned otherwise."""
        self._fault("usage")
        return self._store.usage()


def _torn(blocks: Iterable[Block], after: int, error: BaseException) -> Iterator[Block]:
    for number, block in enumerate(blocks):
        if number == after:
            raise error
        yield block
    raise error
