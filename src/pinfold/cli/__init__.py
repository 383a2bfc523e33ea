"""The command line: words in, words and exit codes out.  Everything it knows to do stands below it.

`main` is the one place where an error becomes a message and an exit code.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

from pinfold.errors import PinfoldError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INTERRUPTED: Final = 130
TERMINATED: Final = 143
_COMPLETE: Final = "_PINFOLD_COMPLETE"
# The engine makes many small objects and few cycles, which the collector would look at again and again.
_OBJECTS_BETWEEN_COLLECTIONS: Final = 100_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (else the process's own) name; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    _lift_open_files()
    asked: list[int] = []
    try:
        with _asked_to_stop(asked):
            code = _run(words, asked)
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (`pinfold ls latest | head`): that is no failure.
        _let_go_of_stdout()
        return 0
    except BaseException:
        # An interrupt may come while a library is being loaded, and come out as whatever that makes of it.
        if not asked:
            raise
        if asked[0] == TERMINATED:
            return _tell(words, TERMINATED, "ended by a signal (SIGTERM)")
        goes_on = "; the same command goes on where it stopped" if "backup" in words else ""
        return _tell(words, INTERRUPTED, f"interrupted{goes_on}")
    return code


@contextlib.contextmanager
def _asked_to_stop(asked: list[int]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt, and their exit codes into `asked`."""
    if threading.current_thread() is not threading.main_thread():  # the only one that may
        yield
        return
    codes = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}

    def stop(number: int, _frame: object) -> None:
        asked.append(codes[signal.Signals(number)])
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in codes}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(words: list[str], asked: list[int]) -> int:
    import click  # noqa: PLC0415  # not needed by who imports this package for `main` alone

    from pinfold.cli.app import pinfold  # noqa: PLC0415

    if _COMPLETE in os.environ:
        from click.shell_completion import shell_complete  # noqa: PLC0415

        return shell_complete(pinfold, {}, "pinfold", _COMPLETE, os.environ[_COMPLETE])
    try:
        # Not click's own main(): it has its own mind about interrupts and closed pipes.
        with pinfold.make_context("pinfold", list(words)) as context:
            return int(pinfold.invoke(context) or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:
        asked.append(INTERRUPTED)
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        raise
    except Exception as error:  # the last net: one line for people, the trace on demand
        if asked:
            raise
        if _has(words, "--debug"):
            import traceback  # noqa: PLC0415

            traceback.print_exc()
        return _tell(words, *_meaning(error))


def _meaning(error: Exception) -> tuple[int, str]:
    """The exit code and the message of whatever ended a command."""
    import click  # noqa: PLC0415

    if isinstance(error, PinfoldError):
        return error.exit_code, str(error)
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        return error.exit_code, error.format_message() + (f"\nsee: {context.command_path} --help" if context else "")
    if isinstance(error, OSError):
        return 1, (f"{error.filename}: " if error.filename is not None else "") + (error.strerror or str(error))
    return 1, f"internal error ({type(error).__name__}): {error}; run again with --debug for the trace"


def _tell(words: list[str], code: int, message: str) -> int:
    from pinfold.cli import output  # noqa: PLC0415

    output.error(message, code, as_json=_has(words, "--json"), color=not _has(words, "--no-color"))
    return code


def _has(words: list[str], option: str) -> bool:
    """Whether an option is among the words: errors must be told rightly even when they cannot be parsed."""
    return option in (words[: words.index("--")] if "--" in words else words)


def _lift_open_files() -> None:
    """A deep tree or a store of many cars holds more files open than the usual 1024."""
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            return  # macOS names "unlimited" and refuses it: what was allowed before stays allowed


def _let_go_of_stdout() -> None:
    """Else the interpreter would complain of the closed pipe when it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
