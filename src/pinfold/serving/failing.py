"""Which status an error means: the one place where errors become answers.

Texts for strangers: an error's own words may name the store's address, so only what was asked for is repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pinfold.door import BadRequest, text
from pinfold.errors import (
    Corrupt,
    Full,
    Incomplete,
    Malformed,
    Missing,
    PinfoldError,
    Refused,
    Unavailable,
    UsageError,
)

if TYPE_CHECKING:
    from pinfold.door import Response

_NEVER_CACHED: Final = ("Cache-Control", "no-store")
_SOON: Final = ("Retry-After", "5")
_LATER: Final = frozenset({429, 503})
# The first that fits.
_MEANINGS: Final[tuple[tuple[type[PinfoldError], int, str], ...]] = (
    (Missing, 404, "not found: a block is missing"),
    (Corrupt, 500, "a stored block is damaged"),
    (Incomplete, 409, "not all blocks are here"),
    (Malformed, 422, "the content breaks its format"),
    (Full, 507, "the store is full"),
    (Unavailable, 503, "the store does not answer; try again"),
    (Refused, 403, "the store refuses"),
    (UsageError, 400, "the request makes no sense"),
    (PinfoldError, 500, "failed; the server's log says why"),
)


def answer(error: Exception) -> tuple[Response, bytes]:
    """What the client is told of `error`, and its body; the log gets the error itself."""
    if isinstance(error, BadRequest):
        status, line = error.status, str(error)
    else:
        meaning = next(((status, line) for kind, status, line in _MEANINGS if isinstance(error, kind)), None)
        status, line = meaning or (500, "internal error; the server's log says more")
        if isinstance(error, (Missing, Corrupt)):
            line = f"{line}: {error.name}"
    response = text(status, line, _NEVER_CACHED, *([_SOON] if status in _LATER else []))
    return response, bytes(response.body) if isinstance(response.body, bytes) else b""


def is_expected(error: Exception) -> bool:
    """Whether `error` is one of pinfold's own, which need no trace."""
    return isinstance(error, PinfoldError)
