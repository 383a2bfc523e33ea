"""Random lives of a repository, compared with a plain dictionary of the trees it should hold."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine import CHEAP, Rig, Row, listing, made, noise, rig
from pinfold import catalogue, rekey
from pinfold.backup import Wishes
from pinfold.cache import Cache
from pinfold.errors import Unavailable
from pinfold.seal.secret import Secret
from pinfold.store import Collects, Fault, Faulty, FolderStore, MemoryStore, power

if TYPE_CHECKING:
    from pinfold.ipld import CID
    from pinfold.snapshot import Snapshot
    from pinfold.store import Store

PLACES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/a", "d/e/f/a", "z/a", "z/large"])
SIZES = st.sampled_from([0, 1, 3000, 200_000, 700_000])
CRASHES = st.tuples(st.sampled_from(["put", "has", "pin", "pins", "get"]), st.integers(1, 12), st.integers(0, 4))


class Life(RuleBasedStateMachine):
    """Two machines of one repository save one tree in turn, while it changes and while things go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="pinfold-life-"))
        self.tree = self.place / "tree"
        self.tree.mkdir()
        self.expected: dict[CID, dict[bytes, Row]] = {}
        self.machines: list[Rig] = []
        self.faulty = Faulty(MemoryStore())
        self.number = 0

    @initialize(folder=st.booleans())
    def begin(self, folder: bool) -> None:  # drawn by hypothesis
        """A new repository with an owner's machine and an agent's, in one kind of store or the other."""
        store: Store = FolderStore.create(self.place / "store") if folder else MemoryStore()
        self.faulty = Faulty(store)
        owner = rig(self.place / "one", self.faulty)
        agent = owner.other_agent(self.place / "two")
        self.machines = [owner, agent]

    @rule(place=PLACES, size=SIZES, seed=st.integers(0, 3))
    def write(self, place: str, size: int, seed: int) -> None:
        """A file is written, or written over."""
        path = self.tree / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(seed, size))
        self.number += 1
        os.utime(path, ns=(self.number, self.number))

    @rule(place=PLACES)
    def remove(self, place: str) -> None:
        """A file goes, or a whole folder."""
        (self.tree / place).unlink(missing_ok=True)
        if place.count("/") == 1 and (self.tree / place).parent.exists():
            shutil.rmtree((self.tree / place).parent)

    @rule(place=PLACES, mode=st.sampled_from([0o600, 0o755, 0o4711]))
    def change(self, place: str, mode: int) -> None:
        """A mode changes, or nothing."""
        if (self.tree / place).exists():
            (self.tree / place).chmod(mode)

    @rule(who=st.integers(0, 1), skip=st.booleans())
    def save(self, who: int, skip: bool) -> None:
        """A machine makes a backup."""
        here = self.machines[who]
        result = here.backup(self.tree, wishes=Wishes(skip_unchanged=skip, checkpoint_seconds=2))
        assert [] == result.problems
        if result.snapshot is None:
            assert listing(self.tree) in self.expected.values()
        else:
            self.expected[result.snapshot.id] = listing(self.tree)

    @rule(who=st.integers(0, 1), crash=CRASHES)
    def crash(self, who: int, crash: tuple[str, int, int]) -> None:
        """A machine's backup breaks off at some call to the store, if it makes so many."""
        method, call, after = crash
        self.faulty.calls.clear()
        self.faulty.faults = (Fault(method, frozenset({call}), Unavailable("asleep"), after),)
        try:
            snapshot = made(self.machines[who].backup(self.tree, wishes=Wishes(checkpoint_seconds=2)))
        except Unavailable:
            return
        else:
            self.expected[snapshot.id] = listing(self.tree)
        finally:
            self.faulty.faults = ()

    @rule(who=st.integers(0, 1))
    def lose_cache(self, who: int) -> None:
        """A machine's cache is lost."""
        here = self.machines[who]
        here.cache.close()
        folder = self.place / ("one", "two")[who]
        shutil.rmtree(folder)
        here.cache = Cache(folder)

    @precondition(lambda self: self.expected)
    @rule(which=st.integers(0, 99))
    def forget(self, which: int) -> None:
        """A snapshot is unpinned."""
        chosen = sorted(self.expected)[which % len(self.expected)]
        roots = {one.id: one.root for one in self._snapshots()}
        self.faulty.unpin([roots[chosen]])
        del self.expected[chosen]

    @rule()
    def collect(self) -> None:
        """Garbage is collected."""
        able = power(self.faulty, Collects)  # type: ignore[type-abstract]
        assert able is not None
        able.collect()

    @rule()
    def change_keys(self) -> None:
        """Somebody is let in and taken out again, so that every snapshot gets a new root."""
        one, two = self.machines
        keyring = rekey.add_passphrase(one.keyring, one.key, Secret(b"guest"), "guest", CHEAP)
        rekey.publish(self.faulty, keyring)
        keyring = rekey.remove(keyring, one.key, "guest", one.clock)
        rekey.publish(self.faulty, keyring)
        assert [] == rekey.settle(self.faulty, keyring).failed
        one.keyring = two.keyring = keyring

    @precondition(lambda self: self.expected)
    @rule(which=st.integers(0, 99))
    def restore(self, which: int) -> None:
        """A snapshot comes back as the tree it was made of."""
        chosen = sorted(self.expected)[which % len(self.expected)]
        snapshot = next(one for one in self._snapshots() if one.id == chosen)
        target = self.place / "back"
        result = self.machines[0].restore(snapshot, target)
        assert ([], []) == (result.problems, result.damaged)
        assert self.expected[chosen] == listing(target)
        shutil.rmtree(target)

    @invariant()
    def holds_what_it_should(self) -> None:
        """What is pinned are the snapshots that were made and not forgotten, and what unfinished runs left."""
        if self.machines:
            listed = catalogue.listed(self.faulty, self.machines[0].key.repository)
            assert len(self.expected) == sum(one.kind == "full" for one in listed)

    def _snapshots(self) -> list[Snapshot]:
        return list(catalogue.snapshots(self.faulty, self.machines[0].key.repository))

    def teardown(self) -> None:
        """Everything that is pinned is whole; then all is taken away."""
        if self.machines:
            assert 0 == self.machines[0].verify().damage_count
            for here in self.machines:
                here.cache.close()
        self.faulty.close()
        shutil.rmtree(self.place)


Life.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


TestLife = pytest.mark.slow(Life.TestCase)
