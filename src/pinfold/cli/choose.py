"""Words that mean something in a repository: snapshots by CID or name, files by pattern."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Final

from pinfold import catalogue, wiring
from pinfold.config.values import closest
from pinfold.errors import ConfigError, KeyFailure, PinfoldError, UsageError
from pinfold.reading import DAMAGE
from pinfold.sources.directory.excludes import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pinfold.catalogue import Listed
    from pinfold.config import Settings
    from pinfold.snapshot import Snapshot
    from pinfold.wiring import Opened, Owned

    Fits = Callable[[bytes, bool], bool]

_LATEST: Final = "latest:"
_FOLDERS_REMEMBERED: Final = 4096


def snapshot(found: Opened | Owned, text: str) -> Snapshot:
    """The snapshot that `text` means.  Raises UsageError, for a source's name with what was probably meant."""
    if not isinstance(found, wiring.Owned):
        return catalogue.find(found.store, found.repository, text)
    try:
        return catalogue.find(found.store, found.repository, text, found.source_id)
    except UsageError as error:
        if not text.startswith(_LATEST):
            raise
        name = text.removeprefix(_LATEST)
        meant = closest(name, source_names(found).values())
        if meant is None:
            raise
        raise UsageError(f"no snapshot of {name} in {found.store.name}; did you mean {_LATEST}{meant}?") from error


def among(settings: Settings, texts: Sequence[str]) -> Settings:
    """Settings in which a store without a list of pins is told which snapshots are meant, by the CIDs in `texts`."""
    from pinfold.store import address  # noqa: PLC0415

    where = settings.repository
    far = None if where is None else address.parse(where)
    if where is None or far is None or far.kind != "gateway":
        return settings
    known = [root for root in far.options.get("root", "").split(",") if root]
    named = [text for text in dict.fromkeys(map(catalogue.bare, texts)) if catalogue.is_cid(text) and text not in known]
    if not named:
        return settings
    told = f"{far.name}?root={','.join([*known, *named])}"
    access = {told: settings.access[where]} if where in settings.access else {}
    return dataclasses.replace(settings, repository=told, access={**settings.access, **access})


def listed(found: Opened | Owned, texts: Sequence[str]) -> list[Listed]:
    """The snapshots that `texts` mean, as the pin list has them: also such as are too damaged to load.

    Without texts all of them.  Raises UsageError for none or several behind one text.
    """
    pinned = catalogue.listed(found.store, found.repository)
    if not texts:
        return pinned
    picked: dict[str, Listed] = {}
    for text in map(catalogue.bare, texts):
        try:
            root = str(snapshot(found, text).root)
        except (*DAMAGE, KeyFailure):
            damaged = [one for one in map(_root, pinned) if one.startswith(text) or one.endswith(text)]
            if len(damaged) != 1:
                raise
            root = damaged[0]
        one = next((one for one in pinned if _root(one) == root), None)
        if one is None:
            raise UsageError(f"snapshot {root} is in {found.store.name}, but not pinned there as a snapshot")
        picked[root] = one
    return list(picked.values())


def _root(one: Listed) -> str:
    return str(one.root)


def source_names(found: Owned) -> dict[str, str]:
    """The names of the sources by their ids, as far as a snapshot of each can be read."""
    names: dict[str, str] = {}
    for made in catalogue.snapshots(found.store, found.repository, broken=lambda _, __: None):
        if made.header.source not in names:
            try:
                names[made.header.source] = found.manifest(made).source
            except PinfoldError:
                continue  # it may be readable in a later one
    return names


def files(include: Sequence[str], exclude: Sequence[str]) -> Fits | None:
    """What is wanted, by patterns as in .gitignore; None for everything.  A folder stands for all below it.

    Raises ConfigError for bad patterns.
    """
    if not include and not exclude:
        return None
    included, excluded = fitting(include), fitting(exclude)
    return lambda path, is_folder: (not include or included(path, is_folder)) and not excluded(path, is_folder)


def fitting(patterns: Sequence[str]) -> Fits:
    """Whether a path, or a folder above it, fits one of the patterns."""
    rules = _rules(patterns)

    @functools.lru_cache(_FOLDERS_REMEMBERED)
    def folder_fits(path: bytes) -> bool:
        return bool(path) and (rules.leaves_out(path, is_folder=True) or folder_fits(_above(path)))

    def fits(path: bytes, is_folder: bool) -> bool:
        return folder_fits(path) if is_folder else rules.leaves_out(path, is_folder=False) or folder_fits(_above(path))

    return fits


def matching(patterns: Sequence[str]) -> Fits:
    """Whether a path itself fits one of the patterns."""
    return _rules(patterns).leaves_out


def _rules(patterns: Sequence[str]) -> Rules:
    try:
        return Rules(patterns)
    except ConfigError as error:  # there they are called after the option that has them in a backup
        raise ConfigError([one.removeprefix("--exclude: ") for one in error.mistakes]) from None


def sources(found: Opened | Owned) -> Iterator[tuple[str, str]]:
    """Each source's id and name; without a key the id is its name."""
    names = source_names(found) if isinstance(found, wiring.Owned) else {}
    for one in sorted({one.source for one in catalogue.listed(found.store, found.repository)}):
        yield one, names.get(one, one)


def _above(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]
