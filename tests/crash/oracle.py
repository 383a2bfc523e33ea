"""What must hold after every crash: the snapshots that were pinned are, and restore to what they were made of."""

from __future__ import annotations

import shutil
from itertools import count
from typing import TYPE_CHECKING

from crash.cli import CHEAP, Machine, kept_blocks, size_of
from engine import listing
from pinfold.seal.bundle import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from engine import Row


class Oracle:
    """What every snapshot must restore to, by its id."""

    def __init__(self, machine: Machine, place: Path, source: str = "tree") -> None:
        self.machine = machine
        self.place = place
        self.source = source
        self.states: dict[str, dict[bytes, Row]] = {}
        self.checkpoints: set[str] = set()
        self.targets = count()

    def look(self, tree: Path, gone: Iterable[str] = ()) -> set[str]:
        """All known snapshots are pinned, save those that may be gone; new ones restore to the tree as it is."""
        found = self.machine.roots(self.source)
        fulls = {name for name, (_, kind) in found.items() if kind == "full"}
        lost = self.states.keys() - fulls
        assert lost <= set(gone)
        for name in lost:
            del self.states[name]
        new = fulls - self.states.keys()
        assert len(new) <= 1
        for name in new:
            self.states[name] = listing(tree)
            self.check(found[name][0], self.states[name])
        for name, (root, kind) in found.items():
            if kind == "checkpoint" and name not in self.checkpoints:
                self.checkpoints.add(name)
                self.check_part(root, listing(tree))
        return new

    def check(self, root: str, state: dict[bytes, Row]) -> None:
        """The snapshot restores to exactly this."""
        target = self.place / f"{self.source} {next(self.targets)}"
        assert state == self.machine.restored(root, target)
        shutil.rmtree(target)

    def check_part(self, root: str, state: dict[bytes, Row]) -> None:
        """A checkpoint restores to a part of this."""
        target = self.place / f"{self.source} {next(self.targets)}"
        rows = self.machine.restored(root, target)
        contents = {path: row.content for path, row in rows.items()}
        assert contents.items() <= {path: row.content for path, row in state.items()}.items()
        shutil.rmtree(target)

    def check_all(self) -> None:
        """Every snapshot restores to what it was made of, and every block is sound."""
        for name, (root, kind) in self.machine.roots(self.source).items():
            if kind == "full":
                self.check(root, self.states[name])
        assert 0 == self.machine.call("verify", "--read", "--at-rest", "--decrypt", "100")["damage_count"]


def back_up(tree: Path) -> tuple[str | Path, ...]:
    """The words of a backup of a tree, whose source is called as its folder."""
    return ("backup", tree, "--name", tree.name)


def assert_lean(machine: Machine, tree: Path, place: Path) -> None:
    """The repository holds little more than one made from scratch, and what its bundles may keep of older files.

    A bundle is written anew when less than half of it is current, so small files may lie there twice over.
    """
    fresh = Machine(place / "fresh", place / "fresh cache")
    fresh.call("init", *CHEAP)
    fresh.call(*back_up(tree))
    live = machine.call("gc", "--dry-run")["live_bytes"]
    sizes = [path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    stale = sum(size for size in sizes if size <= SMALL)
    assert live <= 1.1 * fresh.call("gc", "--dry-run")["live_bytes"] + stale
    # Cars of which half is alive are left as they are.
    assert size_of(machine.store) <= 2 * live
    assert {1} == set(kept_blocks(machine.store).values())
