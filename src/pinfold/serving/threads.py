"""Threads that doors run on: few, counted, and never waited for when the process ends.

Not concurrent.futures: its threads are joined at exit, so that one question to a store that hangs would keep a
stopped server alive; and a job costs it two futures and a lock where one future does.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_Job = tuple["asyncio.AbstractEventLoop", "asyncio.Future[object]", "Callable[[], object]"]


class Threads:
    """At most `most` threads, started as they are needed; jobs beyond wait in line."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._started = 0
        self._unfinished = 0

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns or raises, done on a thread.

        Must be called on the event loop.  Whoever is cancelled while waiting leaves the work running, and its result
        is dropped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()
        self._unfinished += 1
        if self._unfinished > self._started and self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._jobs.put((loop, future, work))
        try:
            return await future  # type: ignore[return-value]  # the queue holds jobs of all types
        finally:
            self._unfinished -= 1

    def close(self) -> None:
        """Let every thread end after the job it is at."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, work = job
            try:
                result, error = work(), None
            except BaseException as raised:  # noqa: BLE001  # handed to whoever waits for it
                result, error = None, raised
            try:
                loop.call_soon_threadsafe(_settle, future, result, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            del job, future, work, result, error  # a waiting thread holds no piece of the last answer


def _settle(future: asyncio.Future[object], result: object, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # which no future takes
        future.set_exception(RuntimeError("a door raised StopIteration"))
    else:
        future.set_exception(error)
