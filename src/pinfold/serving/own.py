"""What a server says about itself: alive, ready, and what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pinfold.door import BadRequest, Response, text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pinfold.door import Door, Request
    from pinfold.serving.health import Health

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
    """/readyz: 200 while what stands behind the server answers and nobody has asked the server to stop."""

    def __init__(self, health: Health, stopping: Callable[[], bool]) -> None:
        self._health = health
        self._stopping = stopping

    def door(self, request: Request) -> Response:
        """Answer with the reason where it is not ready."""
        del request
        reason = "stopping" if self._stopping() else self._health.found()
        return text(503, f"not ready: {reason}", _NEVER_CACHED) if reason else text(200, "ready", _NEVER_CACHED)


def front(lines: Sequence[str]) -> Door:
    """/: a page for people, of a title and what can be found where."""
    page = "\n".join(lines) + "\n"

    def door(request: Request) -> Response:
        if request.path != "/":
            raise BadRequest(404, "there is nothing here; / tells what is")
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
        return Response(200, [*headers, ("Cache-Control", "max-age=60")], page.encode())

    return door
