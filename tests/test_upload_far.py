"""Backups into stores that are far away: few questions, many at once, and reading goes on while blocks are sent."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from engine import blocks_of, listing, made, noise, rig, write
from pinfold import digests
from pinfold.backup import Wishes
from pinfold.blockset import BlockSet
from pinfold.errors import Malformed, Missing, Refused, Unavailable
from pinfold.ipld import CID
from pinfold.replicate import Replication
from pinfold.store import Counting, Fault, Faulty, FolderStore, MemoryStore, Mirror
from pinfold.store.copies import at_once
from pinfold.store.filling import fill
from pinfold.store.layers import Layer
from pinfold.upload import Uploader
from sources.sink import AGENT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pinfold.store import Block, Store

MEBI = 1 << 20


class Distant(Layer):
    """A store behind a network: counts its questions, and how many blocks each asks for."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store or MemoryStore())
        self.asked: list[int] = []

    @property
    def at_once(self) -> int:
        """As many calls as a real one likes."""
        return 16

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Note how many are asked for."""
        wanted = list(cids)
        self.asked.append(len(wanted))
        return super().has(wanted)


def tree(root: Path) -> Path:
    """Fifteen megabytes that do not compress."""
    return write(root, {f"{number}": noise(number, 3 * MEBI) for number in range(5)})


def test_how_far_a_store_is() -> None:
    """A mirror is as far as the farthest of its stores; what is near is asked one by one."""
    assert (1, 16) == (at_once(MemoryStore()), at_once(Counting(Distant())))
    assert (1, 16) == (at_once(Mirror([MemoryStore()])), at_once(Mirror([MemoryStore("a"), Distant()])))


def test_new_blocks_are_not_asked_for_one_by_one(tmp_path: Path) -> None:
    """Blocks that wait for a slow store are asked for together."""
    gate = threading.Event()

    class Slow(Distant):
        def put(self, blocks: Iterable[Block]) -> int:
            gate.wait()
            return super().put(blocks)

    store = Slow()
    work = Uploader(store, AGENT.sealer(), rig(tmp_path / "cache").cache, believed=lambda _: False)
    feeder = threading.Thread(target=lambda: [work.chunk(noise(seed, 1000)) for seed in range(200)])
    feeder.start()
    while not work._queue.full():
        time.sleep(0.001)
    gate.set()
    feeder.join()
    work.flush()
    work.close()
    assert (200, 200) == (work.new_blocks, sum(store.asked))
    assert max(store.asked) > 8


def touched(root: Path) -> None:
    """Give every file a new time, so that all of it is read again."""
    for path in root.iterdir():
        path.touch()


def test_what_the_last_snapshot_lists_is_believed(tmp_path: Path) -> None:
    """Files that were touched are read, and no block of theirs is asked for, sealed or put again."""
    store = Distant()
    here, root = rig(tmp_path / "cache", store), tree(tmp_path / "tree")
    made(here.backup(root))
    touched(root)
    store.asked.clear()
    result = here.backup(root)
    # What is asked for are the pages of the new index and the folders of the new snapshot.
    assert result.counts.read_bytes == 15 * MEBI
    assert sum(store.asked) < 20
    assert result.new_blocks < 5


def test_what_was_collected_meanwhile_is_put_again(tmp_path: Path) -> None:
    """Believing is not trusting: where the pin finds blocks missing, the run is made again and puts them."""
    memory = MemoryStore()
    here, root = rig(tmp_path / "cache", Distant(memory)), tree(tmp_path / "tree")
    first = made(here.backup(root))
    listed = [entry for entry in blocks_of(memory) if len(blocks_of(memory)[entry]) > 100_000]
    for digest in listed:
        del blocks_of(memory)[digest]
    touched(root)
    second = made(here.backup(root))
    assert first.root != second.root
    assert 0 == here.verify().damage_count
    here.restore(second, tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")


def test_without_a_list_the_store_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot of too many blocks, or one whose list cannot be read, costs questions, and no block is put twice."""
    store = Distant()
    here, root = rig(tmp_path / "cache", store), tree(tmp_path / "tree")
    made(here.backup(root))
    monkeypatch.setattr(digests, "MOST", 3)
    touched(root)
    store.asked.clear()
    assert here.backup(root).new_blocks < 5
    assert sum(store.asked) > 20


def test_reading_goes_on_while_blocks_are_sent(tmp_path: Path) -> None:
    """While one put is under way, more chunks are read and sealed; the work of both sides overlaps."""
    begun, go = threading.Event(), threading.Event()

    class Stuck(Distant):
        def put(self, blocks: Iterable[Block]) -> int:
            def passed() -> Iterable[Block]:
                for block in blocks:
                    begun.set()
                    go.wait()
                    yield block

            return super().put(passed())

    work = Uploader(Stuck(), AGENT.sealer(), rig(tmp_path / "cache").cache, believed=lambda _: False)
    futures = [work.chunk(noise(0, 100_000))]
    assert begun.wait(10)
    futures += [work.chunk(noise(seed, 100_000)) for seed in range(1, 15)]
    assert 15 == len({future.result(10)[0][1].digest for future in futures})
    assert not go.is_set()
    go.set()
    work.flush()
    assert 15 == work.new_blocks
    work.close()


def test_a_store_that_goes_away_ends_the_run_and_the_next_goes_on(tmp_path: Path) -> None:
    """Where the patience of trying again is over, the run ends with the cause; the next sends only the rest."""
    memory = MemoryStore()
    faulty = Faulty(memory)
    here, root = rig(tmp_path / "cache", Distant(faulty)), tree(tmp_path / "tree")
    before = len(blocks_of(memory))
    faulty.faults = (Fault("put", frozenset({faulty.calls["put"] + 1}), Unavailable("the line is cut"), after=12),)
    with pytest.raises(Unavailable, match="the line is cut"):
        here.backup(root)
    assert [] == here.listed()
    assert 12 == len(blocks_of(memory)) - before
    result = here.backup(root)
    # The tags of the first run are known and not believed: they are sealed again, and found there when asked for.
    assert made(result).header.blocks_count - 12 == result.new_blocks
    assert 0 == here.verify().damage_count


@pytest.mark.parametrize("when", range(2, 4))
def test_checkpoints_in_a_far_store(tmp_path: Path, when: int) -> None:
    """A run cut short after a checkpoint goes on from it; the final pin takes the checkpoint's place."""
    faulty = Faulty(MemoryStore())
    here, root = rig(tmp_path / "cache", Distant(faulty)), tree(tmp_path / "tree")
    wishes = Wishes(checkpoint_seconds=0)
    faulty.faults = (Fault("pin", frozenset({faulty.calls["pin"] + when}), Unavailable("gone")),)
    with pytest.raises(Unavailable):
        here.backup(root, wishes=wishes)
    assert ["checkpoint"] == [one.kind for one in here.listed()]
    result = here.backup(root, wishes=wishes)
    made(result)
    assert ["full"] == [one.kind for one in here.listed()]
    assert 0 == here.verify().damage_count


def test_a_stray_checkpoint_that_may_not_be_unpinned_fails_nothing(tmp_path: Path) -> None:
    """Where an agent may not unpin, a checkpoint too many stays; the snapshot is made, and says so."""
    here, root = rig(tmp_path / "cache", MemoryStore("one")), tree(tmp_path / "tree")
    one, two = here.store, MemoryStore("two")
    Replication(here.keyring.repository.id, [one]).bring(two)
    for store in (one, two):
        here.store = Faulty(store, Fault("pin", frozenset({2}), Unavailable("gone")))
        with pytest.raises(Unavailable):
            here.backup(root, wishes=Wishes(checkpoint_seconds=0))
        here.cache.forget(here.agent.source_id("home"))
    (stray,) = two.pins(f"pinfold/{here.keyring.repository.id}/{here.agent.source_id('home')}")
    fill(stray.root, two.get, one)
    one.pin(stray.root, stray.name)
    here.store = Faulty(one, Fault("unpin", error=Refused("not for agents")))
    result = here.backup(root)
    made(result)
    assert ["checkpoint", "full"] == sorted(found.kind for found in here.listed())
    assert any("stays pinned: not for agents" in what for _, what in result.notes)


@pytest.mark.parametrize("count", [0, 1, 2000, 20_000])
def test_digests_are_those_listed(tmp_path: Path, count: int) -> None:
    """Every block that a folder lists is found, and no other, however many shards the folder has."""
    store = FolderStore.create(tmp_path / "store")
    blocks = BlockSet()
    wanted = [CID.of(0x55, str(number).encode()).digest for number in range(count)]
    for digest in wanted:
        blocks.add(digest, 10)
    nodes: list[Block] = []
    folder = blocks.build(lambda cid, data: nodes.append((cid, data)))
    blocks.close()
    store.put(nodes)
    found = digests.load(folder.root, store.get, 4)
    assert count == len(found)
    assert all(digest in found for digest in wanted)
    assert not any(CID.of(0x55, b"%d other" % number).digest in found for number in range(100))
    listed = digests.Listed(folder.root, count, store.get, 4)
    assert [True] * min(count, 3) == [listed(digest) for digest in wanted[:3]]
    if count:
        with pytest.raises(Malformed, match="more than"):
            digests.load(folder.root, store.get, most=count // 3)
        with pytest.raises(Missing):
            digests.load(folder.root, MemoryStore().get)
        assert not digests.Listed(folder.root, count, MemoryStore().get, 4)(wanted[0])
    store.close()
