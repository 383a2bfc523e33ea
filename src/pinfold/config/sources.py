"""The tables [sources.NAME] of pinfold.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pinfold.config import values
from pinfold.config.settings import SourceSettings
from pinfold.config.values import Place, closest

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES: Final = ("directory",)
_LONGEST_NAME: Final = 200


def _plain(read: Callable[[object], object]) -> Callable[[object, Place], object]:
    return lambda value, _: read(value)


def _type(value: object) -> str:
    if value not in TYPES:
        raise ValueError(f"{value!r} is no type of source; there is: {', '.join(TYPES)}")
    return str(value)


_KEYS: Final[dict[str, Callable[[object, Place], object]]] = {
    "type": _plain(_type),
    "path": values.path,
    "exclude": _plain(values.patterns),
    "exclude_file": values.paths,
    "exclude_caches": _plain(values.yes_or_no),
    "exclude_if_present": _plain(values.texts),
    "exclude_larger_than": _plain(values.size),
    "one_file_system": _plain(values.yes_or_no),
    "ignore_inode": _plain(values.yes_or_no),
    "ignore_ctime": _plain(values.yes_or_no),
    "xattrs": _plain(values.yes_or_no),
    "tags": _plain(values.texts),
    "interval": _plain(values.seconds),
    "skip_unchanged": _plain(values.yes_or_no),
}


def read_sources(document: object, place: Place, where: str, mistakes: list[str]) -> dict[str, SourceSettings]:
    """The sources by name, in the file's order.  What makes no sense goes to `mistakes`."""
    if not isinstance(document, dict):
        mistakes.append(f"{where}: sources: is no table; write one [sources.NAME] for each source")
        return {}
    found = {
        name: _source(name, table, place, f"{where}: sources.{name}", mistakes) for name, table in document.items()
    }
    return {name: source for name, source in found.items() if source is not None}


def _source(name: str, table: object, place: Place, where: str, mistakes: list[str]) -> SourceSettings | None:
    if not _is_name(name):
        mistakes.append(
            f"{where}: a source's name must be one printable word that begins with no '-', '.' or '~' and holds no '/'"
        )
    if not isinstance(table, dict):
        mistakes.append(f"{where}: is no table; write [sources.{name}]")
        return None
    read: dict[str, Any] = {}
    for key, value in table.items():
        if key not in _KEYS:
            meant = closest(key, _KEYS)
            mistakes.append(
                f"{where}.{key}: there is no such setting" + (f'; did you mean "{meant}"?' if meant else "")
            )
            continue
        try:
            read[key] = _KEYS[key](value, place)
        except ValueError as error:
            mistakes.append(f"{where}.{key}: {error}")
    if "path" not in table:
        mistakes.append(f"{where}.path: is missing: what is to be saved?")
    return SourceSettings(name, **read) if "path" in read else None


def _is_name(name: str) -> bool:
    # On the command line a source's name stands where a path may stand.
    return (
        0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and "/" not in name
        and " " not in name
        and name[0] not in "-.~"
    )
