"""Times as the service keeps them: whole microseconds since 1970, which order and tell requests apart.

Source: RFC 3339, section 5.6.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from pinfold.clock import rfc3339

SECOND: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST: Final = 64


def micros(moment: datetime) -> int:
    """`moment` in microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def text(moment: int) -> str:
    """Microseconds as RFC 3339."""
    return rfc3339(_EPOCH + timedelta(microseconds=moment))


def parse(written: str) -> int:
    """RFC 3339 as microseconds; finer parts are cut off.  Raises ValueError."""
    if len(written) > _LONGEST or "T" not in written.upper():
        raise ValueError("is no time as RFC 3339 writes it")
    # A "+" that was not percent-encoded in a query arrives as a blank.
    moment = datetime.fromisoformat(written.replace(" ", "+"))
    if moment.tzinfo is None:
        raise ValueError("has no time zone")
    try:
        return micros(moment.astimezone(UTC))
    except OverflowError as error:
        raise ValueError("is out of the range of times") from error
