"""What several stores tell, as one: statuses of pins, usage, collected garbage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinfold.store.seam import Collected, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.ipld.cid import CID


def merged(root: CID, told: Sequence[PinStatus], stores: int) -> PinStatus:
    """One status of a pin that `stores` of those that `told` shall hold, each as safe as it must be by itself.

    A copy that one store has beyond what it must have does not stand in for one that another store lacks: such
    copies count as wanted, too.
    """
    copies = tuple(copy for status in told for copy in status.copies)
    pinned = sum(status.pinned for status in told)
    lacks = sorted(max(1, status.due - status.pinned) for status in told if status.short or not status.pinned)
    short = max(0, stores - (len(told) - len(lacks)))
    return PinStatus(root, copies, pinned + sum(lacks[:short]))


def fullest(usages: Sequence[Usage]) -> Usage:
    """Most used, least room."""
    rooms = [usage.capacity - usage.used for usage in usages if usage.capacity is not None]
    used = max(usage.used for usage in usages)
    return Usage(used, used + min(rooms) if rooms else None)


def collected(each: Sequence[Collected]) -> Collected:
    """The sums."""
    return Collected(
        sum(one.freed_blocks for one in each),
        sum(one.freed_bytes for one in each),
        sum(one.live_blocks for one in each),
        sum(one.live_bytes for one in each),
        sum(one.waiting_bytes for one in each),
    )
