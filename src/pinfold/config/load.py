"""Settings put together, weakest first: pinfold.toml, `.env`, the environment, flags.

Every layer is read to its end, overridden or not, so that all mistakes are told at once.
Files that merely lie in the working folder may set everything but programs to run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pinfold.config import layers, values
from pinfold.config.secrets import read_access, secret_of
from pinfold.config.settings import Access, Policy, Settings
from pinfold.config.sources import read_sources
from pinfold.config.values import Place
from pinfold.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pinfold.config.layers import Layer, Table
    from pinfold.config.settings import SecretSource

T = TypeVar("T")


def load(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Settings:
    """All settings.  `flags`: by key, as "keep_last", besides "config"; one that is None was not given.

    Raises ConfigError with every mistake, each naming its file or variable, its key and the reason.
    """
    mistakes: list[str] = []
    home = _home(environ)
    place = Place(cwd, home)
    config_dir = _xdg(environ, "XDG_CONFIG_HOME", home, ".config")
    lines = layers.read_dotenv(cwd, mistakes)
    given = {key: value for key, value in flags.items() if value is not None}
    chosen = given.pop("config", None) or environ.get("PINFOLD_CONFIG")
    named = next((line.value for line in reversed(lines) if line.key == "PINFOLD_CONFIG"), None)
    table = layers.find_toml(chosen or named, place, config_dir, mistakes, commands=bool(chosen))
    reader = _Reader(
        [
            layers.from_toml(table, place, mistakes),
            layers.from_variables(
                ((line.key, line.value, f"{layers.DOTENV}, line {line.number}: ") for line in lines),
                place,
                mistakes,
                commands=False,
            ),
            layers.from_variables(((key, value, "") for key, value in environ.items()), place, mistakes),
            layers.from_flags(given, place, mistakes),
        ],
        mistakes,
    )
    settings = reader.settings(table, config_dir, _xdg(environ, "XDG_CACHE_HOME", home, ".cache"))
    if mistakes:
        raise ConfigError(mistakes)
    return settings


class _Reader:
    """Reads every layer's value of a key and gives the strongest; mistakes are collected."""

    def __init__(self, layered: list[Layer], mistakes: list[str]) -> None:
        self._layers = layered
        self._mistakes = mistakes

    def settings(self, table: Table, config_dir: Path | None, cache: Path | None) -> Settings:
        """The settings; worth nothing if there were mistakes."""
        cache = self._pick_at("cache", values.path, cache)
        if cache is None or config_dir is None:
            self._mistakes.append("HOME: is not set; set it, or XDG_CONFIG_HOME and XDG_CACHE_HOME")
        alone: tuple[str, ...] = ()
        mirrors = self._pick_at("mirrors", values.repositories, alone)
        copies = self._pick("min_copies", values.count, 1)
        if copies > 1 + len(mirrors):
            self._mistakes.append(
                f"{self._name('min_copies')}: {copies} copies need {copies - 1} mirrors, there are {len(mirrors)}"
            )
        most = self._pick("max_copies", _count_or_none, None)
        if most is not None and most < copies:
            self._mistakes.append(f"{self._name('max_copies')}: {most} are fewer than min_copies, which is {copies}")
        repository = self._pick_at("repository", values.repository, None)
        return Settings(
            cache=cache or Path(),
            config_dir=config_dir or Path(),
            config_file=table.path,
            repository=repository,
            repository_id=self._pick("repository_id", values.repository_id, None),
            identity=self._pick_at("identity", values.paths, ()),
            agent_key=self._pick_at("agent_key", values.path, None),
            passphrase=self._secret("passphrase"),
            host=self._pick("host", values.text, None),
            mirrors=mirrors,
            access=self._access(table, repository),
            min_copies=copies,
            max_copies=most,
            checkpoint=self._pick("checkpoint", values.seconds, 300),
            check_all=self._pick("check_all", values.yes_or_no, default=False),
            keep=self._policy(),
            sources=read_sources(
                table.document.get("sources", {}), self._layers[0].place, str(table.path), self._mistakes
            ),
        )

    def _policy(self) -> Policy:
        return Policy(
            **{one: self._pick(f"keep_{one}", values.whole, 0) for one in layers.COUNTS},
            within=self._pick("keep_within", values.duration, None),
            tags=self._pick("keep_tags", values.texts, ()),
        )

    def _pick(self, key: str, read: Callable[[object], T], default: T) -> T:
        return self._pick_at(key, lambda value, _: read(value), default)

    def _pick_at(self, key: str, read: Callable[[object, Place], T], default: T) -> T:
        picked = default
        for layer in self._layers:
            if key in layer.values:
                try:
                    picked = read(layer.values[key], layer.place)
                except ValueError as error:
                    self._mistakes.append(f"{layer.names[key]}: {error}")
        return picked

    def _name(self, key: str) -> str:
        return next((layer.names[key] for layer in reversed(self._layers) if key in layer.values), key)

    def _access(self, table: Table, repository: str | None) -> dict[str, Access]:
        """By REPO; what stands at the top is the repository's own."""
        place = self._layers[0].place
        found = read_access(table.document.get("stores", {}), place, table, self._mistakes)
        token, ca_file = self._secret("token"), self._pick_at("ca_file", values.path, None)
        if repository is not None and (token is not None or ca_file is not None):
            before = found.get(repository, Access())
            found[repository] = Access(token or before.token, ca_file or before.ca_file)
        return found

    def _secret(self, what: str) -> SecretSource | None:
        picked = None
        for layer in self._layers:
            try:
                source = secret_of(what, layer)
            except ValueError as error:
                self._mistakes.append(str(error))
            else:
                picked = source or picked
        return picked


def _count_or_none(value: object) -> int | None:
    return values.count(value)


def _home(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HOME")
    if home:
        return Path(home)
    import pwd  # noqa: PLC0415  # services often run without HOME

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def _xdg(environ: Mapping[str, str], variable: str, home: Path | None, below: str) -> Path | None:
    # A relative path there is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    folder = environ.get(variable, "")
    if folder.startswith("/"):
        return Path(folder) / "pinfold"
    return home / below / "pinfold" if home else None
