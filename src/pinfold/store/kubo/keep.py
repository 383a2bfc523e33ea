"""Pinning in a node: proved before, by Kubo while it pins, and looked at again afterwards."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pinfold.errors import Corrupt, Incomplete, Missing, Unavailable
from pinfold.ipld.cid import CID
from pinfold.store.kubo.memory import Known
from pinfold.store.kubo.pins import KEPT, NAMED_BYTES, twin
from pinfold.store.kubo.proof import Proof
from pinfold.store.kubo.rpc import NotHere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import ThreadPoolExecutor

    from pinfold.store.kubo.memory import Memory
    from pinfold.store.kubo.pins import Pins
    from pinfold.store.kubo.presence import Presence


class Keeper:
    """Pins roots in one node.  Safe from any thread."""

    def __init__(
        self,
        where: str,
        pins: Pins,
        presence: Presence,
        memory: Memory,
        get: Callable[[CID], bytes],
        passing: Callable[[], Iterable[CID]],
        pool: ThreadPoolExecutor,
    ) -> None:
        """`get` reads a checked block; `passing` tells the passing pins of this store's sessions."""
        self._passing = passing
        self._where = where
        self._pins = pins
        self._presence = presence
        self._memory = memory
        self._get = get
        self._pool = pool

    def keep(self, root: CID, name: str, replaces: CID | None) -> None:
        """Pin `root`, see KuboStore.pin.  Raises Incomplete, Corrupt, Refused, Unavailable."""
        own = self._pins.all()
        if not own.keys() >= set(self._passing()):
            self._memory.forget_all()  # somebody dropped the pins by which we know what is there
        bases = _bases(root, name, replaces, own)
        base = bases[0] if bases else None
        proof = self._prove(root, base)
        try:
            if root not in own:
                self._pin(root, name, proof.size, [base for base in bases if own[base] == KEPT])
            self._name(root, name)
        except (NotHere, Unavailable) as error:
            self._memory.forget_all()
            self._prove(root, base)  # which tells what is missing
            if isinstance(error, NotHere):
                self._prove(root, None)  # below the base, then
            raise Unavailable(f"{self._where} did not pin {root}: {error}") from error
        self._look_back(root, proof)

    def _prove(self, root: CID, base: CID | None) -> Proof:
        proof = Proof(root, self._get, self._lacking, self._pool, random.SystemRandom())
        try:
            proof.walk(base)
        except Incomplete as error:
            self._memory.forget(CID.parse(str(cid)).digest for cid in error.missing)
            raise
        return proof

    def _lacking(self, leaves: list[CID]) -> list[CID]:
        """Which of these are not there; only what a pin of this session holds is not asked for again."""
        loose = {cid.digest for cid in leaves if self._memory.of(cid.digest) is not Known.HELD}
        gone = loose - self._presence.ask(loose)
        return [cid for cid in leaves if cid.digest in gone]

    def _pin(self, root: CID, name: str, size: int, bases: list[CID]) -> None:
        if size <= NAMED_BYTES:
            self._pins.add(root, name)
        elif not bases or not self._pins.update(bases[0], root):
            self._pins.add(root, KEPT)

    def _name(self, root: CID, name: str) -> None:
        """Give a pinned root its name, and see that both stand."""
        other = twin(root)
        own = self._pins.own(root)
        if own is not None and other is None and own != name:
            self._pins.add(root, name)
            own = self._pins.own(root)
        if own is not None and other is not None:
            second = self._pins.own(other)
            if (second or own) != name:
                self._pins.add(other, name)
                second = self._pins.own(other)
            own = second or own
        if own != name:
            raise Unavailable(f"{self._where} says that it pinned {root}, and does not list it so")

    def _look_back(self, root: CID, proof: Proof) -> None:
        """Read the root and a sample again."""
        wanted = list(dict.fromkeys([root, *proof.sample]))
        gone = [cid for cid, there in zip(wanted, self._pool.map(self._is_whole, wanted), strict=True) if not there]
        if gone:
            self._memory.forget(cid.digest for cid in gone)
            raise Incomplete(root, gone)

    def _is_whole(self, cid: CID) -> bool:
        try:
            self._get(cid)
        except (Missing, Corrupt):
            return False
        return True


def _bases(root: CID, name: str, replaces: CID | None, own: dict[CID, str]) -> list[CID]:
    """Pinned roots that may share most of their blocks with `root`, the likeliest first.

    After the one that is replaced come those of the same source, the newest first: names are
    pinfold/REPOSITORY/SOURCE/KIND/FINISHED.
    """
    source = "/".join(name.split("/")[:3]) + "/"
    found: list[tuple[str, CID]] = []
    for cid, direct in own.items():
        other = twin(cid)
        known = (own.get(other) or direct) if other is not None else ""
        if known.startswith(source) and cid != root:
            found.append((known.rpartition("/")[2], cid))
    newest = [cid for _, cid in sorted(found, reverse=True)]
    first = [replaces] if replaces is not None and replaces in own and replaces != root else []
    return list(dict.fromkeys([*first, *newest]))
