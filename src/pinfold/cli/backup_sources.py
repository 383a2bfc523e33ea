"""Which sources the words of `pinfold backup` mean, and what its options add to them."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pinfold.cli import output
from pinfold.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pinfold.config import Settings, SourceSettings


def from_words(settings: Settings, what: Sequence[str], *, everything: bool, name: str | None) -> list[SourceSettings]:
    """The sources that the words mean.  Raises UsageError."""
    from pinfold.config import SourceSettings  # noqa: PLC0415
    from pinfold.config.values import closest  # noqa: PLC0415

    if everything and what:
        raise UsageError("--all means every source of pinfold.toml; name none beside it")
    if not everything and not what:
        raise UsageError("what is to be saved? give a PATH, the NAME of a source, or --all")
    if everything and not settings.sources:
        raise UsageError("--all: there is no source in pinfold.toml; add a table [sources.NAME] with a path")
    if name is not None and (len(what) != 1 or what[0] in settings.sources):
        raise UsageError("--name is for exactly one PATH")
    found = list(settings.sources.values()) if everything else []
    for word in what:
        if word in settings.sources:
            found.append(settings.sources[word])
        elif os.path.lexists(word):
            path = Path(os.path.abspath(word))  # noqa: PTH100  # resolve() would follow links
            shown = os.fsencode(path).decode("utf-8", "backslashreplace")
            found.append(SourceSettings(name or f"{settings.host or socket.gethostname()}:{shown}", path))
        else:
            meant = closest(word, settings.sources)
            guess = f"; did you mean {meant}?" if meant else ""
            raise UsageError(f"{output.path(word)!r} is neither there nor a source of pinfold.toml{guess}")
    return list({one.name: one for one in found}.values())


def with_flags(source: SourceSettings, skip_unchanged: bool, flags: dict[str, object]) -> SourceSettings:
    """A source with the options of the command line added to its own."""
    more: dict[str, object] = {"xattrs": source.xattrs and not flags["no_xattrs"]}
    for key in ("exclude", "exclude_if_present"):
        more[key] = (*getattr(source, key), *texts(flags[key]))
    more["tags"] = (*source.tags, *texts(flags["tag"]))
    more["exclude_file"] = (*source.exclude_file, *map(Path, texts(flags["exclude_file"])))
    for key in ("exclude_caches", "one_file_system", "ignore_inode", "ignore_ctime"):
        more[key] = getattr(source, key) or flags[key]
    more["skip_unchanged"] = source.skip_unchanged or skip_unchanged
    more |= {key: flags[key] for key in ("exclude_larger_than", "interval") if flags[key] is not None}
    return dataclasses.replace(source, **more)  # type: ignore[arg-type]  # click has checked each


def texts(value: object) -> tuple[str, ...]:
    """The words of an option that may be given several times."""
    return value if isinstance(value, tuple) else ()


def read_list(name: str, chosen: Sequence[SourceSettings]) -> list[bytes]:
    """The paths that --files-from lists, below the one source.  Raises UsageError."""
    from pinfold.sources.directory.excludes import parse_files_from  # noqa: PLC0415

    if len(chosen) != 1:
        raise UsageError("--files-from is for exactly one source: its paths lie below that one")
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"--files-from {name}: cannot be read: {error.strerror}") from error
    listed = parse_files_from(data, chosen[0].path, "--files-from" if name == "-" else name)
    if not listed:
        raise UsageError(f"--files-from {name}: the list is empty, so there is nothing to save")
    return listed


def absent(source: SourceSettings, listed: Sequence[bytes] | None) -> list[bytes]:
    """Those of the listed paths that do not exist."""
    root = os.fsencode(source.path)
    return [path for path in listed or () if not os.path.lexists(os.path.join(root, path))]  # noqa: PTH118  # bytes
