"""What one attempt to fetch a DAG may take, and the word that it must end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from pinfold.errors import PinfoldError

if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds between two looks for others who wait: each asks the database.
_LOOK: Final = 5.0


class Unfit(PinfoldError):
    """A DAG that will never be pinned here, however often it is tried: too large, too deep, or no DAG."""


class Unreached(PinfoldError):
    """Blocks that could not be had now; another attempt may get them."""


class Yielded(Unreached):
    """An attempt that ended because others wait for a worker; it goes on from there at its next turn."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one attempt: bytes and blocks fetched, links from the root, seconds.  Of a request: days until given up.

    `turn`: seconds after which an attempt ends when another tenant waits and has no worker.
    """

    pin_bytes: int = 1 << 40
    pin_blocks: int = 20_000_000
    depth: int = 256
    seconds: float = 24 * 3600.0
    days: float = 14.0
    turn: float = 60.0


@dataclass(slots=True)
class Budget:
    """Counts one attempt; safe from any thread."""

    limits: Limits
    stop: Event
    others_wait: Callable[[], bool] = bool
    fetched_bytes: int = 0
    fetched_blocks: int = 0
    _until: float = 0.0
    _look: float = 0.0
    _yielded: bool = False
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.limits.seconds
        self._look = time.monotonic() + self.limits.turn

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
        """Raises Unreached when time is over or the service stops, Yielded when others have waited for a turn."""
        if self.stop.is_set():
            raise Unreached("the service stops; it goes on from here at its next start")
        if time.monotonic() > self._until:
            raise Unreached(f"not done within {self.limits.seconds:g} seconds; the next attempt goes on from here")
        if self._is_over():
            raise Yielded("others wait; the next turn goes on from here")

    def _is_over(self) -> bool:
        with self._lock:
            if self._yielded or time.monotonic() < self._look:
                return self._yielded
            self._look = time.monotonic() + _LOOK
        if self.others_wait():
            self._yielded = True
        return self._yielded
