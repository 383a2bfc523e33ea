"""How many peers keep a pin, and how many of them must prove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinfold.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from pinfold.store.address import Address

EVERYWHERE = -1


@dataclass(frozen=True, slots=True)
class Factors:
    """`least`: peers that must prove a pin; `most`: peers that keep it.  EVERYWHERE stands for all there are."""

    least: int = EVERYWHERE
    most: int = EVERYWHERE

    @classmethod
    def of(cls, address: Address) -> Factors:
        """What `min` and `max` of an address ask for.  Raises UsageError."""
        least, most = address.whole("min", EVERYWHERE), address.whole("max", EVERYWHERE)
        if least == EVERYWHERE and most != EVERYWHERE:
            least = most
        if 0 in {least, most} or (most != EVERYWHERE and least > most):
            raise UsageError(
                f"{address.name}: min={least} and max={most} make no sense: 1 <= min <= max, or -1 for all"
            )
        return cls(least, most)

    def query(self, least: int) -> list[tuple[str, str]]:
        """As Cluster is told, which makes no pin for fewer than `least` peers; all peers are told as -1 and -1."""
        lowest = EVERYWHERE if self.most == EVERYWHERE else min(least, self.most)
        return [("replication-min", str(lowest)), ("replication-max", str(self.most))]

    def needed(self, known: int) -> int:
        """How many must prove a pin in a cluster of `known` peers."""
        return max(known, 1) if self.least == EVERYWHERE else self.least


def room(free: Collection[int], copies: int) -> int:
    """Bytes that fit if each is kept by `copies` different places with so much free; EVERYWHERE is by all.

    The most x with sum(min(x, one)) >= copies * x: of the largest places some are filled by x alone.
    """
    if not free:
        return 0
    ordered = sorted(free, reverse=True)
    wanted = len(ordered) if copies == EVERYWHERE else min(copies, len(ordered))
    return min(sum(ordered[alone:]) // (wanted - alone) for alone in range(wanted))
