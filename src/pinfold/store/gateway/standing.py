"""How a gateway has done so far: how long it takes, how much it bears, whether it rests.

Not safe from several threads: the store holds its lock.  Times are seconds of a monotonic clock.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_GUESS: Final = 0.05  # until it has answered: about what a good one takes
_FORGETS: Final = 10.0  # seconds in which a bad time counts half, so that a slow gateway gets another chance
_SHARE: Final = 8  # so many requests under way make a gateway look twice as slow
_PATIENCE: Final = (0.03, 0.5, 10.0)
_ENOUGH: Final = 8
_STRIKES: Final = 3
_LONGEST_REST: Final = 60.0


class Standing:
    """The book that is kept of one gateway."""

    def __init__(self, most: int) -> None:
        """`most`: requests that may be under way at once."""
        self._most = most
        self._limit = float(most)
        self._seconds = 0.0
        self._heard = 0.0
        self._recent: deque[float] = deque(maxlen=64)
        self._begun: dict[int, float] = {}
        self._next = 0
        self._strikes = 0
        self._struck = 0.0
        self.answers = 0
        self.rests_until = 0.0
        self.lie = ""
        self.trouble = ""

    @property
    def under_way(self) -> int:
        """Requests without an answer yet."""
        return len(self._begun)

    def takes_more(self, now: float) -> bool:
        """Whether it neither rests nor has enough to do."""
        return now >= self.rests_until and len(self._begun) < self._limit

    def cost(self, now: float) -> float:
        """About how many seconds one more request would take, to compare gateways by."""
        seconds = self._seconds * 0.5 ** ((now - self._heard) / _FORGETS) if self._seconds else _GUESS
        # One that hangs looks slower with every moment, though it has answered nothing.
        oldest = now - next(iter(self._begun.values())) if self._begun else 0.0
        return max(seconds, oldest) * (1 + len(self._begun) / _SHARE)

    def patience(self) -> float:
        """After how many seconds an answer is late: when 19 of 20 were there."""
        least, usual, most = _PATIENCE
        if len(self._recent) < _ENOUGH:
            return usual
        late = sorted(self._recent)[len(self._recent) * 19 // 20]
        return min(max(late, least), most)

    def begin(self, now: float) -> int:
        """A request sets out; gives its number."""
        self._next += 1
        self._begun[self._next] = now
        return self._next

    def answered(self, number: int, now: float) -> None:
        """It came back with an answer, whatever that was."""
        self._learn(now - self._begun.pop(number, now), now)
        self.answers += 1
        self._strikes = 0
        self._limit = min(self._limit + 0.1, self._most)

    def dropped(self, number: int, now: float) -> None:
        """Another gateway was faster.  It took at least that long."""
        seconds = now - self._begun.pop(number, now)
        if seconds > self._seconds:
            self._learn(seconds, now)

    def failed(self, number: int, now: float, why: str, after: float | None = None) -> None:
        """No answer, or one that it is too busy.  `after`: seconds that it asked to be left alone, if it did."""
        begun = self._begun.pop(number, now)
        self.trouble = why
        if after is not None:
            self.rests_until = max(self.rests_until, now + min(after, _LONGEST_REST))
        if begun < self._struck:
            return  # many fail of one cause, and it counts once
        self._struck = now
        self._strikes += 1
        self._limit = max(self._limit / 2, 1.0)
        self._learn(max(now - begun, 2 * self._seconds), now)
        if self._strikes >= _STRIKES:
            rest = min(2.0 ** (self._strikes - _STRIKES), _LONGEST_REST)
            self.rests_until = max(self.rests_until, now + rest)

    def has_answered_since(self, moment: float) -> bool:
        """Whether an answer came after this moment: it is not the gateway then that is down."""
        return self.answers > 0 and self._heard > moment and self._strikes == 0

    def _learn(self, seconds: float, now: float) -> None:
        self._seconds = seconds if not self._seconds else 0.8 * self._seconds + 0.2 * seconds
        self._heard = now
        self._recent.append(seconds)
