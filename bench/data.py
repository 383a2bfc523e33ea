"""What is backed up: a copy of a tree, files that cannot be compressed, a million small files.

All of it is made once and kept below the work folder for the next time; it appears under its name when it is whole.
Everything random is seeded.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_BIG_FILES: Final = 16
_PIECE: Final = 1 << 20
_PER_FOLDER: Final = 1000


class DataError(Exception):
    """The data cannot be had; the message says why and what to do."""


@dataclass
class Tree:
    """A copy of a tree.  `changes`: how often a part of it was changed, so that no change repeats another."""

    source: str
    files: int
    megabytes: float
    changes: int = 0


def names(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    """All names below a folder, in an order that is the same each time."""
    with os.scandir(folder) as listed:
        entries = sorted(listed, key=lambda entry: entry.name)
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from names(entry.path)


def whole_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The regular files below a folder."""
    return (entry for entry in names(folder) if entry.is_file(follow_symlinks=False))


def size(folder: Path) -> tuple[int, float]:
    """How many regular files there are, and how many MB."""
    sizes = [entry.stat(follow_symlinks=False).st_size for entry in whole_files(folder)]
    return len(sizes), sum(sizes) / 1e6


def tree(source: Path, folder: Path) -> Tree:
    """The copy of `source` in `folder`, made if it is not there.  Raises DataError."""
    told = folder.with_suffix(".json")
    if folder.exists() and told.exists():
        known = Tree(**json.loads(told.read_text(encoding="utf-8")))
        if known.source == str(source):
            return known
    if not source.is_dir():
        raise DataError(f"{source}: is no folder; give another with --tree")
    if folder.is_relative_to(source):
        raise DataError(f"{source}: holds the work folder; give another with --work, or another tree")
    print(f"copying {source} to work on")

    def copy(part: Path) -> None:
        done = subprocess.run(
            ["cp", "-a", "--", str(source), str(part)], stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            print(f"  not all of it could be copied: {done.stderr.strip().splitlines()[-1]}")

    told.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    _whole(folder, copy)
    made = Tree(str(source), *size(folder))
    _tell(told, made)
    return made


def change(folder: Path, known: Tree) -> int:
    """Change some bytes in 1 % of the regular files; returns in how many."""
    known.changes += 1
    _tell(folder.with_suffix(".json"), known)
    chance = random.Random(f"change {known.changes}")
    changed = 0
    for entry in whole_files(folder):
        if chance.random() < 0.01:
            _scribble(entry.path, chance)
            changed += 1
    return changed


def _scribble(path: str, chance: random.Random) -> None:
    with open(path, "r+b") as file:  # noqa: PTH123  # as names() gives it
        length = os.fstat(file.fileno()).st_size
        for _ in range(chance.randint(1, 3)):
            file.seek(chance.randrange(length + 1))
            file.write(chance.randbytes(chance.randint(1, 64)))


def one_file(folder: Path) -> str:
    """The path, relative to `folder`, of the file that is restored alone: some KiB, plainly named, chosen by seed."""
    chance = random.Random("one file")
    best: tuple[float, str] | None = None
    for entry in whole_files(folder):
        name = os.path.relpath(entry.path, folder)
        if re.fullmatch(r"[\w./-]+", name, re.ASCII) and 0 < entry.stat().st_size < 1 << 20:
            best = max(best or (0.0, ""), (chance.random(), name))
    if best is None:
        raise DataError(f"{folder}: holds no file to restore alone; give another with --tree")
    return best[1]


def incompressible(folder: Path, megabytes: int) -> None:
    """16 files of random bytes, `megabytes` in all."""

    def fill(part: Path) -> None:
        chance = random.Random("incompressible")
        part.mkdir()
        for number in range(_BIG_FILES):
            left = megabytes * 1_000_000 // _BIG_FILES
            with (part / f"{number:02}.bin").open("wb") as file:
                while left:
                    left -= file.write(chance.randbytes(min(left, _PIECE)))

    _once(folder, f"{megabytes} MB of random bytes", fill)


def small_files(folder: Path, count: int) -> None:
    """`count` files of 20 to 400 bytes of text, a thousand to a folder."""

    def fill(part: Path) -> None:
        chance = random.Random("small files")
        words = [chance.randbytes(4).hex() for _ in range(5000)]
        for number in range(count):
            within = f"{part}/{number // _PER_FOLDER:04}"
            if number % _PER_FOLDER == 0:
                os.makedirs(within)  # noqa: PTH103  # as below
            content = " ".join(chance.choices(words, k=chance.randint(2, 44)))
            with open(f"{within}/{number % _PER_FOLDER:03}.txt", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(content)

    _once(folder, f"{count:,} small files", fill)


def _once(folder: Path, what: str, fill: Callable[[Path], None]) -> None:
    told = folder.with_suffix(".json")
    if folder.exists() and told.exists() and json.loads(told.read_text(encoding="utf-8")) == what:
        return
    print(f"making {what}")
    told.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    _whole(folder, fill)
    told.write_text(json.dumps(what), encoding="utf-8")


def _whole(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` make a folder under a passing name, and rename it when it is whole."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fill(part)
    part.rename(folder)


def _tell(told: Path, known: Tree) -> None:
    told.write_text(json.dumps(asdict(known)), encoding="utf-8")
