"""Which door serves a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinfold.door import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pinfold.door import Door, Request, Response


@dataclass(frozen=True, slots=True)
class Route:
    """A door and where it is.

    `prefix`: a path that begins with it is served here; one that ends in no slash matches itself and what lies below.
    `exact`: itself alone.  `name`: of the door, in metrics and logs.  `own`: answers about the server itself, which
    must come when all else is busy.
    """

    prefix: str
    door: Door
    name: str
    exact: bool = False
    own: bool = False

    def serves(self, path: str) -> bool:
        """Whether `path` is this door's."""
        if path == self.prefix:
            return True
        return not self.exact and path.startswith(self.prefix if self.prefix.endswith("/") else self.prefix + "/")


class Routes:
    """All doors of one address; the longest prefix wins."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = sorted(routes, key=lambda route: -len(route.prefix))

    def find(self, path: str) -> Route:
        """The door for `path`, or one that answers 404."""
        return next((route for route in self._routes if route.serves(path)), _NOWHERE)


def _nothing(request: Request) -> Response:
    del request
    raise BadRequest(404, "there is nothing here; / tells what is")


_NOWHERE = Route("/", _nothing, "none", own=True)
