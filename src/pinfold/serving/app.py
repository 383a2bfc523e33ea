"""The ASGI application: requests to doors, doors' answers to clients, every end of it told to whoever observes.

One coroutine for each request; doors and their iterators run on threads.  Nothing here knows of sockets.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pinfold.door import BadRequest, Request
from pinfold.serving import asking, failing
from pinfold.serving.answering import Answer, Cut
from pinfold.serving.asking import Gone
from pinfold.serving.pieces import Pieces
from pinfold.serving.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from pinfold.serving.answering import Send
    from pinfold.serving.asking import Receive, Scope
    from pinfold.serving.limits import Limits
    from pinfold.serving.routes import Route, Routes

    Application = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]

_OWN_THREADS: Final = 4
_CLOSED: Final = 499  # no answer reached the client; nginx made this number usual in logs


@dataclass(slots=True)
class Outcome:
    """How a request ended.

    `status`: what was answered, 499 if the client left before; `sent`: bytes of the body; `seconds`: till its last
    piece was handed on; `cut`: why the answer is not whole, empty if it is; `error`: what went wrong in the door;
    `more`: what the door adds for the log.
    """

    client: str
    method: str
    path: str
    door: str = "none"
    status: int = _CLOSED
    sent: int = 0
    seconds: float = 0.0
    cut: str = ""
    error: Exception | None = None
    more: Mapping[str, str | int] = field(default_factory=dict)


class App:
    """Serves doors within limits.  Its methods are called on the event loop; `running` may be read anywhere."""

    def __init__(self, limits: Limits, observers: Sequence[Callable[[Outcome], None]]) -> None:
        """`observers` are called for each request when it has ended, on the event loop: they must be quick."""
        self.limits = limits
        self.running = 0
        self.stopping = False
        self._observers = observers
        self._threads = Threads(limits.threads, "door")
        self._own = Threads(_OWN_THREADS, "own")
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    def on(self, routes: Routes) -> Application:
        """The ASGI application of one address."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await self._serve(scope, receive, send, routes)

        return serve

    def cut(self) -> int:
        """Break off every request that is under way; returns how many."""
        tasks = [task for task in self._tasks if not task.done()]
        for task in tasks:
            task.cancel()
        return len(tasks)

    async def close(self, seconds: float) -> None:
        """Let iterators clean up, for so long at most, and threads end."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=seconds)
        self._threads.close()
        self._own.close()

    async def _serve(self, scope: Scope, receive: Receive, send: Send, routes: Routes) -> None:
        began = time.monotonic()
        outcome = Outcome(scope["client"][0], scope["method"], scope["raw_path"].decode("latin-1"))
        answer = Answer(send, receive, self.limits.stall)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # granian runs each request as a task
        self._tasks.add(task)
        try:
            await self._exchange(scope, receive, answer, routes, outcome)
        except Gone:
            outcome.cut = "the client went away"
            raise
        except Cut as cut:
            outcome.cut = str(cut)
            raise
        except asyncio.CancelledError:
            outcome.cut = "the server was stopped"
            raise
        except Exception as error:
            outcome.cut, outcome.error = "the door failed", error
            raise
        finally:
            self._tasks.discard(task)
            outcome.status, outcome.sent = answer.status or _CLOSED, answer.sent
            outcome.seconds = time.monotonic() - began
            self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        for observe in self._observers:
            try:
                observe(outcome)
            except Exception as error:  # noqa: BLE001  # granian would swallow it
                told = {"message": "a request could not be logged or counted", "exception": error}
                asyncio.get_running_loop().call_exception_handler(told)

    async def _exchange(self, scope: Scope, receive: Receive, answer: Answer, routes: Routes, outcome: Outcome) -> None:
        """Answer one request; an error that comes before anything was sent becomes an answer too."""
        request = Request(outcome.method, "/")
        try:
            request = asking.head(scope, self.limits)
            outcome.path = request.path
            route = routes.find(request.path)
            outcome.door = route.name
            await self._through(route, request, receive, answer, outcome)
        except (Gone, Cut):
            raise
        except Exception as error:
            if answer.status:
                raise
            if not isinstance(error, BadRequest):
                outcome.error = error
            response, body = failing.answer(error)
            await answer.whole(request, response, body)

    async def _through(
        self, route: Route, request: Request, receive: Receive, answer: Answer, outcome: Outcome
    ) -> None:
        if route.own:
            await self._ask(route, self._own, request, receive, answer, outcome)
            return
        if self.running >= self.limits.requests:
            raise BadRequest(503, "too many requests at once; try again")
        self.running += 1
        try:
            await self._ask(route, self._threads, request, receive, answer, outcome)
        finally:
            self.running -= 1

    async def _ask(
        self, route: Route, threads: Threads, request: Request, receive: Receive, answer: Answer, outcome: Outcome
    ) -> None:
        body = await asking.body(request, receive, self.limits)
        if body:
            request = replace(request, body=body)
        response = await threads.run(lambda: route.door(request))
        outcome.more = response.log
        if isinstance(response.body, bytes):
            await answer.whole(request, response, response.body)
            return
        pieces = Pieces(response.body)
        try:
            await answer.streamed(request, response, pieces, threads)
        finally:
            self._close_soon(threads, pieces)

    def _close_soon(self, threads: Threads, pieces: Pieces) -> None:
        """Close an iterator on a thread, even if this request is being cancelled."""
        task = asyncio.create_task(threads.run(pieces.close))
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled():
            task.exception()  # what clean-up raises was raised for somebody who has left
