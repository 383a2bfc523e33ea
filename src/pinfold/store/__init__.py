"""Stores: places that hold blocks and pins, all behind one face (seam.py)."""

from pinfold.store.folder import FolderStore
from pinfold.store.memory import MemoryStore
from pinfold.store.seam import (
    Block,
    ChecksAtRest,
    Collected,
    Collects,
    CopyStatus,
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
    "FolderStore",
    "Heals",
    "MemoryStore",
    "Pin",
    "PinState",
    "PinStatus",
    "Store",
    "Usage",
]
