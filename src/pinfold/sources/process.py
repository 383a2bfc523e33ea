"""Other programs: the only place that starts any.  Argument lists, never a shell."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from pinfold.errors import PinfoldError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE_SECONDS = 120


def run(arguments: Sequence[str], what: str) -> bytes:
    """What a program prints.  `what` names it in errors; neither its arguments nor its output do.

    Raises UsageError when there is no such program, PinfoldError when it fails or takes two minutes.
    """
    program = shutil.which(arguments[0]) if arguments else None
    if program is None:
        raise UsageError(f"{what} names a program that is not there")
    try:
        done = subprocess.run(  # noqa: S603  # a list of arguments from the operator's own settings
            [program, *arguments[1:]],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PinfoldError(f"{what} did not end within {_PATIENCE_SECONDS} s") from error
    except OSError as error:
        raise PinfoldError(f"{what} cannot be started: {error.strerror}") from error
    if done.returncode:
        raise PinfoldError(f"{what} failed with exit code {done.returncode}")
    return done.stdout
