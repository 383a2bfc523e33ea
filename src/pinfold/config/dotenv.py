r"""The `.env` file: lines of KEY=VALUE, of which only those of PINFOLD_* are looked at.

Values may be bare (a " #" begins a comment), in single quotes (taken as they are) or in double quotes
(with \n, \t, \", \\ and \$).  Nothing is substituted, and no line goes on in the next.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

PREFIX: Final = "PINFOLD_"
_LINE: Final = re.compile(r"\s*(?:export\s+)?(PINFOLD_\w*)\s*(=?)(.*)", re.ASCII | re.DOTALL)
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?')
_SINGLE: Final = re.compile(r"'([^']*)'\s*(?:#.*)?")
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "t": "\t"}


class Line(NamedTuple):
    """One assignment; `number` counts lines from 1."""

    number: int
    key: str
    value: str


def parse(content: str, where: str, mistakes: list[str]) -> list[Line]:
    """The assignments to PINFOLD_*; lines that make no sense go to `mistakes`, their values unsaid."""
    found = []
    for number, line in enumerate(content.split("\n"), 1):
        match = _LINE.fullmatch(line.removesuffix("\r"))
        if match is None:
            continue
        key, equals, written = match.groups()
        value = _value(written.strip()) if equals else None
        if value is None:
            why = "its quotes do not close" if equals else "it has no ="
            mistakes.append(f"{where}, line {number}: {key}: {why}")
        else:
            found.append(Line(number, key, value))
    return found


def _value(written: str) -> str | None:
    if written.startswith('"'):
        quoted = _DOUBLE.fullmatch(written)
        return quoted and _ESCAPE.sub(lambda one: _ESCAPES.get(one[1], one[1]), quoted[1])
    if written.startswith("'"):
        quoted = _SINGLE.fullmatch(written)
        return quoted and quoted[1]
    return "" if written.startswith("#") else re.split(r"\s#", written, maxsplit=1)[0].rstrip()
