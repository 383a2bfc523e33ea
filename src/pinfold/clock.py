"""The one place that asks what time it is and draws random bytes, so tests can inject both."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time and chance as the rest of the program sees them."""

    def now(self) -> datetime:
        """The current moment, UTC, with microseconds."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def random(self, size: int) -> bytes:
        """`size` bytes nobody can guess."""


class SystemClock:
    """The machine's own clock and entropy."""

    def now(self) -> datetime:
        """The current moment, UTC, with microseconds."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        return time.monotonic()

    def random(self, size: int) -> bytes:
        """`size` bytes from the operating system's generator."""
        return os.urandom(size)


def rfc3339(moment: datetime) -> str:
    """`moment` as pinfold writes every time: UTC, microseconds, a trailing Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
