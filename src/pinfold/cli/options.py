"""What all commands share: the global options, help that reads like a man page, and spelling help."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, Final

import click

from pinfold.cli.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Json = dict[str, Any]
    Run = Callable[..., int | None]
    Base = click.ParamType[Any]
else:
    Base = click.ParamType  # generic for type checkers only, in click before 8.5

EXITS: Final = {
    0: "fine",
    1: "failed",
    2: "the command line or the settings make no sense",
    3: "done, but something was skipped or is short of copies",
    4: "damage was found",
    5: "wrong key or passphrase, or a forged signature",
    130: "interrupted",
    143: "ended by SIGTERM",
}
_FLAGS: Final = "pinfold.flags"


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ANN401  # as click hands it over
    """Keep a global option, given before the command or after it, or both."""
    flags: dict[str, Any] = ctx.meta.setdefault(_FLAGS, {})
    name = param.name or ""
    if isinstance(value, tuple):
        if value:
            flags[name] = (*flags.get(name, ()), *value)
    elif value:
        flags[name] = value


def _global(*names: str, **attributes: Any) -> click.Option:  # noqa: ANN401  # as click takes them
    return click.Option(names, expose_value=False, callback=_remember, **attributes)


GLOBAL: Final = [
    _global(
        "-r",
        "--repository",
        "--repo",
        metavar="REPO",
        help="Where the repository is: a folder, kubo+http://, cluster+http://, psa+https://, gateway+https://."
        " [PINFOLD_REPOSITORY]",
    ),
    _global("--repository-id", metavar="ID", help="Which repository, where a store holds several."),
    _global(
        "--identity", metavar="FILE", multiple=True, help="age identity or SSH key that opens it. [PINFOLD_IDENTITY]"
    ),
    _global("--passphrase-file", metavar="FILE", help="File with the passphrase. [PINFOLD_PASSPHRASE_FILE]"),
    _global("--agent-key", metavar="FILE", help="Key of the agent that makes snapshots. [PINFOLD_AGENT_KEY]"),
    _global("--config", metavar="FILE", help="Settings, instead of pinfold.toml. [PINFOLD_CONFIG]"),
    _global("--cache", metavar="DIR", help="Where to keep what speeds up the next run. [PINFOLD_CACHE]"),
    _global("--json", is_flag=True, help="Print one JSON object instead of words."),
    _global("-q", "--quiet", is_flag=True, help="Print answers and errors only."),
    _global("-v", "--verbose", count=True, help="Print more."),
    _global("--debug", is_flag=True, help="Print the trace of an error."),
    _global("--no-color", is_flag=True, help="No colours. [NO_COLOR]"),
]


class Command(click.Command):
    """A command with the global options, examples and exit codes in its help."""

    def __init__(
        self,
        *names: Any,  # noqa: ANN401  # as click takes them
        examples: Sequence[str] = (),
        exits: Sequence[int] = (),
        returns: str = "",
        **attributes: Any,  # noqa: ANN401
    ) -> None:
        """`examples`: command lines; `exits`: exit codes beside 0, 1, 2, 130 and 143; `returns`: the JSON document."""
        attributes.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*names, **attributes)
        self.own = list(self.params)
        self.params += GLOBAL
        self.examples = examples
        self.exits = exits
        self.returns = returns

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # as click has it
        """Run it with a `Call` as its first argument."""
        ctx.obj = Call(ctx.meta.get(_FLAGS, {}))
        return super().invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Like a man page."""
        self.format_usage(ctx, formatter)
        _describe(formatter, self.help or "")
        with formatter.section("OPTIONS"):
            formatter.write_dl([*_records(self.own, ctx), ("-h, --help", "Show this page.")])
        with formatter.section("GLOBAL OPTIONS (before or after the command; explained by pinfold --help)"):
            formatter.write_text("  ".join(_shape(one) for one in GLOBAL))
        _write_lines(formatter, "EXAMPLES", self.examples)
        codes = sorted({0, 1, 2, 130, 143, *self.exits})
        with formatter.section("EXIT CODES"):
            formatter.write_dl([(str(code), EXITS[code]) for code in codes])
        if self.returns:
            with formatter.section("JSON"):
                formatter.write_text(self.returns)


def command(
    name: str,
    *,
    examples: Sequence[str],
    returns: str = "",
    exits: Sequence[int] = (),
    **attributes: Any,  # noqa: ANN401
) -> Callable[[Run], click.Command]:
    """Make a command of a function whose first argument is the `Call`; its docstring is the description."""

    def decorate(run: Run) -> click.Command:
        made = click.command(
            name, cls=Command, examples=examples, exits=exits, returns=returns, help=run.__doc__, **attributes
        )
        return made(click.pass_obj(run))

    return decorate


class Family(click.Group):
    """A group whose commands are imported when they are run, and listed without being imported."""

    def __init__(self, *names: Any, table: Mapping[str, tuple[str, str]], **attributes: Any) -> None:  # noqa: ANN401
        """`table`: by name, where it lies as "module:attribute", and what it does in a few words."""
        attributes.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        attributes["no_args_is_help"] = False  # it is told below, on stderr
        super().__init__(*names, **attributes)
        self.own = list(self.params)
        self.params += GLOBAL
        self.table = table

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; without any word, the help."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's shape
        """Their names, in the order people need them."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's shape
        """The command of that name, imported now."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess for what is misspelled."""
        name = args[0]
        if name not in self.table and not name.startswith("-") and not ctx.resilient_parsing:
            from pinfold.config.values import closest  # noqa: PLC0415

            meant = closest(name, self.table)
            ctx.fail(f"there is no command {name!r}" + (f"; did you mean {meant}?" if meant else ""))
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Like a man page, without importing a command."""
        self.format_usage(ctx, formatter)
        _describe(formatter, self.help or "")
        with formatter.section("COMMANDS"):
            formatter.write_dl([(name, what) for name, (_, what) in self.table.items()])
        if ctx.parent is None:
            with formatter.section("OPTIONS (before or after the command)"):
                formatter.write_dl(
                    [*_records(GLOBAL, ctx), *_records(self.own, ctx), ("-h, --help", "Show this page.")]
                )
            with formatter.section("EXIT CODES"):
                formatter.write_dl([(str(code), text) for code, text in EXITS.items()])


class Value(Base):
    """A value that a reader of `pinfold.config.values` understands."""

    def __init__(self, reader: str, name: str) -> None:
        """`reader`: the function's name there; `name`: what help calls it."""
        self._reader = reader
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """The value, or a failure with the reader's reason."""
        from pinfold.config import values  # noqa: PLC0415

        try:
            return getattr(values, self._reader)(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE: Final = Value("size", "size")
SECONDS: Final = Value("seconds", "duration")
DURATION: Final = Value("duration", "duration")


def _describe(formatter: click.HelpFormatter, text: str) -> None:
    with formatter.section("DESCRIPTION"):
        formatter.write_text(inspect.cleandoc(text))


def _records(params: Sequence[click.Parameter], ctx: click.Context) -> list[tuple[str, str]]:
    return [record for one in params if isinstance(one, click.Option) and (record := one.get_help_record(ctx))]


def _shape(option: click.Option) -> str:
    return "/".join(option.opts) + (f" {option.metavar}" if option.metavar else "")


def _write_lines(formatter: click.HelpFormatter, title: str, lines: Sequence[str]) -> None:
    with formatter.section(title):
        for line in lines:
            formatter.write(" " * formatter.current_indent + line + "\n")
