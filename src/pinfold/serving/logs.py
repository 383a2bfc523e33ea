"""The log: one line for each request and for whatever happens to the server, on stderr.

JSON for machines, words for people.  No query is ever logged, nor any header: tokens travel there.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final, TextIO

import structlog

from pinfold.clock import SystemClock, rfc3339
from pinfold.serving import failing

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from pinfold.serving.app import Outcome

    Event = MutableMapping[str, Any]

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LONGEST_PATH: Final = 512
_RESERVED: Final = frozenset({"time", "level", "event", "trace"})
# These come first for people, without their names.
_FIRST: Final = ("time", "level", "event", "client", "method", "path", "status")


class Log:
    """Writes lines.  `level`: the least that is written; requests are `info`, those about the server itself `debug`."""

    def __init__(self, *, as_json: bool, level: str, stream: TextIO | None = None) -> None:
        self._logger: Any = structlog.wrap_logger(
            structlog.PrintLogger(stream or sys.stderr),
            processors=[_timed, _json if as_json else _words],
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
            context_class=dict,
            cache_logger_on_first_use=True,
        )

    def say(self, level: str, event: str, **more: object) -> None:
        """One line about the server."""
        self._write(level, event, more)

    def observe(self, outcome: Outcome) -> None:
        """One line about a request that has ended, and another with the trace of what nobody expected."""
        error = outcome.error
        more: dict[str, object] = dict(outcome.more)
        if outcome.cut:
            more["cut"] = outcome.cut
        if error is not None:
            more["error"] = shown(str(error)) if failing.is_expected(error) else type(error).__name__
        line = {
            "client": outcome.client,
            "method": shown(outcome.method),
            "path": shown(outcome.path),
            "status": outcome.status,
            "bytes": outcome.sent,
            "seconds": round(outcome.seconds, 4),
            "door": outcome.door,
        }
        more = {name: shown(value) if isinstance(value, str) else value for name, value in more.items()}
        added = {name: value for name, value in more.items() if name not in line and name not in _RESERVED}
        self._write(_level(outcome), "request", line | added)
        if error is not None and not failing.is_expected(error):
            trace = "".join(traceback.format_exception(error))
            self._write("error", "unexpected", {"path": shown(outcome.path), "trace": trace})

    def take_over(self, name: str = "") -> None:
        """Write what Python's own logger of that name and those below it are told, warnings and worse."""
        handler = _Handler(self)
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.WARNING)

    def _write(self, level: str, event: str, more: Mapping[str, object]) -> None:
        self._logger.bind(level=level, **more).log(LEVELS[level], event)


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line, and a trace where there is one."""
        more: dict[str, object] = {"from": record.name}
        if record.exc_info and record.exc_info[1]:
            more["trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.say(level, shown(record.getMessage()), **more)


def _level(outcome: Outcome) -> str:
    if outcome.error is not None and not failing.is_expected(outcome.error):
        return "error"
    if outcome.status >= 500 or (outcome.error is not None and outcome.cut):
        return "warning"
    return "debug" if outcome.door == "own" and outcome.status < 400 else "info"


def shown(text: str) -> str:
    """`text` on one line of bounded length: nothing in it can move a cursor or pretend to be another line."""
    cut = text if len(text) <= _LONGEST_PATH else text[:_LONGEST_PATH] + "…"
    return cut if cut.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in cut)


def _timed(_logger: object, _method: str, event: Event) -> Event:
    event["time"] = rfc3339(SystemClock().now())
    return event


def _json(_logger: object, _method: str, event: Event) -> str:
    first = {name: event[name] for name in ("time", "level", "event") if name in event}
    return json.dumps(first | dict(event), ensure_ascii=False)


def _words(_logger: object, _method: str, event: Event) -> str:
    trace = event.pop("trace", "")
    head = [str(event.pop(name)) for name in _FIRST if name in event]
    rest = [f"{name}={','.join(value) if isinstance(value, list) else value}" for name, value in event.items()]
    return " ".join([*head, *rest]) + (f"\n{trace.rstrip()}" if trace else "")
