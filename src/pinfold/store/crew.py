"""Threads that wait for answers from afar.

Unlike those of an executor they never hold a program back that wants to end: a server may leave a
request without an answer for as long as its time allows.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, InvalidStateError
from queue import SimpleQueue
from threading import Lock, Semaphore, Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pinfold.allocator import share_buffers
from pinfold.store.layers import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    Task = tuple[Future[Any], Callable[[], Any]]

_T = TypeVar("_T")
_END: Final = None
_FEW: Final = 8


class Crew:
    """Runs tasks, at most so many at once.  Safe from any thread."""

    def __init__(self, most: int, name: str) -> None:
        """`most`: threads, begun as they are needed; `name`: what they are called."""
        if most > _FEW:
            share_buffers()
        self._most = most
        self._name = name
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._idle = Semaphore(0)
        self._lock = Lock()
        self._threads: list[Thread] = []
        self._open: set[Future[Any]] = set()
        self._closed = False

    def submit(self, task: Callable[..., _T], *values: object) -> Future[_T]:
        """Run `task(*values)` soon.  After `close` the future fails at once."""
        future: Future[_T] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(Unreachable("stopped"))
                return future
            self._open.add(future)
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                thread = Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._tasks.put((future, lambda: task(*values)))
        return future

    def close(self, *, wait: bool = False) -> None:
        """Begin no more; whoever waits for a task gets Unavailable.  Idempotent.  `wait`: until nothing runs."""
        with self._lock:
            left, self._open = self._open, set()
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._tasks.put(_END)
        for future in left:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(Unreachable("stopped"))
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not _END:
            future, run = task
            try:
                if not self._closed and not future.cancelled():
                    self._run(future, run)
            finally:
                with self._lock:
                    self._open.discard(future)
                # No thread keeps the last block alive while it waits for the next.
                del future, run, task
                self._idle.release()

    def _run(self, future: Future[Any], run: Callable[[], Any]) -> None:
        try:
            result = run()
        except BaseException as error:  # noqa: BLE001  # raised again where the result is asked for
            with contextlib.suppress(InvalidStateError):
                future.set_exception(error)
        else:
            with contextlib.suppress(InvalidStateError):
                future.set_result(result)
