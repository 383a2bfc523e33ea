"""Words out: tables, one JSON document, errors; sizes, times and paths as people read them.

rich is imported only where a table is drawn: it costs 40 ms.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Json = Mapping[str, object]

SHORT: Final = 10
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
# Wide enough that no row is broken when the table goes into a file or through a pipe.
_ENDLESS: Final = 100_000
_GAP: Final = 2
# What may be broken over lines is still read in so many characters.
_BROKEN: Final = 10


class Output:
    """Where a command's words go.  `say` is for what `--quiet` silences, `line` for answers."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: int = 0, color: bool = True) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self.color = color

    @property
    def is_silent(self) -> bool:
        """Whether progress bars have no business on this terminal."""
        return self.quiet or self.as_json or not sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """A line for people, unless they want JSON or quiet."""
        if not self.quiet:
            self.line(text)

    def line(self, text: str = "") -> None:
        """A line of the answer, for people; with --json the document is the answer."""
        if not self.as_json:
            sys.stdout.write(text + "\n")

    def warn(self, text: str) -> None:
        """A line about something that went wrong without stopping the work; in JSON the document has it."""
        if not self.as_json:
            sys.stdout.flush()  # what was said before comes before, where both go into one log
            sys.stderr.write(_painted(f"pinfold: {text}", "33", color=self.color) + "\n")

    def hint(self, text: str) -> None:
        """A line beside the answer, for people at a terminal or in a log."""
        if not self.as_json and not self.quiet:
            sys.stdout.flush()
            sys.stderr.write(text + "\n")

    def document(self, document: Json) -> None:
        """The JSON object, if that is wanted."""
        if self.as_json:
            sys.stdout.write(json.dumps(document) + "\n")

    def listing(self, head: Json, key: str, items: Iterable[Json], tail: Callable[[], Json] = dict) -> None:
        """The JSON object with a long list under `key`, written as it comes; `tail` is asked at the end."""
        sys.stdout.write(json.dumps(head)[:-1] + (", " if head else "") + f'"{key}": [')
        for number, item in enumerate(items):
            sys.stdout.write((",\n" if number else "\n") + json.dumps(item))
        rest = json.dumps(tail())[1:]
        sys.stdout.write("]" + (", " if rest != "}" else "") + rest + "\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], drop: Sequence[str] = ()) -> None:
        """A table; a title starts with ">" over numbers, with "~" over what may be broken.

        `drop`: titles of columns that go, one after the other, while a terminal is too narrow for all.
        """
        if self.as_json:
            return
        rows = list(rows)
        if sys.stdout.isatty():
            columns, rows = fitting(columns, rows, drop, shutil.get_terminal_size().columns)
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        terminal = sys.stdout.isatty()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            long = terminal and column.startswith("~")
            justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
            table.add_column(column.lstrip("~>"), justify=justify, no_wrap=not long, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console = Console(
            file=sys.stdout,
            no_color=None if self.color else True,
            highlight=False,
            width=None if terminal else _ENDLESS,
        )
        with console.capture() as drawn:
            console.print(table)
        sys.stdout.write("".join(line.rstrip() + "\n" for line in drawn.get().splitlines()))


def fitting(
    columns: Sequence[str], rows: Sequence[Sequence[str]], drop: Sequence[str], width: int
) -> tuple[list[str], list[list[str]]]:
    """A table without those columns of `drop` for which `width` is too narrow; what may be broken counts as 10."""
    left, cells = list(columns), [list(row) for row in rows]
    for title in drop:
        widths = [
            max(len(name.lstrip("~>")), min(_BROKEN, longest) if name.startswith("~") else longest)
            for name, longest in zip(
                left, (max((len(row[at]) for row in cells), default=0) for at in range(len(left))), strict=True
            )
        ]
        if sum(widths) + _GAP * (len(left) - 1) <= width:
            break
        at = next((at for at, name in enumerate(left) if name.lstrip("~>") == title), None)
        if at is not None:
            del left[at]
            for row in cells:
                del row[at]
    return left, cells


def error(message: str, code: int, *, as_json: bool, color: bool) -> None:
    """Tell why the command failed, on stderr."""
    if as_json:
        sys.stderr.write(json.dumps({"error": {"code": code, "message": message}}) + "\n")
        return
    first, _, rest = message.partition("\n")  # several mistakes in settings, or where help is
    sys.stderr.write(_painted(f"pinfold: {first}", "31", color=color) + "\n" + (rest + "\n" if rest else ""))


def _painted(text: str, code: str, *, color: bool) -> str:
    # https://no-color.org: set and not empty.
    if not color or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def size(count: int) -> str:
    """Bytes with three digits: 0 B, 999 B, 1.21 MiB, 34.5 GiB."""
    if count < 1000:
        return f"{count} B"
    step = next((step for step in range(1, len(_UNITS)) if count / 1024**step < 999.5), len(_UNITS))
    value = count / 1024**step
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {_UNITS[step - 1]}"


def number(count: int) -> str:
    """A count with its thousands marked."""
    return f"{count:,}"


def some(count: int, one: str, many: str = "") -> str:
    """1 file, 2 files, 1,000 files."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def seconds(length: float) -> str:
    """0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if length < 10:
        return f"{length:.1f} s"
    whole = round(length)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(text: str) -> str:
    """An RFC 3339 time in the zone of whoever reads it."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def stamp(nanoseconds: int) -> str:
    """A file's time in the zone of whoever reads it; what no calendar has is told in seconds."""
    try:
        return datetime.fromtimestamp(nanoseconds // 10**9, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"@{nanoseconds // 10**9}"


def short(cid: object) -> str:
    """The end of a CID: CIDs share their first letters.  Of snapshots it is the id's, which stays when keys change."""
    return str(cid)[-SHORT:]


def without_echo(what: str, why: str) -> str:
    """What happened and why; the two words that both begin with, as "snapshot CID", are said once."""
    name = " ".join(what.split(" ", 2)[:2])
    return f"{what}: {why.removeprefix(name + ' ')}"


def path(name: bytes | str) -> str:
    """A path for a terminal: nothing in it can move the cursor or end the line."""
    text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
    shown = text if text.isprintable() else "".join(one if one.isprintable() else _escaped(one) for one in text)
    return shown or "."


def _escaped(one: str) -> str:
    code = ord(one)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as surrogateescape keeps it
        return f"\\x{code - 0xDC00:02x}"
    return {"\n": "\\n", "\t": "\\t"}.get(one) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def raw(name: bytes) -> str:
    """A path for JSON, nothing lost: bytes that are no UTF-8 become U+DC80 to U+DCFF, as Python has it."""
    return name.decode("utf-8", "surrogateescape")
