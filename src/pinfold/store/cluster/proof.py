"""Is every block below a root in the cluster?  Asked of the Kubos behind it, before any peer is told to pin.

Without this a pin that lacks a block would hang: each Kubo looks for it as long as it is let.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from pinfold.errors import Corrupt, Missing
from pinfold.store.prove import batches, prove

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pinfold.ipld.cid import CID
    from pinfold.store.cluster.peers import Peers
    from pinfold.store.cluster.reading import Reading
    from pinfold.store.cluster.sent import Sent

# Of the blocks sent by this process, so many in each question are read back: a cluster that lies is found out.
_SAMPLE: Final = 8
# Blocks that no Kubo asked holds itself are looked for so many at a time, until so many were looked for in vain.
_SEARCHED: Final = 16


class Proof:
    """Proves roots of one store.  Safe from any thread."""

    def __init__(self, reading: Reading, peers: Peers, sent: Sent, pool: Executor) -> None:
        """`sent`: blocks that are believed to be there; `pool`: where many questions are asked at once."""
        self._reading = reading
        self._peers = peers
        self._sent = sent
        self._pool = pool

    def prove(self, root: CID, proved: CID | None = None) -> None:
        """Return if every block below `root` is there; see `store.prove`.  No question where nobody can be asked.

        Raises Incomplete, Corrupt, Refused, Unavailable.
        """
        if not self._reading.ways:
            return
        # Whoever can ask fewer Kubos than there are peers must let them ask each other.
        partial = len(self._reading.ways) < len(self._peers.members())

        def held(cid: CID) -> bytes:
            return self._reading.get(cid, search=partial)

        def present(cids: list[CID]) -> set[CID]:
            there = self._believed(cids)
            there |= self._reading.has(cid for cid in cids if cid not in there)
            return there | self._searched([cid for cid in cids if cid not in there]) if partial else there

        prove(root, held, present, proved)

    def _believed(self, cids: list[CID]) -> set[CID]:
        """Those that were sent, unless one of a sample cannot be read back."""
        known = sorted({cid for cid in cids if cid in self._sent})
        sample = random.sample(known, min(_SAMPLE, len(known)))
        return set(known) if all(self._pool.map(self._readable, sample)) else set()

    def _searched(self, cids: list[CID]) -> set[CID]:
        found: set[CID] = set()
        for batch in batches(cids, _SEARCHED):
            there = {cid for cid, good in zip(batch, self._pool.map(self._readable, batch), strict=True) if good}
            if not there:
                break
            found |= there
        return found

    def _readable(self, cid: CID) -> bool:
        try:
            self._reading.get(cid)
        except (Missing, Corrupt):
            return False
        return True
