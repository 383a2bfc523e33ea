"""Is every block below a root in the cluster?  Asked of the Kubos behind it, before any peer is told to pin.

Without this a pin that lacks a block would hang: each Kubo looks for it as long as it is let.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from pinfold.errors import Corrupt, Missing
from pinfold.store.cluster.together import together
from pinfold.store.prove import batches, prove

if TYPE_CHECKING:
    from pinfold.ipld.cid import CID
    from pinfold.store.cluster.peers import Peers
    from pinfold.store.cluster.reading import Reading
    from pinfold.store.cluster.sent import Sent
    from pinfold.store.crew import Crew

# Of the blocks sent by this process, so many in each question are read back: a cluster that lies is found out.
_SAMPLE: Final = 8
# Blocks that no Kubo asked holds itself are looked for so many at a time, until so many were looked for in vain.
_SEARCHED: Final = 16


class Proof:
    """Proves roots of one store.  Safe from any thread."""

    def __init__(self, reading: Reading, peers: Peers, sent: Sent, crew: Crew) -> None:
        """`sent`: blocks that are believed to be there; `crew`: by whom many questions are asked at once."""
        self._reading = reading
        self._peers = peers
        self._sent = sent
        self._crew = crew

    def prove(self, root: CID, proved: CID | None = None) -> None:
        """Return if every block below `root` is there; see `store.prove`.  No question where nobody can be asked.

        Raises Incomplete, Corrupt, Refused, Unavailable.
        """
        if not self._reading.ways:
            return
        partial = self.partial()

        def held(cid: CID) -> bytes:
            return self._reading.get(cid, search=partial, sure=False)

        def present(cids: list[CID]) -> set[CID]:
            there = self._believed(cids, search=partial)
            there |= self._reading.has(cid for cid in cids if cid not in there)
            return there | self._searched([cid for cid in cids if cid not in there]) if partial else there

        prove(root, held, present, proved)

    def partial(self) -> bool:
        """Whether there are more peers than Kubos that can be asked: those must then ask each other."""
        return len(self._reading.ways) < len(self._peers.members())

    def _believed(self, cids: list[CID], *, search: bool) -> set[CID]:
        """Those that were sent, unless one of a sample cannot be read back."""
        known = sorted({cid for cid in cids if cid in self._sent})
        sample = random.sample(known, min(_SAMPLE, len(known)))
        return (
            set(known) if all(together(self._crew, lambda cid: self._readable(cid, search=search), sample)) else set()
        )

    def _searched(self, cids: list[CID]) -> set[CID]:
        found: set[CID] = set()
        for batch in batches(cids, _SEARCHED):
            good = together(self._crew, lambda cid: self._readable(cid, search=True), batch)
            there = {cid for cid, readable in zip(batch, good, strict=True) if readable}
            if not there:
                break
            found |= there
        return found

    def _readable(self, cid: CID, *, search: bool) -> bool:
        try:
            self._reading.get(cid, search=search, sure=False)
        except (Missing, Corrupt):
            return False
        return True
