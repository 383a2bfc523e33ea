"""Fresh nodes below a folder, what they use, and pinfold's engine in this process, with its pins timed."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lab.kubo import new_node
from lab.program import make_template
from measure import stored
from pinfold import backup, config, wiring
from pinfold.config import SourceSettings
from pinfold.store.layers import Layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.kubo import Node
    from pinfold.backup import Result
    from pinfold.ipld import CID
    from pinfold.sources.seam import Outcome, Previous, Sink, Source
    from pinfold.store.seam import PinStatus, Store

PASSPHRASE: Final = "correct horse battery staple"  # noqa: S105  # guards nothing


@dataclass(frozen=True)
class Used:
    """What a process has used so far: CPU seconds, and MB of memory that it holds now."""

    cpu: float
    memory: float


def used(pid: int) -> Used:
    """What the process with this id used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123  # the kernel's, no path of ours
        fields = file.read().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Used(ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6)


@contextmanager
def fresh_node(work: Path, name: str) -> Iterator[Node]:
    """An empty node under the profile unixfs-v1-2025; what an earlier run left is removed."""
    home = work / "nodes" / name
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work / "template", ignore_errors=True)
    template = make_template(work / "template")
    with new_node(template.binary, template.home, home) as node:
        yield node


def held(node: Node) -> float:
    """MB of a node's blocks on its disk."""
    return stored(node.home / "blocks")


@dataclass
class Clocks:
    """When the last byte of a source was read, and how long each pin took, in seconds."""

    read: float = 0.0
    pins: list[float] = field(default_factory=list)


class _Timed(Layer):
    def __init__(self, store: Store, clocks: Clocks) -> None:
        super().__init__(store)
        self._clocks = clocks

    def pin(self, root: CID, name: str, *, replaces: CID | None = None) -> PinStatus:
        started = time.perf_counter()
        try:
            return super().pin(root, name, replaces=replaces)
        finally:
            self._clocks.pins.append(time.perf_counter() - started)


class _Watched:
    """A source that tells when it was read to its end."""

    def __init__(self, source: Source, clocks: Clocks) -> None:
        self._source = source
        self._clocks = clocks
        self.name = source.name
        self.kind = source.kind

    def options(self) -> dict[str, object]:
        return self._source.options()

    def run(self, sink: Sink, previous: Previous) -> Outcome:
        outcome = self._source.run(sink, previous)
        self._clocks.read = time.perf_counter()
        return outcome


class Engine:
    """A repository at REPO that this process makes, and saves folders to."""

    def __init__(self, repository: str, folder: Path) -> None:
        """`folder`: for the passphrase, cache and keys."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "passphrase").write_text(f"{PASSPHRASE}\n", encoding="utf-8")
        (folder / "passphrase").chmod(0o600)
        environment = {
            "HOME": str(folder),
            "PINFOLD_REPOSITORY": repository,
            "PINFOLD_PASSPHRASE_FILE": str(folder / "passphrase"),
            "PINFOLD_CACHE": str(folder / "cache"),
        }
        self.environment = environment
        self.settings = config.load({}, environment, folder)
        from pinfold.seal.slots import Stretch  # noqa: PLC0415  # as wiring does

        wiring.init(self.settings, recipients=(), secret=wiring.passphrase(self.settings), stretch=Stretch())

    def backup(self, source: Path, clocks: Clocks) -> Result:
        """One more snapshot of a folder."""
        from dataclasses import replace  # noqa: PLC0415

        with wiring.for_backup(self.settings) as repository:
            timed = replace(repository, store=_Timed(repository.store, clocks))
            made = wiring.directory(SourceSettings("bench", source), repository.agent)
            return backup.backup(timed, _Watched(made, clocks), backup.Wishes())  # type: ignore[arg-type]  # the same face
