"""Whether what stands behind a server answers: asked by one thread at a time, known to everybody at once.

A question that hangs counts as no answer after a while, and is left to itself; its answer, when it comes after all,
counts.
"""

from __future__ import annotations

import ssl
import threading
import time
from typing import TYPE_CHECKING, Final

from pinfold.errors import PinfoldError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

# Questions that hang, each on a thread, until no more are asked.
_MOST_HANGING: Final = 4
_LEAST_AGE: Final = 1.0
_LONGEST: Final = 80


def _quiet(reason: str, cause: str) -> None:
    """Tell nobody."""


class Health:
    """What is known of the store.  `check` returns if all is well and raises PinfoldError if not.  Thread-safe.

    It is asked at most every `seconds`; without an answer after `patience` the store is ill.  `tell` is called when
    that changes: with a reason fit for strangers (empty: all is well again), and the cause for the log.
    """

    def __init__(
        self,
        check: Callable[[], None],
        tell: Callable[[str, str], None] = _quiet,
        seconds: float = 3.0,
        patience: float = 4.0,
    ) -> None:
        self._check = check
        self._tell = tell
        self._seconds = seconds
        self._patience = patience
        self._changed = threading.Condition()
        self._asking = False
        self._number = 0
        self._hanging = 0
        self._asked = float("-inf")
        self._reason = ""

    def found(self) -> str:
        """What is wrong, empty if nothing; asked anew, and waited for, if the last answer is old."""
        with self._changed:
            if time.monotonic() - self._asked >= self._seconds:
                self._ask()
                self._changed.wait_for(lambda: not self._asking, self._patience + _LEAST_AGE)
            return self._reason

    def known(self) -> str:
        """What is wrong as far as is known; waits for nothing.  Of an ill store it is asked anew in the meantime."""
        if not self._reason:
            return ""
        with self._changed:
            if time.monotonic() - self._asked >= self._seconds:
                self._ask()
            return self._reason

    def doubt(self) -> None:
        """Have it asked soon: somebody has got no answer."""
        with self._changed:
            if time.monotonic() - self._asked >= min(self._seconds, _LEAST_AGE):
                self._ask()

    def _ask(self) -> None:
        """Begin to ask.  The lock is held."""
        if self._asking or self._hanging >= _MOST_HANGING:
            return
        self._asking = True
        self._number += 1
        self._hanging += 1
        late = threading.Timer(self._patience, self._late, (self._number,))
        late.daemon = True
        late.start()
        threading.Thread(target=self._try, args=(self._number, late), name="health", daemon=True).start()

    def _try(self, number: int, late: threading.Timer) -> None:
        reason, cause = "the check of the store failed", ""
        try:
            self._check()
            reason = ""
        except PinfoldError as error:
            reason, cause = _in_short(error), str(error)
        finally:
            late.cancel()
            with self._changed:
                self._hanging -= 1
            self._settle(number, reason, cause)

    def _late(self, number: int) -> None:
        reason = f"the store has not answered for {self._patience:g} seconds"
        self._settle(number, reason, reason)

    def _settle(self, number: int, reason: str, cause: str) -> None:
        with self._changed:
            # An answer that comes late is good news, or none.
            if reason and not (self._asking and number == self._number):
                return
            changed = reason != self._reason
            self._asking, self._reason, self._asked = False, reason, time.monotonic()
            self._changed.notify_all()
        if changed:
            self._tell(reason, cause)


def _in_short(error: PinfoldError) -> str:
    """What went wrong, without the address of anything."""
    said = "the store refuses to answer" if isinstance(error, Refused) else "the store does not answer"
    return f"{said} ({_root(error)[:_LONGEST]})"


def _root(error: BaseException) -> str:
    """In the system's words where it is the system that failed: those of a server may name anything."""
    deepest, depth = error, 0
    while (below := deepest.__cause__ or deepest.__context__) is not None and depth < _LONGEST:
        deepest, depth = below, depth + 1
    if isinstance(deepest, ssl.SSLError):
        return f"TLS: {getattr(deepest, 'reason', None) or 'failed'}"
    if isinstance(deepest, TimeoutError):
        return "timed out"
    if isinstance(deepest, OSError) and deepest.strerror:
        return deepest.strerror
    return type(error).__name__
