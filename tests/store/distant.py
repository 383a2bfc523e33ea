"""A store that is far away, without a clock: it answers when as many blocks as can be are asked for at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pinfold.store.layers import Layer

if TYPE_CHECKING:
    from pinfold.ipld import CID
    from pinfold.store import Store

AT_ONCE = 64
# Seconds without company: large blocks come in crowds, small ones are often asked for one by one.
_ALONE, _ALONE_LARGE = 0.05, 2.0
_LARGE = 1 << 14


class Distant(Layer):
    """Holds every answer back until so many are asked for, or no more comes; `most` were under way at once."""

    def __init__(self, store: Store, at_once: int = AT_ONCE) -> None:
        """`at_once`: how many it says it bears, and waits for."""
        super().__init__(store)
        self.at_once = at_once
        self.asked: list[CID] = []
        self.most = 0
        self._under_way = 0
        self._news = threading.Condition()

    def get(self, cid: CID) -> bytes:
        """The block, once there is company; when there was enough of it, at once."""
        block = super().get(cid)
        patience = _ALONE_LARGE if len(block) > _LARGE else _ALONE
        with self._news:
            self.asked.append(cid)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self._news.notify_all()
            count = -1
            while self.most < self.at_once and count != len(self.asked):
                count = len(self.asked)
                self._news.wait(patience)
            self._under_way -= 1
        return block
