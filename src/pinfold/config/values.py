"""Values as people write them: sizes, durations, numbers, yes and no, lists, paths.

Each reader takes what TOML, the environment or a flag gave, and raises ValueError with a reason that
fits behind "KEY: ".  Sources: ISO 8601-1, "Duration"; https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIZE: Final = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))? ?(?:([kmgtp])(i?b)?|b)?", re.IGNORECASE)
_ISO: Final = re.compile(
    r"P(?=[0-9T])(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?"
    r"(?:T(?=[0-9])(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)S)?)?"
)
# A bare "m" is months to one program and minutes to the next: here it is neither.
_PLAIN: Final = re.compile(
    r"(?=[0-9])(?:([0-9]+)y)?(?:([0-9]+)mo)?(?:([0-9]+)w)?(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)min)?(?:([0-9]+)s)?"
)
_ID: Final = re.compile(r"[0-9a-f]{16}")
_LONGEST: Final = 1000 * 366 * 86400
_WORDS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class Place(NamedTuple):
    """What paths start from: `base` for relative ones, `home` for ~ (None where nobody knows it)."""

    base: Path
    home: Path | None


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of time on the calendar: whole months, then seconds.  `written`: as it was given."""

    months: int = 0
    seconds: int = 0
    written: str = ""

    def __str__(self) -> str:
        """As it was given, else in ISO 8601."""
        return self.written or f"P{self.months}MT{self.seconds}S"

    def before(self, moment: datetime) -> datetime:
        """The moment this long before `moment`; a day its month does not have becomes the month's last."""
        count = moment.year * 12 + moment.month - 1 - self.months
        year, month = divmod(count, 12)
        if year < 1:
            return datetime.min.replace(tzinfo=moment.tzinfo)
        earlier = moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))
        try:
            return earlier - timedelta(seconds=self.seconds)
        except OverflowError:
            return datetime.min.replace(tzinfo=moment.tzinfo or UTC)


def duration(value: object) -> Duration:
    """A duration such as "P7D", "P1Y6M", "PT6H", "7d", "1d12h", "2mo", "30min"."""
    if isinstance(value, Duration):
        return value
    written = value.strip() if isinstance(value, str) else ""
    found = _ISO.fullmatch(written) or _PLAIN.fullmatch(written)
    if not found or len(written) > 64:
        raise ValueError(f'{_shown(value)} is no duration; write it as "P7D", "PT6H", "7d", "36h", "2mo" or "30min"')
    years, months, weeks, days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    months += years * 12
    total = ((weeks * 7 + days) * 24 + hours) * 3600 + minutes * 60 + rest
    if months > 1000 * 12 or total > _LONGEST:
        raise ValueError(f"{_shown(value)} is longer than a thousand years")
    return Duration(months, total, written)


def seconds(value: object) -> int:
    """Seconds: a whole number, or a duration without months and years, which have no fixed length."""
    if type(value) is int or (isinstance(value, str) and _is_number(value)):
        return count(value)
    length = duration(value)
    if length.months:
        raise ValueError(f"{_shown(value)} has no fixed length; write it in days")
    return count(length.seconds)


def size(value: object) -> int:
    """Bytes: a whole number, or "10M", "1.5G", "10MiB" (1024 to the step), "10MB" (1000 to the step)."""
    if type(value) is int:
        return whole(value)
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'{_shown(value)} is no size; write it as 1048576, "10M" or "1.5G"')
    number, fraction, step, ending = found[1], found[2] or "", found[3], found[4]
    base = 1000 if (ending or "").lower() == "b" else 1024
    factor = base ** (1 + "kmgtp".index(step.lower())) if step else 1
    return whole(int(number + fraction) * factor // 10 ** len(fraction))


def count(value: object) -> int:
    """A whole number from 1 on."""
    return whole(value, least=1)


def whole(value: object, *, least: int = 0) -> int:
    """A whole number of at least `least` that 63 bits hold."""
    number = int(value) if isinstance(value, str) and _is_number(value) else value
    if type(number) is not int:
        raise ValueError(f"{_shown(value)} is no whole number")
    if not least <= number < 1 << 63:
        raise ValueError(f"{number} is out of bounds; it must be at least {least}")
    return number


def yes_or_no(value: object) -> bool:
    """Yes or no, as true or false, and what else people write for it."""
    if isinstance(value, bool):
        return value
    word = _WORDS.get(value.strip().lower()) if isinstance(value, str) else None
    if word is None:
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return word


def text(value: object) -> str:
    """Some text, not empty, on one line."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError(f"{_shown(value)} is no text on one line")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list of texts; a lone text is a list of one."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{_shown(value)} is no list of texts")  # noqa: TRY004  # one kind of error for all readers
    return tuple(text(one) for one in value)


def patterns(value: object) -> tuple[str, ...]:
    """A list of texts as they are, for others to judge; a lone text is a list of one."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, (list, tuple)) or not all(isinstance(one, str) for one in listed):
        raise ValueError(f"{_shown(value)} is no list of texts")
    return tuple(listed)


def path(value: object, place: Place) -> Path:
    """An absolute path: "~/x" below the home, "x" below the place's base."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{_shown(value)} is no path")
    if value == "~" or value.startswith("~/"):
        if place.home is None:
            raise ValueError("HOME is not set, so ~ means nothing; write the path in full")
        return place.home / value[2:]
    if value.startswith("~"):
        raise ValueError(f"{_shown(value)}: another user's home must be written in full")
    return place.base / value


def paths(value: object, place: Place) -> tuple[Path, ...]:
    """A list of paths; a lone path is a list of one."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    return tuple(path(one, place) for one in listed)


def repository(value: object, place: Place) -> str:
    """A REPO: an address as it is, a folder as an absolute path.  Its text may hold secrets: never shown."""
    try:
        address = text(str(value) if isinstance(value, Path) else value)
    except ValueError:
        raise ValueError("it is no folder or address") from None
    return address if "://" in address else str(path(address, place))


def repositories(value: object, place: Place) -> tuple[str, ...]:
    """A list of REPOs; a lone one is a list of one."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    return tuple(repository(one, place) for one in listed)


def repository_id(value: object) -> str:
    """16 digits of lower-case hex."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(f"{_shown(value)} is no repository id: 16 digits of 0-9 and a-f")
    return value


def closest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The one of `known` that was probably meant; `likeness` from 0 to 1."""
    import difflib  # noqa: PLC0415  # only mistakes need it

    found = difflib.get_close_matches(word, list(known), 1, likeness)
    return found[0] if found else None


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 20


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
