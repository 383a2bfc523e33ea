"""Stores: places that hold blocks and pins, all behind one face (seam.py)."""

from pinfold.store.faulty import Fault, Faulty
from pinfold.store.folder import FolderStore
from pinfold.store.layers import Counting, ReadOnly, Retry, power
from pinfold.store.memory import MemoryStore
from pinfold.store.mirror import Mirror
from pinfold.store.plain import PlainFolder
from pinfold.store.seam import (
    Block,
    ChecksAtRest,
    Collected,
    Collects,
    CopyStatus,
    Far,
    Fetches,
    HasCopies,
    Heals,
    Pin,
    PinState,
    PinStatus,
    Store,
    Usage,
)

__all__ = [
    "Block",
    "ChecksAtRest",
    "Collected",
    "Collects",
    "CopyStatus",
    "Counting",
    "Far",
    "Fault",
    "Faulty",
    "Fetches",
    "FolderStore",
    "HasCopies",
    "Heals",
    "MemoryStore",
    "Mirror",
    "Pin",
    "PinState",
    "PinStatus",
    "PlainFolder",
    "ReadOnly",
    "Retry",
    "Store",
    "Usage",
    "power",
]
