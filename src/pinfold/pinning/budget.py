"""What one attempt to fetch a DAG may take, and the word that it must end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event, Lock

from pinfold.errors import PinfoldError


class Unfit(PinfoldError):
    """A DAG that will never be pinned here, however often it is tried: too large, too deep, or no DAG."""


class Unreached(PinfoldError):
    """Blocks that could not be had now; another attempt may get them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one attempt: bytes and blocks fetched, links from the root, seconds.  Of a request: days until given up."""

    pin_bytes: int = 1 << 40
    pin_blocks: int = 20_000_000
    depth: int = 256
    seconds: float = 24 * 3600.0
    days: float = 14.0


@dataclass(slots=True)
class Budget:
    """Counts one attempt; safe from any thread."""

    limits: Limits
    stop: Event
    fetched_bytes: int = 0
    fetched_blocks: int = 0
    _until: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.limits.seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return max(self._until - time.monotonic(), 0.1)

    def spend(self, size: int) -> None:
        """Count one block.  Raises Unfit beyond the limits, Unreached when time is over or the service stops."""
        self.check()
        with self._lock:
            self.fetched_bytes += size
            self.fetched_blocks += 1
            if self.fetched_bytes > self.limits.pin_bytes:
                raise Unfit(f"more than the {self.limits.pin_bytes} bytes that a pin may have here")
            if self.fetched_blocks > self.limits.pin_blocks:
                raise Unfit(f"more than the {self.limits.pin_blocks} blocks that a pin may have here")

    def check(self) -> None:
        """Raises Unreached when time is over or the service stops."""
        if self.stop.is_set():
            raise Unreached("the service stops; it goes on from here at its next start")
        if time.monotonic() > self._until:
            raise Unreached(f"not done within {self.limits.seconds:g} seconds; the next attempt goes on from here")
