"""How a run is measured: wall time, CPU time, peak memory, bytes stored, and a disk at rest before it.

Peak memory is that of a tool's largest process, as the kernel counts it; no tool here runs more than one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data import names

if TYPE_CHECKING:
    from peers import Command, Tool

_CHILD: Final = Path(__file__).resolve().with_name("child.py")
_PIECE: Final = 1 << 20
_PROBE_FILES: Final = 2000
# ext4 takes no inode again for up to 35 s after it was freed, and looks past each such one anew: creating files is
# 4 to 8 times slower for about 45 s after 100,000 were removed.
_MANY_FILES: Final = 10_000
_REST_SECONDS: Final = 45.0
_MOST_REST_SECONDS: Final = 180.0
_AS_FAST: Final = 1.5


class RunFailedError(Exception):
    """A tool failed; the message says how and what it said last."""


@dataclass(frozen=True)
class Run:
    """What one run of a tool took.  Seconds and MB (10^6 bytes)."""

    wall: float
    cpu: float
    peak: float


def timed(tool: Tool, command: Command) -> Run:
    """Run a command of the tool.  Raises RunFailedError."""
    log = tool.folder / "said"
    os.sync()
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_CHILD), str(log), *command.words],
        cwd=command.folder or tool.home,
        env=tool.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    code, wall, cpu, peak = map(float, done.stdout.split())
    if not tool.is_fine(int(code)):
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise RunFailedError(f"{' '.join(command.words[:3])} ended with {code:.0f}: {''.join(last)}")
    return Run(wall, cpu, peak / 1e6)


def stored(folder: Path) -> float:
    """MB that a folder takes on its disk, as `du` counts."""
    return sum(entry.stat(follow_symlinks=False).st_blocks for entry in names(folder)) * 512 / 1e6


def warm(folder: Path, *, contents: bool) -> None:
    """Read all of a folder once (or only what `stat` tells), so that no tool is the first to do so."""
    piece = bytearray(_PIECE)
    for entry in names(folder):
        if not entry.is_file(follow_symlinks=False):
            continue
        if not contents:
            entry.stat(follow_symlinks=False)
            continue
        with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123  # a Path each: 2 s for 100,000 files
            while file.readinto(piece):
                pass


class Disk:
    """The disk below a folder, and whether it creates files as fast as at the start."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where trees are restored, emptied now; where fresh files land depends on the folder above them."""
        self._folder = folder
        self._probes = 0
        if _removed([folder]) >= _MANY_FILES:
            time.sleep(_REST_SECONDS)
        folder.mkdir()
        self._usual = self._best_probe()

    def remove(self, folders: list[Path]) -> None:
        """Remove folders and wait until the disk is at rest again; never between two runs that are compared."""
        count = _removed(folders)
        os.sync()
        if count >= _MANY_FILES:
            time.sleep(_REST_SECONDS)
            self.wait()

    def wait(self) -> None:
        """Wait until files are created as fast as at the start, for three minutes at the most."""
        started = time.monotonic()
        while (took := self._best_probe()) > self._usual * _AS_FAST:
            if time.monotonic() - started > _MOST_REST_SECONDS:
                print(f"  the disk creates files {took / self._usual:.1f} times slower than at the start; going on")
                return
            time.sleep(5)

    def _best_probe(self) -> float:
        return min(self._probe() for _ in range(3))

    def _probe(self) -> float:
        """Seconds that creating 2,000 files takes; they stay, for removing them would disturb the next."""
        probe = self._folder / f"probe-{self._probes}"
        probe.mkdir()
        self._probes += 1
        os.sync()
        started = time.perf_counter()
        for number in range(_PROBE_FILES):
            os.close(os.open(f"{probe}/{number}", os.O_CREAT | os.O_WRONLY, 0o600))
        return time.perf_counter() - started


def _removed(folders: list[Path]) -> int:
    """Remove folders; returns how many names they held."""
    count = 0
    for folder in folders:
        if folder.exists():
            count += sum(1 for _ in names(folder))
            shutil.rmtree(folder)
    return count
