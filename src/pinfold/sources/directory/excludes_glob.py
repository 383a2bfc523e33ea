"""One line of .gitignore as a regular expression that fits a name exactly when git would.

Not by the library pathspec (1.1): its expressions fit the beginnings of paths, its `[!a]` takes a slash,
its `a/**` takes `a` itself, and a pattern ending in the byte A0 loses it.
Sources: https://git-scm.com/docs/gitignore; git's wildmatch.c, whose `git ls-files` the tests compare with.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# No name holds it.  A slash would be taken for the step that the star in "a/*" stands for.
FOLDER: Final = "\0"
_CLASSES: Final = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": "\\s",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
}
# A run of two or more stars that stands for whole steps, with the slash behind it.
_STEPS: Final = re.compile(r"\*{2,}(/|\Z)")


class Glob(NamedTuple):
    """`of_name`: to be matched with a name, else with the path below the root, of a folder with FOLDER behind."""

    excludes: bool
    of_name: bool
    regex: str


def translate(line: str) -> Glob | None:
    """What a line says; None for an empty one or a comment.  Raises ValueError if it could fit no name.

    A letter outside ASCII counts as one, where git counts its bytes.
    """
    if line.startswith("#"):
        return None
    # Blanks at the end do not count, unless the first of them is quoted.
    line = re.sub(r"(?<!\\)((?:\\\\)*) +\Z", r"\1", line)
    line = re.sub(r"(\\ ) +\Z", r"\1", line)
    if not line:
        return None
    body = line.removeprefix("!")
    only_folders = body.endswith("/")
    body = body.removesuffix("/")
    of_name = "/" not in body
    body = body.removeprefix("/")
    if not body:
        raise ValueError("nothing is left of it")
    end = FOLDER if only_folders else f"{FOLDER}?"
    return Glob(not line.startswith("!"), of_name, rf"(?:{_regex(body, of_name=of_name)}{end}\Z)")


def _regex(body: str, *, of_name: bool) -> str:
    out = []
    at = 0
    while at < len(body):
        letter = body[at]
        steps = None if of_name or (at and body[at - 1] != "/") else _STEPS.match(body, at)
        if steps:
            out.append("(?:.*/)?" if steps[1] else "[^\0]+")
            at = steps.end()
        elif letter == "[":
            text, at = _bracket(body, at + 1)
            out.append(text)
        elif letter == "*":
            while body.startswith("*", at):
                at += 1
            out.append("[^/\0]*")
        elif letter == "?":
            out.append("[^/\0]")
            at += 1
        else:
            literal, at = _literal(body, at)
            out.append(re.escape(literal))
    return "".join(out)


def _literal(body: str, at: int) -> tuple[str, int]:
    """The letter at `at`, quoted or not, and where the next one is."""
    if body[at] == "\\":
        at += 1
    if at == len(body):
        raise ValueError("it ends in a lone backslash")
    return body[at], at + 1


def _bracket(body: str, at: int) -> tuple[str, int]:
    """The class that begins at `at`, behind its bracket, and where it ends."""
    negated = body[at : at + 1] in {"!", "^"}
    at += negated
    first = at
    out = []
    while at < len(body) and (body[at] != "]" or at == first):
        named = re.compile(r"\[:(\w*):\]").match(body, at)
        if named:
            if named[1] not in _CLASSES:
                raise ValueError(f"there is no class [:{named[1]}:]")
            out.append(_CLASSES[named[1]])
            at = named.end()
            continue
        low, at = _literal(body, at)
        high = low
        if body.startswith("-", at) and body[at + 1 : at + 2] not in {"", "]"}:
            high, at = _literal(body, at + 1)
        if high < low:
            raise ValueError(f"{low}-{high} is no range")
        out.append(f"{re.escape(low)}-{re.escape(high)}")
    if at >= len(body):
        raise ValueError("a '[' has no ']'; a bracket in a name is written \\[")
    return f"(?![/\0])[{'^' if negated else ''}{''.join(out)}]", at + 1
