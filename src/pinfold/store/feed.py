"""One stream of blocks into several stores at once, each on a thread of its own, in bounded memory."""

from __future__ import annotations

import threading
from queue import Queue
from typing import TYPE_CHECKING, Final

from pinfold.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pinfold.store.seam import Block, Store

_BATCH: Final = 1 << 20
_MOST: Final = 1024
_WAITING: Final = 8


class _BrokenOffError(Exception):
    """The stream ended early.  No error of stores, so they pass it through untouched."""


class Feed:
    """A put under way into one store.  A store that fails lets the rest of the stream run past it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.new = 0
        self.error: BaseException | None = None
        self._queue: Queue[list[Block] | bool] = Queue(_WAITING)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="pinfold-mirror", daemon=True)
        self._thread.start()

    def offer(self, batch: list[Block]) -> None:
        """Hand over blocks; waits while the store is behind."""
        self._queue.put(batch)

    def end(self, *, whole: bool) -> None:
        """End the stream, or break it off, and wait for the store."""
        self._queue.put(whole)
        self._thread.join()

    def _run(self) -> None:
        try:
            self.new = self.store.put(self._blocks())
        except _BrokenOffError:
            return
        except BaseException as error:  # noqa: BLE001 (whoever waits at the other side of the thread raises it)
            self.error = error
        while not self._ended:  # or `offer` would wait for ever
            self._ended = isinstance(self._queue.get(), bool)

    def _blocks(self) -> Iterator[Block]:
        while True:
            item = self._queue.get()
            if isinstance(item, bool):
                self._ended = True
                if item:
                    return
                raise _BrokenOffError
            yield from item


def put_to_all(stores: list[Store], blocks: Iterable[Block]) -> list[Feed]:
    """Put `blocks` into every store; the feeds tell how each fared.  Errors of `blocks` pass through."""
    feeds = [Feed(store) for store in stores]
    whole = False
    try:
        for batch in _batches(blocks):
            for feed in feeds:
                feed.offer(batch)
        whole = True
    finally:
        for feed in feeds:
            feed.end(whole=whole)
    for feed in feeds:
        if feed.error is not None and not isinstance(feed.error, StoreError):
            raise feed.error
    return feeds


def _batches(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    batch: list[Block] = []
    size = 0
    for block in blocks:
        batch.append(block)
        size += len(block[1])
        if size >= _BATCH or len(batch) == _MOST:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
