"""What a server says about itself: alive, ready, and what it is."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from pinfold.door import BadRequest, Response, text
from pinfold.errors import PinfoldError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinfold.door import Door, Request

_NEVER_CACHED: Final = ("Cache-Control", "no-store")
_READING: Final = ("GET", "HEAD")


def reading(door: Door) -> Door:
    """The door for GET and HEAD only: 405 for all else."""

    def serve(request: Request) -> Response:
        if request.method not in _READING:
            return text(405, f"{request.method} is not possible here", ("Allow", "GET, HEAD"), _NEVER_CACHED)
        return door(request)

    return serve


def alive(request: Request) -> Response:
    """/healthz: 200 as long as the process can answer at all."""
    del request
    return text(200, "alive", _NEVER_CACHED)


class Readiness:
    """/readyz: 200 while what stands behind the server answers and nobody has asked the server to stop.

    `check` returns if all is well and raises PinfoldError if not.  It is asked at most every `seconds`, by one thread
    however many ask; whoever waits for it gets 503 after `patience`, also where a hanging store holds that thread.
    """

    def __init__(
        self, check: Callable[[], None], stopping: Callable[[], bool], seconds: float = 3.0, patience: float = 5.0
    ) -> None:
        self._check = check
        self._stopping = stopping
        self._seconds = seconds
        self._patience = patience
        self._changed = threading.Condition()
        self._asking = False
        self._asked = float("-inf")
        self._reason = ""

    def door(self, request: Request) -> Response:
        """Answer with the reason where it is not ready."""
        del request
        reason = "stopping" if self._stopping() else self._found()
        return text(503, f"not ready: {reason}", _NEVER_CACHED) if reason else text(200, "ready", _NEVER_CACHED)

    def _found(self) -> str:
        with self._changed:
            if time.monotonic() - self._asked < self._seconds:
                return self._reason
            if not self._asking:
                self._asking = True
                threading.Thread(target=self._ask, name="readiness", daemon=True).start()
            answered = self._changed.wait_for(lambda: not self._asking, self._patience)
            return self._reason if answered else f"the store has not answered for {self._patience:g} seconds"

    def _ask(self) -> None:
        reason = "the check of the store failed"
        try:
            self._check()
            reason = ""
        except PinfoldError as error:
            reason = f"the store does not answer ({type(error).__name__})"  # no addresses for strangers
        finally:
            with self._changed:
                self._asking, self._reason, self._asked = False, reason, time.monotonic()
                self._changed.notify_all()


def front(lines: Sequence[str]) -> Door:
    """/: a page for people, of a title and what can be found where."""
    page = "\n".join(lines) + "\n"

    def door(request: Request) -> Response:
        if request.path != "/":
            raise BadRequest(404, "there is nothing here; / tells what is")
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
        return Response(200, [*headers, ("Cache-Control", "max-age=60")], page.encode())

    return door
