"""A store that never holds its askers for long: for doors, whose threads are few.

A far store that does not answer is asked no more until it answers the question of health again; whoever waits for it
just then is let go.  What is asked runs on threads of its own, so a hanging answer costs one of those.
"""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as LateError
from typing import TYPE_CHECKING, Final, TypeVar

from pinfold.errors import Unavailable
from pinfold.store.crew import Crew
from pinfold.store.layers import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pinfold.ipld.cid import CID
    from pinfold.serving.health import Health
    from pinfold.store.seam import Store

_T = TypeVar("_T")
# 32 doors and 64 blocks fetched ahead, and as many that hang from before.
_MOST: Final = 192
_DOUBTFUL: Final = 1.0
_LOOK: Final = 0.25


class Guarded(Layer):
    """Answers `get` and `has`, or raises Unavailable: at once while `health` is bad, else after `patience` seconds."""

    def __init__(self, store: Store, health: Health, patience: float) -> None:
        super().__init__(store)
        self._health = health
        self._patience = patience
        self._crew = Crew(_MOST, "pinfold-guarded")

    def get(self, cid: CID) -> bytes:
        """As the store below, in time."""
        return self._in_time(lambda: self._store.get(cid))

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """As the store below, in time."""
        asked = list(cids)
        return self._in_time(lambda: self._store.has(asked))

    def close(self) -> None:
        """Let everybody go; the store below stays open."""
        self._crew.close()

    def _in_time(self, ask: Callable[[], _T]) -> _T:
        self._check()
        until = time.monotonic() + self._patience
        future = self._crew.submit(ask)
        wait = _DOUBTFUL
        while True:
            try:
                return future.result(wait)
            except LateError:
                self._health.doubt()
                self._check()
                if time.monotonic() > until:
                    raise Unavailable(f"{self.name} has not answered for {self._patience:g} seconds") from None
                wait = _LOOK
            except Unavailable:
                self._health.doubt()
                raise

    def _check(self) -> None:
        if reason := self._health.known():
            raise Unavailable(f"{self.name} is not asked: {reason}")
