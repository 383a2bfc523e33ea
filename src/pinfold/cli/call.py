"""One call of the command line: its flags, its settings, its output, and whom to ask for a passphrase."""

from __future__ import annotations

import logging
import os
import shlex
import stat
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pinfold.cli import output
from pinfold.cli.output import Output
from pinfold.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from pinfold.config import Settings
    from pinfold.seal.secret import Secret
    from pinfold.wiring import Ask, Opened, Owned

_SNAPSHOTS = ("snapshot", "before", "after")
_NOT_SETTINGS = ("json", "quiet", "verbose", "debug", "no_color")


class Call:
    """What every command is handed.  `flags`: the global options that were given, by name."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        self._flags = flags
        self._looked_at: set[Path] = set()
        self.out = Output(
            as_json="json" in flags,
            quiet="quiet" in flags,
            verbose=flags.get("verbose", 0),
            color="no_color" not in flags,
        )
        silent = self.out.as_json or self.out.quiet
        logging.getLogger("pinfold.waiting").setLevel(logging.ERROR if silent else logging.NOTSET)

    def gives(self, flag: str) -> bool:
        """Whether this global option was given on the command line."""
        return flag in self._flags

    def settings(self, **more: object) -> Settings:
        """All settings; `more` are a command's own flags.  Raises ConfigError."""
        from pinfold import config  # noqa: PLC0415
        from pinfold.cli import choose  # noqa: PLC0415

        flags = {name: value for name, value in self._flags.items() if name not in _NOT_SETTINGS}
        flags |= {name: value for name, value in more.items() if value is not None}
        settings = config.load(flags, os.environ, Path.cwd())
        self._warn_of_open_secrets(settings)
        return choose.among(settings, self._words())

    @staticmethod
    def _words() -> list[str]:
        """What the command line says where a snapshot is to be named."""
        context = click.get_current_context(silent=True)
        given = [] if context is None else [context.params.get(name) for name in _SNAPSHOTS]
        return [word for one in given if one for word in ((one,) if isinstance(one, str) else one)]

    def lasting_settings(self) -> Settings:
        """What the next command will find without any option.  Raises ConfigError."""
        from pinfold import config  # noqa: PLC0415

        return config.load({}, os.environ, Path.cwd())

    def _warn_of_open_secrets(self, settings: Settings) -> None:
        """Say which files with a secret others may read, each once."""
        files = {*settings.identity, *([settings.agent_key] if settings.agent_key is not None else [])}
        if settings.passphrase is not None and settings.passphrase.kind == "file":
            files.add(settings.passphrase.path)
        for path in sorted(files - self._looked_at):
            self._looked_at.add(path)
            try:
                mode = path.stat().st_mode
            except OSError:
                continue  # whoever needs it says so
            # A pipe, as a shell's <(...) makes it, is nobody else's.
            if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
                shown = output.path(shlex.quote(str(path)))
                self.out.warn(f"{output.path(str(path))} holds a secret and others may read it: chmod 600 {shown}")

    @cached_property
    def ask(self) -> Ask | None:
        """Asks for a passphrase; None where nobody sits at a terminal."""
        return _ask if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty() else None

    def ask_twice(self, what: str) -> Secret:
        """A new passphrase.  Raises UsageError without a terminal, or when the two differ."""
        if self.ask is None:
            raise UsageError(
                f"no terminal to ask for {what}: give it by --passphrase-file FILE, PINFOLD_PASSPHRASE,"
                " or PINFOLD_PASSPHRASE_COMMAND"
            )
        first = self.ask(f"{what[0].upper()}{what[1:]}: ")
        if not len(first):
            raise UsageError("the passphrase is empty; nothing was done")
        if first != self.ask("Once more: "):
            raise UsageError("the two passphrases differ; nothing was done")
        return first

    def owned(self) -> AbstractContextManager[Owned]:
        """The repository opened by its owner, who is asked for the passphrase if need be."""
        from pinfold import wiring  # noqa: PLC0415

        return wiring.owned(self.settings(), self.ask)

    def looked_at(self) -> AbstractContextManager[Opened | Owned]:
        """The repository, opened with a key only if settings give one: nobody is asked."""
        from pinfold import wiring  # noqa: PLC0415

        return wiring.looked_at(self.settings())


def _ask(prompt: str) -> Secret:
    import getpass  # noqa: PLC0415

    from pinfold.seal.secret import Secret  # noqa: PLC0415

    try:
        return Secret(getpass.getpass(prompt).encode("utf-8", "surrogateescape"))
    except EOFError:
        raise UsageError("no passphrase was given") from None
