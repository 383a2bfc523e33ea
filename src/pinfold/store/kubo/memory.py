"""What a session knows of blocks without asking again, in bounded memory."""

from __future__ import annotations

from enum import IntEnum
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# 20 MB.  When it is full, all is forgotten and asked anew.
_MOST: Final = 1 << 17


class Known(IntEnum):
    """How a block stands."""

    ABSENT = 0
    SEEN = 1
    """There when it was asked for; somebody else's pin may be what keeps it."""
    HELD = 2
    """There, and below a pin of this session."""


class Memory:
    """Blocks by digest, while a session runs; nothing is remembered outside.  Safe from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[bytes, Known] = {}
        self._unheld: set[bytes] = set()
        self._sessions = 0

    @property
    def active(self) -> bool:
        """Whether a session runs."""
        return self._sessions > 0

    def enter(self) -> None:
        """A session begins."""
        with self._lock:
            self._sessions += 1

    def leave(self) -> bool:
        """A session ends; returns whether it was the last, and all is forgotten."""
        with self._lock:
            self._sessions -= 1
            if self._sessions:
                return False
            self._known.clear()
            self._unheld.clear()
            return True

    def of(self, digest: bytes) -> Known | None:
        """How a block stands, None where nobody knows."""
        return self._known.get(digest)

    def answered(self, asked: Iterable[bytes], there: set[bytes]) -> None:
        """Remember an answer of the node."""
        with self._lock:
            if not self._sessions:
                return
            for digest in asked:
                if digest not in there:
                    self._learn(digest, Known.ABSENT)
                elif self._known.get(digest) is not Known.HELD:
                    self._learn(digest, Known.SEEN)
                    self._unheld.add(digest)

    def hold(self, digests: Iterable[bytes]) -> None:
        """A pin of this session holds these."""
        with self._lock:
            if not self._sessions:
                return
            for digest in digests:
                self._learn(digest, Known.HELD)
                self._unheld.discard(digest)

    def forget(self, digests: Iterable[bytes]) -> None:
        """What was known of these proved wrong."""
        with self._lock:
            for digest in digests:
                self._known.pop(digest, None)
                self._unheld.discard(digest)

    def forget_all(self) -> None:
        """Nothing that was known can be relied on."""
        with self._lock:
            self._known.clear()
            self._unheld.clear()

    def unheld(self, least: int = 1, most: int = 1 << 30) -> list[bytes]:
        """At most `most` blocks that were seen and are not held; none where there are fewer than `least`."""
        with self._lock:
            if len(self._unheld) < least:
                return []
            return sorted(self._unheld)[:most]

    def _learn(self, digest: bytes, state: Known) -> None:
        if len(self._known) >= _MOST:
            self._known.clear()
            self._unheld.clear()
        self._known[digest] = state
