"""Bringing stores of one repository up to date: what goes over, what does not, and what is only told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from engine import Recording, Rig, below, blocks_of, made, noise, rig, write
from pinfold import catalogue, rekey
from pinfold.backup import Wishes
from pinfold.errors import Full, Refused, Unavailable
from pinfold.replicate import NOT_TRIED, Replication, Report, parted
from pinfold.store import Counting, Fault, Faulty, FolderStore, MemoryStore, Mirror
from store.test_mirror_many import Peers, Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pinfold.ipld import CID
    from pinfold.snapshot import Snapshot
    from pinfold.store import Pin, Store

MEBI = 1 << 20


@pytest.fixture
def here(tmp_path: Path) -> Rig:
    """A repository in memory, and a tree beside it."""
    write(tmp_path / "tree", {f"{number}": noise(number, MEBI) for number in range(5)})
    return rig(tmp_path / "cache", MemoryStore("main"))


def day(here: Rig, tmp_path: Path, number: int, source: str = "home") -> Snapshot:
    """One more snapshot, with one new file."""
    write(tmp_path / "tree", {f"day {number}": noise(100 + number, 300_000)})
    return made(here.backup(tmp_path / "tree", source))


def replicate(here: Rig, target: Store, *others: Store, dry_run: bool = False) -> Report:
    """From the repository's store, and others, to one."""
    return Replication(here.keyring.repository.id, [here.store, *others], dry_run=dry_run).bring(target)


def names(store: Store) -> list[str]:
    """The names of the pins."""
    return [pin.name for pin in store.pins()]


class Gateway(MemoryStore):
    """What a gateway is to others: blocks by CID, no list of pins, and the roots that it is asked about."""

    roots: tuple[CID, ...] = ()

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """None, whatever is there."""
        del prefix
        return iter(())


def gateway(here: Rig, *roots: CID) -> Gateway:
    """All blocks of the repository, and some of its snapshots by name."""
    made = Gateway("gateway")
    for pin in here.store.pins():
        made.put([(cid, here.store.get(cid)) for cid in below(here.store, pin.root)])
    made.roots = roots
    return made


def test_from_a_gateway(here: Rig, tmp_path: Path) -> None:
    """What is asked of a gateway goes over with the keyring that it holds, and nothing else; again nothing does."""
    first, second = day(here, tmp_path, 0), day(here, tmp_path, 1)
    away, target = gateway(here, second.root), MemoryStore("new")
    dry = Replication(here.keyring.repository.id, [away], dry_run=True).bring(target)
    work = Replication(here.keyring.repository.id, [away])
    report = work.bring(target)
    assert (2, [], dry.bytes) == (len(report.done), report.failed, report.bytes)
    assert [name for name in names(here.store) if name != first.header.pin_name] == names(target)
    assert 0 == here.verify(store=target).damage_count
    assert ([], []) == (work.bring(target).done, work.warnings)
    assert second == catalogue.find(target, None, "latest")


def test_from_a_gateway_that_nothing_is_asked_of(here: Rig, tmp_path: Path) -> None:
    """Without a snapshot's name a gateway cannot tell what there shall be: that is refused, and success is not told."""
    day(here, tmp_path, 0)
    with pytest.raises(Refused, match=r"\?root=CID"):
        Replication(here.keyring.repository.id, [gateway(here)])


def test_a_new_store_gets_everything(here: Rig, tmp_path: Path) -> None:
    """Keyring and snapshots go over under their own names, each block once; the newest snapshot goes first."""
    days = [day(here, tmp_path, number) for number in range(3)]
    target = Recording(MemoryStore("new"))
    report = replicate(here, target)
    assert names(here.store) == names(target)
    assert len(set(target.put_cids)) == len(target.put_cids) == report.blocks
    assert here.store.usage().used == target.usage().used == report.bytes
    roots = [done.pin.root for done in report.done if done.pin.source]
    assert [one.root for one in reversed(days)] == roots
    assert 0 == here.verify(store=target).damage_count
    assert ([], "") == (replicate(here, target).done, report.stopped)


def test_only_differences_are_looked_at(here: Rig, tmp_path: Path) -> None:
    """A day later the target is asked for the new blocks only, and no old block is read."""
    source = Counting(here.store)
    here.store = source
    day(here, tmp_path, 0)
    target = Recording(MemoryStore("mirror"))
    replicate(here, target)
    target.put_cids.clear()
    latest = day(here, tmp_path, 1)
    source.counts.clear()
    report = replicate(here, target)
    assert latest.header.new_bytes <= report.bytes < latest.header.new_bytes + 30_000
    assert source.counts["bytes_got"] < report.bytes + 100_000
    assert len(target.put_cids) == report.blocks


def test_a_dry_run_tells_exactly_and_moves_nothing(here: Rig, tmp_path: Path) -> None:
    """It counts every block once, however many snapshots share it, as the run itself then does."""
    for number in range(3):
        day(here, tmp_path, number)
    target = MemoryStore("new")
    dry = replicate(here, target, dry_run=True)
    assert (0, []) == (target.usage().used, names(target))
    wet = replicate(here, target)
    told = [[(done.pin.name, done.blocks, done.bytes) for done in report.done] for report in (dry, wet)]
    assert told[0] == told[1]


def test_what_was_forgotten_does_not_come_back(here: Rig, tmp_path: Path) -> None:
    """A mirror keeps what the main store forgot, that is told, and neither store is changed."""
    days = [day(here, tmp_path, number) for number in range(3)]
    mirror = MemoryStore("mirror")
    replicate(here, mirror)
    here.store.unpin([days[0].root])
    work = Replication(here.keyring.repository.id, [here.store, mirror])
    reports = [work.bring(store) for store in (here.store, mirror)]
    assert [[], []] == [report.done for report in reports]
    assert [[], [days[0].root]] == [[pin.root for pin in report.beyond] for report in reports]
    assert 4 == len(names(mirror))
    back = Replication(here.keyring.repository.id, [mirror]).bring(here.store)  # asked for by name
    assert [days[0].root] == [done.pin.root for done in back.done]


def test_what_was_made_while_the_main_store_was_away_goes_there(here: Rig, tmp_path: Path) -> None:
    """Snapshots newer than the main store's newest are brought to it; older ones that it lacks are not."""
    days = [day(here, tmp_path, number) for number in range(2)]
    main, mirror = here.store, MemoryStore("mirror")
    replicate(here, mirror)
    main.unpin([days[0].root])
    here.store = mirror
    later = [day(here, tmp_path, 2), day(here, tmp_path, 3, "other")]
    report = Replication(here.keyring.repository.id, [main, mirror]).bring(main)
    assert {one.root for one in later} == {done.pin.root for done in report.done}
    assert 0 == here.verify(store=main).damage_count


def test_checkpoints_stay_where_they_are(here: Rig, tmp_path: Path) -> None:
    """What the next backup replaces is neither replicated nor told as too much."""
    broken = Faulty(here.store)
    here.store = broken
    broken.faults = (Fault("pin", frozenset({3}), Unavailable("gone")),)
    with pytest.raises(Unavailable):
        here.backup(tmp_path / "tree", wishes=Wishes(checkpoint_seconds=0))
    assert {"checkpoint"} == {one.kind for one in here.listed()}
    target = MemoryStore("new")
    report = replicate(here, target)
    assert ([""], []) == ([done.pin.source for done in report.done], report.beyond)


def test_changed_keys_replace_the_older_root(here: Rig, tmp_path: Path) -> None:
    """A snapshot that was re-rooted takes the place of its older root: what was taken away opens neither store."""
    day(here, tmp_path, 0)
    mirror = MemoryStore("mirror")
    replicate(here, mirror)
    here.keyring = rekey.add_recipient(
        here.keyring, here.key, "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p", "second"
    )
    rekey.publish(here.store, here.keyring)
    assert [] == rekey.settle(here.store, here.keyring).failed
    here.keyring = rekey.remove(here.keyring, here.key, "second", here.clock)
    rekey.publish(here.store, here.keyring)
    assert [] == rekey.settle(here.store, here.keyring).failed
    report = replicate(here, mirror)
    assert [pin for pin in here.store.pins() if "keyring" not in pin.name] == [
        pin for pin in mirror.pins() if "keyring" not in pin.name
    ]
    assert all("keyring" in pin.name for pin in report.beyond)
    # And the other way: a store that still has the older root does not bring it back.
    again = Replication(here.keyring.repository.id, [mirror, here.store]).bring(here.store)
    assert [] == again.done


def test_a_forged_snapshot_is_not_spread(here: Rig, tmp_path: Path) -> None:
    """What is pinned under a snapshot's name and signed by nobody who may is told and stays where it is."""
    day(here, tmp_path, 0)
    stranger = rig(tmp_path / "strange", MemoryStore("strange"), seed=9)
    forged = made(stranger.backup(tmp_path / "tree"))
    for cid, block in ((cid, stranger.store.get(cid)) for cid in below(stranger.store, forged.root)):
        here.store.put([(cid, block)])
    mine = here.listed()[0]
    here.store.pin(forged.root, f"pinfold/{mine.repository}/{mine.source}/full/2030-01-01T00:00:00.000000Z")
    report = replicate(here, target := MemoryStore("new"))
    assert [forged.root] == [done.pin.root for done in report.failed]
    assert 2 == len(names(target))


def test_blocks_come_from_any_good_copy(here: Rig, tmp_path: Path) -> None:
    """A block that is damaged in the main store is taken from another mirror, and healed on the way."""
    day(here, tmp_path, 0)
    mirror, target = MemoryStore("mirror"), MemoryStore("new")
    replicate(here, mirror)
    assert isinstance(here.store, MemoryStore)
    digest = max(blocks_of(here.store), key=lambda digest: len(blocks_of(here.store)[digest]))
    good = blocks_of(here.store)[digest]
    blocks_of(here.store)[digest] = b"damaged"
    assert 1 == len(replicate(here, MemoryStore("none")).failed)
    work = Replication(here.keyring.repository.id, [here.store, mirror])
    assert [] == work.bring(target).failed
    assert (good, good) == (blocks_of(here.store)[digest], blocks_of(target)[digest])
    assert any("healed" in line for line in work.warnings)


def test_one_bad_snapshot_does_not_stop_the_others(here: Rig, tmp_path: Path) -> None:
    """What cannot be read anywhere is told for the snapshots that need it; all others go over."""
    first = day(here, tmp_path, 0)
    (tmp_path / "tree" / "day 0").unlink()
    for number in (1, 2):
        day(here, tmp_path, number)
    needed = [set(below(here.store, one.root)) for one in here.listed()]
    lost = max(needed[0] - needed[1] - needed[2], key=lambda cid: len(here.store.get(cid)))
    del blocks_of(here.store)[lost.digest]
    target = MemoryStore("new")
    report = replicate(here, target)
    assert [first.root] == [done.pin.root for done in report.failed]
    assert (3, "") == (len(names(target)), report.stopped)


@pytest.mark.parametrize("error", [Full("no room"), Unavailable("gone"), Refused("read-only")])
def test_a_target_that_fails_is_let_be_and_gone_on_with(here: Rig, tmp_path: Path, error: Exception) -> None:
    """Nothing more is tried on a store that is full or gone; the next run sends only the rest."""
    for number in range(3):
        day(here, tmp_path, number)
    inner = Recording(MemoryStore("new"))
    target = Faulty(inner, Fault("put", frozenset({3}), error, after=3))
    report = replicate(here, target)
    assert str(error) == report.stopped
    assert [str(error), NOT_TRIED] == [done.error for done in report.failed]
    report = replicate(here, target)
    assert ([], "") == (report.failed, report.stopped)
    assert len(set(inner.put_cids)) == len(inner.put_cids)


def test_a_target_that_lost_blocks_below_its_pins(here: Rig, tmp_path: Path) -> None:
    """Where the target lacks what its own pins should keep, that goes over too; a snapshot that is named is proved."""
    first = day(here, tmp_path, 0)
    target = MemoryStore("mirror")
    replicate(here, target)
    shared = [cid for cid in below(here.store, first.root) if len(here.store.get(cid)) > 100_000]
    for cid in shared:
        del blocks_of(target)[cid.digest]
    second = day(here, tmp_path, 1)
    assert [] == replicate(here, target).failed
    assert 0 == here.verify(store=target).damage_count
    del blocks_of(target)[shared[0].digest]
    work = Replication(here.keyring.repository.id, [here.store])
    assert [] == work.bring(target).done
    assert 1 == work.bring(target, {second.root}).blocks
    assert 0 == here.verify(store=target).damage_count


def test_a_service_is_told_to_pin(here: Rig, tmp_path: Path) -> None:
    """A store that fetches gets no block from here, and pins all the same."""
    day(here, tmp_path, 0)
    service = Service("service", here.store)
    report = replicate(here, service)
    assert (0, []) == (report.bytes, report.failed)
    assert names(here.store) == names(service)


def test_peers_that_lack_it_are_told(here: Rig, tmp_path: Path) -> None:
    """A store of which too few peers prove a pin is told as short, with the peer."""
    day(here, tmp_path, 0)
    report = replicate(here, Peers(1, 2, 2))
    assert {"1 of 2 copies prove it: peer 1 pinning"} == {done.error for done in report.failed}


def test_stores_that_do_not_answer(here: Rig, tmp_path: Path) -> None:
    """They are told; the next one that answers is the main one; where none does, that is an error."""
    day(here, tmp_path, 0)
    down = Faulty(MemoryStore("down"), Fault("pins", error=Unavailable("gone")))
    work = Replication(here.keyring.repository.id, [down, here.store])
    assert ({"down": "gone"}, [here.store]) == (work.unreachable, work.sources)
    with pytest.raises(Unavailable, match="gone"):
        Replication(here.keyring.repository.id, [down])
    mirror = Mirror([down, here.store], min_copies=1, absent={"lost": "no folder"})
    list(mirror.pins())
    assert ([here.store], {"down": "gone", "lost": "no folder"}) == parted(mirror)
    assert ([down], {}) == parted(down)


class _Bar:
    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []

    def total(self, total: int, /) -> None:
        """Note it."""
        self.steps.append(("total", total))

    def add(self, done: int, /) -> None:
        """Note it."""
        self.steps.append(("add", done))


def test_progress_comes_close(here: Rig, tmp_path: Path) -> None:
    """The total told before is within a tenth of the bytes that go over."""
    for number in range(3):
        day(here, tmp_path, number)
    bar = _Bar()
    work = Replication(here.keyring.repository.id, [here.store])
    moved = work.bring(MemoryStore("new"), progress=bar).bytes
    assert moved == sum(done for what, done in bar.steps if what == "add")
    first = next(total for what, total in bar.steps if what == "total")
    assert abs(first - moved) < moved / 10


KILLED = """
import os, signal, sys
from pinfold.replicate import Replication
from pinfold.store import FolderStore
with FolderStore.open(sys.argv[1]) as source, FolderStore.open(sys.argv[2]) as target:
    put, count = target.put, 0
    def dying(blocks):
        def passed():
            global count
            for block in blocks:
                count += 1
                if count == int(sys.argv[4]):
                    os.kill(os.getpid(), signal.SIGKILL)
                yield block
        return put(passed())
    target.put = dying
    Replication(sys.argv[3], [source]).bring(target)
"""


def test_killed_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """After kill -9 the next run sends what had not come over, and the target is whole."""
    write(tmp_path / "tree", {f"{number}": noise(number, MEBI) for number in range(30)})
    here = rig(tmp_path / "cache", FolderStore.create(tmp_path / "main"))
    made(here.backup(tmp_path / "tree"))
    FolderStore.create(tmp_path / "new").close()
    words: Sequence[str] = [str(tmp_path / "main"), str(tmp_path / "new"), here.keyring.repository.id, "50"]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *words],
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert -signal.SIGKILL == ended.returncode
    with FolderStore.open(tmp_path / "new") as target:
        dry = replicate(here, target, dry_run=True)
        report = replicate(here, target)
        whole = sum(len(here.store.get(cid)) for cid in below(here.store, here.listed()[0].root))
        assert 0 < report.bytes < whole - 10 * MEBI
        assert dry.bytes == report.bytes
        assert 0 == here.verify(store=target).damage_count
    here.store.close()


def test_a_long_absence(here: Rig, tmp_path: Path) -> None:
    """Marks are begun anew when there are too many, and nothing goes over twice for it."""
    from pinfold import replicate as module  # noqa: PLC0415

    most = module._MOST_MARKS
    for number in range(4):
        day(here, tmp_path, number)
        here.clock._now += timedelta(days=1)
    target = Recording(MemoryStore("new"))
    try:
        module._MOST_MARKS = 10  # type: ignore[misc]
        replicate(here, target)
    finally:
        module._MOST_MARKS = most  # type: ignore[misc]
    assert len(set(target.put_cids)) == len(target.put_cids)
    assert 0 == here.verify(store=target).damage_count
