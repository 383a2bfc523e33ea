"""Where settings are written down: pinfold.toml, `.env`, the environment; each becomes a layer."""

from __future__ import annotations

import os
import stat
import tomllib
from typing import TYPE_CHECKING, Final, NamedTuple

from pinfold.config import dotenv, values
from pinfold.config.dotenv import PREFIX
from pinfold.config.values import Place, closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FILE: Final = "pinfold.toml"
DOTENV: Final = ".env"
COUNTS: Final = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_KEEP: Final = (*COUNTS, "within", "tags")
_TOP: Final = (
    "repository",
    "repository_id",
    "identity",
    "agent_key",
    "cache",
    "host",
    "mirrors",
    "min_copies",
    "max_copies",
    "checkpoint",
    "check_all",
    "passphrase",
    "passphrase_file",
    "passphrase_command",
    "token",
    "token_file",
    "token_command",
    "ca_file",
)
TABLES: Final = ("sources", "stores")
SECRETS: Final = ("passphrase", "token")
KEYS: Final = (*_TOP, *(f"keep_{one}" for one in _KEEP))
_MAX_BYTES: Final = 1 << 20
# What stands between the values of a list in the environment; None: white space, for addresses hold colons.
_SEPARATORS: Final[dict[str, str | None]] = {"identity": os.pathsep, "mirrors": None, "keep_tags": ","}
# A variable this like a known one is a slip of the pen.  Others are let pass: Kubernetes makes up
# PINFOLD_SERVICE_HOST and PINFOLD_PORT for a service of our name.
_LIKE: Final = 0.8


class Layer(NamedTuple):
    """Settings from one place: values by key, what each key is called there, and what paths start from.

    `commands`: whether a program may be named there.
    """

    values: Mapping[str, object]
    names: Mapping[str, str]
    place: Place
    commands: bool = True


class Table(NamedTuple):
    """pinfold.toml as parsed; `path` is None and the document empty where there is none.

    `commands`: whether the user said to read it, or keeps it among the settings: only then may it name a program.
    """

    document: dict[str, object]
    path: Path | None
    commands: bool = True


def find_toml(
    chosen: object, cwd: Place, config_dir: Path | None, mistakes: list[str], *, commands: bool = True
) -> Table:
    """The file that was `chosen` (by flag or variable), else ./pinfold.toml, else the one in `config_dir`.

    `commands`: whether who chose it may choose programs.
    """
    if chosen:
        try:
            path = values.path(chosen, cwd)
            return _parsed(path.read_bytes(), path, mistakes)._replace(commands=commands)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            mistakes.append(f"{chosen}: cannot be read: {reason}")
            return Table({}, None)
    for folder in (cwd.base, config_dir):
        data = found(folder / FILE, mistakes) if folder else None
        if folder and data is not None:
            ours = config_dir is not None and config_dir.is_dir() and folder.samefile(config_dir)
            return _parsed(data, folder / FILE, mistakes)._replace(commands=ours)
    return Table({}, None)


def _parsed(data: bytes, path: Path, mistakes: list[str]) -> Table:
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError(f"it is longer than {_MAX_BYTES} bytes")  # noqa: TRY301  # told like the others
        return Table(tomllib.loads(data.decode()), path)
    except UnicodeDecodeError:
        mistakes.append(f"{path}: is not UTF-8")
    except (ValueError, RecursionError) as error:
        mistakes.append(f"{path}: is no TOML: {error}")
    return Table({}, path)


def found(path: Path, mistakes: list[str]) -> bytes | None:
    """What a file says that nobody chose but that lies where we look; None where there is none.

    One that another user made or may change is refused: a folder such as /tmp is everybody's.
    """
    data, why = _looked_at(path, mistakes)
    if why:
        mistakes.append(f"{path}: {why}")
    return None if why else data


def _looked_at(path: Path, mistakes: list[str]) -> tuple[bytes | None, str]:
    """What a file says, and why it is not to be believed, if so."""
    try:
        if not path.is_file():
            return None, ""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # what is judged is what is read
            data = file.read(_MAX_BYTES + 1)
        if not {status.st_uid, path.lstat().st_uid} <= {0, os.getuid()}:
            return data, "belongs to another user; if you trust it, say --config FILE, or make it yours"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return data, "others may write to it; take that from them with chmod go-w, then look at what it says"
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror}")
        return None, ""
    return data, ""


def read_dotenv(cwd: Path, mistakes: list[str]) -> list[dotenv.Line]:
    """The PINFOLD_* lines of `.env`; one that has none is another program's, whoever may write to it."""
    data, why = _looked_at(cwd / DOTENV, mistakes)
    if data is not None and len(data) > _MAX_BYTES:
        mistakes.append(f"{DOTENV}: is longer than {_MAX_BYTES} bytes")
        return []
    told: list[str] = []
    lines = dotenv.parse((data or b"").decode("utf-8", "surrogateescape"), DOTENV, told)
    if why and (lines or told):
        mistakes.append(f"{cwd / DOTENV}: {why}")
        return []
    mistakes += told
    return lines


def from_toml(table: Table, cwd: Place, mistakes: list[str]) -> Layer:
    """The file as a layer: [keep] flattened, other tables left to others, what is unknown told."""
    place = Place(table.path.parent, cwd.home) if table.path else cwd
    found: dict[str, object] = {}
    names: dict[str, str] = {}
    for key, value in table.document.items():
        if key in TABLES:
            continue
        if key == "keep" and isinstance(value, dict):
            for part, count in value.items():
                if part in _KEEP:
                    found[f"keep_{part}"], names[f"keep_{part}"] = count, f"{table.path}: keep.{part}"
                else:
                    mistakes.append(_unknown(f"{table.path}: keep.{part}", closest(part, _KEEP)))
        elif key == "keep":
            mistakes.append(f"{table.path}: keep: is no table; write [keep]")
        elif key in SECRETS:
            mistakes.append(f"{table.path}: {key}: has no place here; use {key}_file or {key}_command")
        elif key in _TOP:
            found[key], names[key] = value, f"{table.path}: {key}"
        else:
            mistakes.append(_unknown(f"{table.path}: {key}", closest(key, (*_TOP, "keep", *TABLES))))
    return Layer(found, names, place, table.commands)


def from_variables(
    lines: Iterable[tuple[str, str, str]], place: Place, mistakes: list[str], *, commands: bool = True
) -> Layer:
    """PINFOLD_* variables as a layer.  `lines`: variable, value, and what comes before its name in errors.

    An empty value is none, as in compose files.
    """
    found: dict[str, object] = {}
    names: dict[str, str] = {}
    for variable, value, where in lines:
        key = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or key == "config":
            continue
        if variable == PREFIX + key.upper() and key in KEYS:
            listed = [one.strip() for one in value.split(_SEPARATORS[key])] if key in _SEPARATORS else None
            if value:
                found[key] = value if listed is None else [one for one in listed if one]
                names[key] = where + variable
        elif meant := closest(key, (*KEYS, "config"), _LIKE):
            mistakes.append(_unknown(where + variable, PREFIX + meant.upper()))
    return Layer(found, names, place, commands)


def from_flags(given: Mapping[str, object], place: Place, mistakes: list[str]) -> Layer:
    """Flags as a layer."""
    names = {key: f"--{key.replace('_', '-')}" for key in given}
    mistakes += [_unknown(names[key], None) for key in given if key not in KEYS]
    return Layer(given, names, place)


def _unknown(name: str, meant: str | None) -> str:
    return f"{name}: there is no such setting" + (f'; did you mean "{meant}"?' if meant else "")
