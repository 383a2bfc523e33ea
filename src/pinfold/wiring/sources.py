"""Sources as settings describe them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pinfold.config import SourceSettings
    from pinfold.seal.keys import AgentKey
    from pinfold.sources.directory.excludes import Rules
    from pinfold.sources.directory.scan import Hears, Walk
    from pinfold.sources.directory.source import Directory


def directory(
    source: SourceSettings, key: AgentKey, files_from: Sequence[bytes] | None = None, avoid: Sequence[str] = ()
) -> Directory:
    """A directory source as settings describe it; `files_from`: only these paths below it.

    `avoid`: REPOs that are not saved into themselves where they lie inside the source.
    Raises ConfigError for bad patterns.
    """
    from pinfold.sources.directory.source import Directory, Settings  # noqa: PLC0415

    settings = Settings(
        one_file_system=source.one_file_system,
        ignore_inode=source.ignore_inode,
        ignore_ctime=source.ignore_ctime,
        xattrs=source.xattrs,
        described={"exclude": list(source.exclude)},
        avoid=frozenset(_identities(avoid)),
    )
    return Directory(source.name, os.fsencode(source.path), _rules(source, files_from), settings, key)


def _identities(places: Sequence[str]) -> Iterator[tuple[int, int]]:
    for where in places:
        with contextlib.suppress(OSError):
            status = Path(where.removeprefix("file://")).stat()
            yield status.st_dev, status.st_ino


def walk(source: SourceSettings, hears: Hears, files_from: Sequence[bytes] | None = None) -> Walk:
    """The walk that a backup of `source` would take, for counting beforehand.  Needs no repository."""
    from pinfold.sources.directory.scan import Walk  # noqa: PLC0415

    root = os.fsencode(source.path)
    return Walk(root, _rules(source, files_from), hears, one_file_system=source.one_file_system)


def _rules(source: SourceSettings, files_from: Sequence[bytes] | None) -> Rules:
    from pinfold.sources.directory.excludes import Chosen, Rules  # noqa: PLC0415

    return Rules(
        source.exclude,
        source.exclude_file,
        caches=source.exclude_caches,
        markers=source.exclude_if_present,
        larger_than=source.exclude_larger_than,
        chosen=None if files_from is None else Chosen(files_from),
    )
