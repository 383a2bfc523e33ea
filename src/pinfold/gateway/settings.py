"""What an operator may choose about the gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one gateway.

    `trustless_only`: answer blocks, CARs and IPNS records only, never a file or a page.
    `records`: a folder of signed IPNS records, each named NAME.ipns-record; None: no name is known.
    `refused`: multihashes that are answered with 410 wherever they stand in a path (a deny list).
    `page`: entries on one page of a folder.
    `remembered`: CIDs that all CARs without duplicates may remember together, 21 to 43 bytes each.
    `held_bytes`: what all answers together may hold of blocks fetched ahead of their readers.
    """

    trustless_only: bool = False
    records: Path | None = None
    refused: frozenset[bytes] = frozenset()
    page: int = 1000
    remembered: int = 2_000_000
    held_bytes: int = 64 << 20
