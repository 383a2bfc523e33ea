"""Where secrets are to be had: WHAT, WHAT_file or WHAT_command; and the tables [stores."REPO"]."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from pinfold.config import values
from pinfold.config.layers import Layer
from pinfold.config.settings import Access, SecretSource
from pinfold.config.values import Place, closest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pinfold.config.layers import Table

_KEYS: Final = ("token_file", "token_command", "ca_file")


def secret_of(what: str, layer: Layer) -> SecretSource | None:
    """Where a layer says that the secret is; None if it says nothing.  Raises ValueError with place and reason."""
    keys = [key for key in (what, f"{what}_file", f"{what}_command") if key in layer.values]
    if len(keys) > 1:
        both = " and ".join(layer.names[key] for key in keys)
        raise ValueError(f"{both}: say in one way where the {what} is, not in {len(keys)}")
    if not keys:
        return None
    try:
        return _source_of(keys[0], what, layer)
    except ValueError as error:
        raise ValueError(f"{layer.names[keys[0]]}: {error}") from error


def _source_of(key: str, what: str, layer: Layer) -> SecretSource:
    value, origin = layer.values[key], layer.names[key]
    if key.endswith("_file"):
        return SecretSource("file", (str(values.path(value, layer.place)),), origin)
    if key == what:
        if not isinstance(value, str):
            raise ValueError("it is no text")
        return SecretSource("value", (value,), origin)
    if not layer.commands:
        # Whoever fetched a folder from elsewhere did not ask for the programs that its files name.
        raise ValueError(
            "a file that merely lies in the working folder names no program to run; say it in the environment,"
            " in the user's own pinfold.toml, or name the file with --config"
        )
    try:
        argv = shlex.split(value) if isinstance(value, str) else list(values.texts(value))
    except ValueError:
        # The command may hold a secret, so it is not repeated.
        raise ValueError("it is no command; mind its quotes") from None
    if not argv:
        raise ValueError("it is empty")
    return SecretSource("command", tuple(argv), origin)


def read_access(document: object, place: Place, table: Table, mistakes: list[str]) -> dict[str, Access]:
    """What opens each far store, by REPO.  What makes no sense goes to `mistakes`."""
    if not isinstance(document, dict):
        mistakes.append(f'{table.path}: stores: is no table; write [stores."kubo+https://…"]')
        return {}
    found: dict[str, Access] = {}
    for repository, keys in document.items():
        where = f"{table.path}: stores.{repository}"
        if not isinstance(keys, dict):
            mistakes.append(f"{where}: is no table")
            continue
        try:
            found[values.repository(repository, place)] = _access(keys, where, place, table, mistakes)
        except ValueError as error:
            mistakes.append(f"{where}: {error}")
    return found


def _access(keys: Mapping[str, object], where: str, place: Place, table: Table, mistakes: list[str]) -> Access:
    token, ca_file = None, None
    for key in keys:
        if key == "token":
            mistakes.append(f"{where}.token: has no place here; use token_file or token_command")
        elif key not in _KEYS:
            meant = closest(key, _KEYS)
            mistakes.append(
                f"{where}.{key}: there is no such setting" + (f'; did you mean "{meant}"?' if meant else "")
            )
    names = {key: f"{where}.{key}" for key in keys}
    try:
        given = {key: value for key, value in keys.items() if key != "token"}
        token = secret_of("token", Layer(given, names, place, table.commands))
    except ValueError as error:
        mistakes.append(str(error))
    try:
        ca_file = values.path(keys["ca_file"], place) if "ca_file" in keys else None
    except ValueError as error:
        mistakes.append(f"{names['ca_file']}: {error}")
    return Access(token, ca_file)
