"""Progress on a terminal: bytes, rate, time left, the current file.  Silent anywhere else.

It goes to stderr, so that the answer on stdout can be piped.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from pinfold.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress

    from pinfold.cli.output import Output

_PAUSE: Final = 0.1
_NAME_WIDTH: Final = 20
_BAR_WIDTH: Final = 12
# Bar, amounts, rate and time left, with the spaces between: what is over is for the current file.
_OTHER_WIDTH: Final = 52


class Bar:
    """How far something has come.  Without a terminal all of it does nothing."""

    is_shown = False

    def to(self, done: int, current: bytes | str = "") -> None:
        """`done` so far, busy with `current`."""

    def add(self, done: int) -> None:
        """`done` more."""

    def total(self, total: int) -> None:
        """How much there is in all, once it is known."""


class _Shown(Bar):
    is_shown = True

    def __init__(self, progress: Progress, what: str, total: int | None, width: int) -> None:
        self._progress = progress
        self._width = width
        self._task = progress.add_task(what, total=total, current="")
        self._done = 0
        self._next = 0.0

    def to(self, done: int, current: bytes | str = "") -> None:
        self._done = done
        now = time.monotonic()
        if now >= self._next:  # drawing costs a hundred times what the check does
            self._next = now + _PAUSE
            self._progress.update(self._task, completed=done, current=shortened(output.path(current), self._width))

    def add(self, done: int) -> None:
        self.to(self._done + done)

    def total(self, total: int) -> None:
        self._progress.update(self._task, total=total)


@contextlib.contextmanager
def bar(out: Output, what: str, total: int | None = None, *, counts: str = "") -> Iterator[Bar]:
    """A bar for the time of the block.  `total`: bytes, or `counts` (as "blocks"); None while not known."""
    if out.is_silent:
        yield Bar()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column  # noqa: PLC0415

    line = Column(no_wrap=True)
    amounts = (
        (MofNCompleteColumn(table_column=line), TextColumn(counts, table_column=line))
        if counts
        else (DownloadColumn(binary_units=True, table_column=line), TransferSpeedColumn(table_column=line))
    )
    console = Console(stderr=True, no_color=None if out.color else True, highlight=False)
    with Progress(
        TextColumn("{task.description}", table_column=line),
        BarColumn(bar_width=_BAR_WIDTH, table_column=line),
        *amounts,
        TimeRemainingColumn(compact=True, table_column=line),
        TextColumn("{task.fields[current]}", style="dim", markup=False, table_column=line),
        console=console,
        transient=True,
        refresh_per_second=5,
    ) as progress:
        name = shortened(output.path(what), _NAME_WIDTH)
        yield _Shown(progress, escape(name), total, max(0, console.width - len(name) - _OTHER_WIDTH))


def shortened(text: str, width: int) -> str:
    """A path in at most `width` characters: its middle goes first, for its ends tell most."""
    if len(text) <= width:
        return text
    if width < 3:
        return ""
    head = (width - 1) // 3
    return text[:head] + "…" + text[len(text) - (width - 1 - head) :]
