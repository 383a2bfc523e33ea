"""Pins of a node, and their names.

Kubo can name a pin only while it reads everything below it again, leaves too; `pin/update` reads only what
differs from another pin, but takes over that one's name.  So a root of more than NAMED_BYTES is pinned as
`pinfold`, and its name stands on a second pin, of the root's block alone, as a raw one: its *twin*, whose
CID has the same hash.  Where there is a twin its name counts.  Renaming never touches the pin of the root:
Kubo drops a pin before it walks for the new one.

Crash rule: a root is pinned before it is named, and loses its name before its pin.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from pinfold.errors import Unavailable
from pinfold.ipld.cid import CID, DAG_PB, RAW, SHA2_256
from pinfold.store.kubo.rpc import LONGEST, PATIENCE, Denied, NotHere, NotPinned, cid_of, fields
from pinfold.store.seam import Pin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinfold.store.kubo.rpc import Rpc

PASSING: Final = "pinfold-passing/"
KEPT: Final = "pinfold"
# What Kubo walks in a tenth of a second when it is warm, and in a few when it is not.
NAMED_BYTES: Final = 256 << 20
# Seconds in which a walk meets no further block: it waits for one to come from the network.
STALL: Final = 60.0
_TOGETHER: Final = 100
_ATTEMPTS: Final = 5


def twin(root: CID) -> CID | None:
    """The CID on which the name of `root` stands, None for one that has none."""
    return CID.raw(root.digest) if root.codec != RAW and root.hash_code == SHA2_256 else None


class Pins:
    """The pin list of one node.  Safe from any thread."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._no_update = False

    def own(self, root: CID) -> str | None:
        """The name of the pin of exactly this CID, None where it has no recursive pin."""
        query = [("arg", str(root)), ("type", "recursive"), ("names", "true")]
        try:
            keys = self._keys(self._rpc.json("pin/ls", query))
        except NotPinned:
            return None
        return keys.get(root)

    def all(self) -> dict[CID, str]:
        """Every recursive pin, by CID: its own name.

        Asked for in one piece: a stream that breaks off cannot be told from one that ended.
        """
        query = [("type", "recursive"), ("names", "true")]
        return self._keys(self._rpc.json("pin/ls", query, within=PATIENCE))

    def listed(self, prefix: str = "") -> list[Pin]:
        """Roots whose names start with `prefix`, by name, then by root; passing pins and nameless ones left out."""
        own = self.all()
        named: list[Pin] = []
        for cid, name in own.items():
            other = twin(cid)
            shown = name if other is None else own.get(other) or name
            if shown and shown.startswith(prefix) and not shown.startswith(PASSING) and not _is_twin(cid, own):
                named.append(Pin(cid, shown))
        return sorted(named, key=lambda pin: (pin.name, pin.root))

    def add(self, root: CID, name: str) -> None:
        """Pin `root` under a name of its own; Kubo reads everything below it.  Raises NotHere, Unavailable."""
        query = [("arg", str(root)), ("name", name), ("progress", "true")]
        pinned, since = False, time.monotonic()
        met: object = 0
        for line in self._rpc.lines("pin/add", query, timeout=PATIENCE, within=LONGEST):
            pinned = pinned or bool(line.get("Pins"))
            if line.get("Progress") != met:
                met, since = line.get("Progress"), time.monotonic()
            elif time.monotonic() > since + STALL:
                raise NotHere(f"{self._rpc.url} waits for a block that it does not hold")
        if not pinned:
            raise Unavailable(f"{self._rpc.url} broke off in the middle of an answer (pin/add)")

    def update(self, base: CID, root: CID) -> bool:
        """Pin `root` by what differs from `base`, under its name; False where the token may not.  Raises as `add`."""
        if self._no_update:
            return False
        query = [("arg", str(base)), ("arg", str(root)), ("unpin", "false")]
        try:
            self._rpc.json("pin/update", query, timeout=PATIENCE)
        except Denied:
            self._no_update = True
            return False
        return True

    def remove(self, roots: Iterable[CID], *, name_last: bool = False) -> None:
        """Drop the pins of these roots, with their names; those that are not pinned are passed over.

        The name goes first, for left alone it would be taken for a root; `name_last`: where it is a passing
        one, by which what is left can be told.  Raises Denied, Unavailable.
        """
        wanted = list(dict.fromkeys(roots))
        for attempt in range(1, _ATTEMPTS + 1):
            own = self.all() if wanted else {}
            there = [root for root in wanted if root in own and not _is_twin(root, own)]
            pairs = ((root, twin(root)) if name_last else (twin(root), root) for root in there)
            gone = [cid for pair in pairs for cid in pair if cid is not None and cid in own]
            try:
                for start in range(0, len(gone), _TOGETHER):
                    some = gone[start : start + _TOGETHER]
                    self._rpc.json("pin/rm", [("arg", str(cid)) for cid in some], timeout=PATIENCE)
            except NotPinned as error:
                if attempt == _ATTEMPTS:
                    raise Unavailable(f"somebody else unpins at the same time: {error}") from error
            else:
                return

    def _keys(self, answer: Any) -> dict[CID, str]:  # noqa: ANN401  # JSON is anything
        where = self._rpc.url
        keys = fields(answer, where).get("Keys") or {}
        found: dict[CID, str] = {}
        for text, pin in fields(keys, where).items():
            name = fields(pin, where).get("Name") or ""
            found[cid_of(text, where)] = name if isinstance(name, str) else ""
        return found


def _is_twin(cid: CID, own: dict[CID, str]) -> bool:
    """Whether a pin is only there to carry the name of another."""
    if cid.codec != RAW or cid.hash_code != SHA2_256:
        return False
    return any(CID(version, DAG_PB, SHA2_256, cid.digest) in own for version in (1, 0))
