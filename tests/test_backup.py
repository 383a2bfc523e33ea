"""What a backup reads, stores, pins, and says; restores are the subject of test_restore.py."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from engine import Meddling, Recording, blocks_of, listing, made, noise, rig, write
from pinfold import catalogue
from pinfold.backup import Wishes
from pinfold.cache import Cache
from pinfold.errors import KeyFailure, PinfoldError, Unavailable, UsageError
from pinfold.ipld import list_folder
from pinfold.rekey import publish, remove
from pinfold.seal.keyring import next_keyring
from pinfold.sources.directory.excludes import Rules
from pinfold.store import Fault, Faulty, FolderStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEBI = 1 << 20


def tree(root: Path) -> Path:
    """Small files in three folders, a large one, an empty one, an empty folder."""
    files = {f"{folder}/{number}": noise(number, 200 + ord(folder)) for folder in "abc" for number in range(20)}
    write(root, files | {"large": noise(1, 3 * MEBI), "empty": b""})
    (root / "hollow").mkdir()
    return root


def test_an_unchanged_tree_is_not_read(tmp_path: Path) -> None:
    """A second run over an unchanged tree reads no byte, stores no chunk, and its snapshot follows the first."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    first = here.backup(root)
    second = here.backup(root)
    assert (62, 0) == (first.counts.files_new, second.counts.files_new)
    assert (62, 0, 0) == (second.counts.files_unchanged, second.counts.read_bytes, second.new_blocks)
    assert (str(made(first).id), 1) == (made(second).header.previous, made(second).header.sequence)
    assert made(first).blocks == made(second).blocks


def test_nothing_changed_can_mean_no_snapshot(tmp_path: Path) -> None:
    """With skip_unchanged an unchanged tree leaves the pins as they were, and a changed one does not."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    wishes = Wishes(skip_unchanged=True)
    made(here.backup(root, wishes=wishes))
    pins = list(here.store.pins())
    assert None is here.backup(root, wishes=wishes).snapshot
    assert pins == list(here.store.pins())
    (root / "a/0").write_bytes(b"other")
    made(here.backup(root, wishes=wishes))
    assert 2 == len(here.listed())


@pytest.mark.parametrize("large", [0, 40 * MEBI], ids=["small", "tree of refs"])
def test_a_lost_cache_costs_no_space(tmp_path: Path, large: int) -> None:
    """With the cache deleted, an owner's run over an unchanged tree stores no chunk and reads no file."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    (root / "larger").write_bytes(noise(7, large))
    made(here.backup(root))
    here.cache.close()
    shutil.rmtree(tmp_path / "cache")
    here.cache = Cache(tmp_path / "cache")
    result = here.backup(root)
    assert (0, 0) == (result.new_blocks, result.counts.read_bytes)


def test_an_agent_without_a_cache_stores_no_chunk_twice(tmp_path: Path) -> None:
    """An agent that can read nothing back and lost its cache reads all files anew and stores no chunk of theirs."""
    owner, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    one = owner.other_agent(tmp_path / "one")
    made(one.backup(root))
    one.cache = Cache(tmp_path / "fresh")
    result = one.backup(root)
    assert 0 == result.new_blocks
    assert result.counts.read_bytes > 3 * MEBI


def test_two_agents_share_blocks(tmp_path: Path) -> None:
    """Two machines of one repository that save the same tree under different names store its blocks once."""
    owner, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    one, two = owner.other_agent(tmp_path / "one", "one"), owner.other_agent(tmp_path / "two", "two")
    one.keyring = two.keyring
    first = one.backup(root, "first")
    second = two.backup(root, "second")
    assert first.new_blocks > 5
    assert 0 == second.new_blocks
    assert made(first).header.source != made(second).header.source
    assert None is made(second).header.previous


def test_one_change_costs_little(tmp_path: Path) -> None:
    """One changed file of two thousand costs a bundle of its own, an index page, and the node above."""
    here, root = rig(tmp_path / "cache"), tmp_path / "tree"
    write(root, {f"{n % 40}/{n}": noise(n, 3000) for n in range(2000)})
    made(here.backup(root))
    (root / "7/7").write_bytes(noise(1, 3000))
    result = here.backup(root)
    made(result)
    assert (1, 3000) == (result.counts.files_changed, result.counts.read_bytes)
    assert result.new_blocks <= 3
    assert result.new_bytes < 150_000


def test_a_bundle_is_rewritten_when_less_than_half_is_current(tmp_path: Path) -> None:
    """When most files of a bundle are gone the rest is read once more, laid into a new one, and then left alone."""
    here, root = rig(tmp_path / "cache"), tmp_path / "tree"
    write(root, {f"{n:02}": noise(n, 1000) for n in range(40)})
    made(here.backup(root))
    for number in range(30):
        (root / f"{number:02}").unlink()
    noticed = here.backup(root)
    rewritten = here.backup(root)
    after = here.backup(root)
    assert (0, 10_000, 0) == tuple(one.counts.read_bytes for one in (noticed, rewritten, after))
    assert 30 == noticed.counts.files_gone
    assert made(after).header.blocks_bytes < made(noticed).header.blocks_bytes - 25_000


def interrupted_at(step: bytes) -> Meddling:
    """Rules that break the run off, as a signal would, when the walk comes to `step`."""

    def stop() -> None:
        raise KeyboardInterrupt

    return Meddling({step: stop})


@pytest.mark.parametrize("step", [b"b", b"b/11", b"c/19", b"large"])
def test_an_interrupted_run_stores_nothing_twice(tmp_path: Path, step: bytes) -> None:
    """What an interrupted run had stored is not stored again by the next, and the result is the same."""
    store = Recording(MemoryStore())
    here, root = rig(tmp_path / "cache", store), tree(tmp_path / "tree")
    store.put_cids.clear()
    with pytest.raises(KeyboardInterrupt):
        here.backup(root, rules=interrupted_at(step))
    assert [] == here.listed()
    stored = store.put_cids[:]
    store.put_cids.clear()
    here.restore(made(here.backup(root)), tmp_path / "back")
    assert set() == set(store.put_cids) & set(stored)
    assert listing(root) == listing(tmp_path / "back")


def test_a_checkpoint_is_gone_on_from(tmp_path: Path) -> None:
    """A run that was cut off goes on from its checkpoint: it reads only the rest, and takes the place of its pin."""
    here, root = rig(tmp_path / "cache"), tmp_path / "tree"
    write(root, {f"{letter}/{n}": noise(ord(letter) + 1000 * n, 60_000) for letter in "abcdef" for n in range(40)})
    often = Wishes(checkpoint_seconds=0)
    for step in (b"d/20", b"f/0", b"b/20"):
        with pytest.raises(KeyboardInterrupt):
            here.backup(root, rules=interrupted_at(step), wishes=often)
        assert ["checkpoint"] == [one.kind for one in here.listed()]
    result = here.backup(root, wishes=often)
    assert 40 * 60_000 <= result.counts.read_bytes < 3 * 40 * 60_000
    assert ["full"] == [one.kind for one in here.listed()]
    assert 0 == made(result).header.sequence
    here.restore(made(result), tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")


def test_no_plaintext_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No content, path, link, attribute, source or host name is found in any byte of the store or of its file names."""
    monkeypatch.setattr(socket, "gethostname", lambda: "PLANTED-host")
    here = rig(tmp_path / "cache", FolderStore.create(tmp_path / "store"), padding=False)
    root = write(tmp_path / "PLANTED-root", {"PLANTED-folder/PLANTED-name": b"PLANTED-content" * 9, "x": noise(1, 99)})
    (root / "link").symlink_to("PLANTED-target")
    os.setxattr(root / "x", "user.PLANTED", b"PLANTED-value")
    made(here.backup(root, "PLANTED-source", wishes=Wishes(tags=("PLANTED-tag",))))
    here.store.close()
    found = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(found) > 3
    for path in found:
        assert b"PLANTED" not in os.fsencode(path.relative_to(tmp_path)), path
        assert b"PLANTED" not in path.read_bytes(), path
        assert os.fsencode(tmp_path) not in path.read_bytes(), path


def test_who_may_not_sign_stores_nothing(tmp_path: Path) -> None:
    """An agent that was removed, or holds the key of an older generation, is refused before anything is stored."""
    owner, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    agent = owner.other_agent(tmp_path / "one", "one")
    agent.keyring = remove(agent.keyring, agent.key, "one", agent.clock)
    blocks = set(blocks_of(owner.store))  # type: ignore[arg-type]
    with pytest.raises(KeyFailure, match="agent one is not allowed"):
        agent.backup(root)
    owner.keyring = replace(owner.keyring, generation=1)
    with pytest.raises(KeyFailure, match="pinfold key new-agent"):
        owner.backup(root)
    assert blocks == set(blocks_of(owner.store))  # type: ignore[arg-type]


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    """A source that cannot be read at all is a mistake of the caller, and nothing is pinned."""
    here = rig(tmp_path / "cache")
    with pytest.raises(UsageError, match="cannot read"):
        here.backup(tmp_path / "gone")
    assert [] == here.listed()


def test_blocks_that_vanished_are_stored_again(tmp_path: Path) -> None:
    """When blocks the cache speaks of are gone from the store, the run reads everything once more and ends well."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    first = made(here.backup(root))
    for digest in [digest for digest, block in blocks_of(here.store).items() if len(block) > 100_000]:  # type: ignore[arg-type]
        del blocks_of(here.store)[digest]  # type: ignore[arg-type]
    (root / "a/0").write_bytes(b"new")
    second = here.backup(root)
    here.restore(made(second), tmp_path / "back")
    assert listing(root) == listing(tmp_path / "back")
    assert first.root in {one.root for one in here.listed()}


def test_a_store_that_claims_what_it_lacks(tmp_path: Path) -> None:
    """Blocks that a store claims to have and the pin finds missing are put all the same."""
    store = MemoryStore()
    here, root = rig(tmp_path / "cache", Faulty(store)), tree(tmp_path / "tree")
    made(here.backup(root))
    lost = [digest for digest, block in blocks_of(store).items() if len(block) > 1000]
    for digest in lost:
        del blocks_of(store)[digest]
    here.store.faults = (Fault("has", lie=True),)  # type: ignore[attr-defined]
    made(here.backup(root))
    here.store.faults = ()  # type: ignore[attr-defined]
    assert set(lost) <= set(blocks_of(store))
    assert 0 == here.verify().damage_count


def test_the_catalogue_of_a_store_that_fails(tmp_path: Path) -> None:
    """A store that does not answer before a run fails it with the store's own error, and the next run works."""
    here, root = rig(tmp_path / "cache", Faulty(MemoryStore())), tree(tmp_path / "tree")
    here.store.faults = (Fault("pins", error=Unavailable("asleep")),)  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="asleep"):
        here.backup(root)
    here.store.faults = ()  # type: ignore[attr-defined]
    made(here.backup(root))


def _no_room(cache: Path) -> None:
    shutil.rmtree(cache)
    cache.write_bytes(b"a file where the cache should be")


def _nonsense(cache: Path) -> None:
    for path in cache.iterdir():
        path.write_bytes(noise(1, 50_000))


def _emptied(cache: Path) -> None:
    for path in cache.iterdir():
        path.write_bytes(b"")


@pytest.mark.parametrize("harm", [_no_room, _nonsense, _emptied])
def test_a_harmed_cache_is_no_failure(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """A cache that is damaged, emptied, or cannot be written costs time and nothing else."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    made(here.backup(root))
    here.cache.close()
    harm(tmp_path / "cache")
    here.cache = Cache(tmp_path / "cache")
    assert 0 == here.backup(root).new_blocks
    here.cache.close()


def test_a_cache_damaged_while_it_is_used(tmp_path: Path) -> None:
    """A cache whose file is overwritten under a run is forgotten, and the run ends well."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    made(here.backup(root))
    meddle = Meddling({b"b": lambda: _nonsense(tmp_path / "cache")})
    made(here.backup(root, rules=meddle))
    made(here.backup(root))


def test_rules_keep_names_out(tmp_path: Path) -> None:
    """Excluded names are neither saved nor counted."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    result = here.backup(root, rules=Rules(["/b", "1*"]))
    assert 2 * (20 - 11) + 2 == result.counts.files
    assert not any(path.startswith(b"b") for path in here.rows(made(result)))


def test_other_errors_of_a_writer_are_told(tmp_path: Path) -> None:
    """What a store raises that is no error of ours ends the run as one of ours, with the store's name."""
    here, root = rig(tmp_path / "cache", Faulty(MemoryStore("shelf"))), tree(tmp_path / "tree")
    here.store.faults = (Fault("put", error=RuntimeError("broken")),)  # type: ignore[attr-defined]
    with pytest.raises(PinfoldError, match="writing to shelf failed: broken"):
        here.backup(root)


def test_a_clock_set_back(tmp_path: Path) -> None:
    """A snapshot made while the clock is behind the one before is dated just behind it, so the newest looks newest."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    first = made(here.backup(root))
    here.clock._now -= timedelta(hours=1)
    write(root, {"later": b"x"})
    result = here.backup(root)
    second = made(result)
    assert first.header.finished < second.header.finished
    assert second.root == catalogue.find(here.store, None, "latest").root
    assert ["clock is behind" in why for _, why in result.notes] == [True]


def test_skipping_proves_what_is_there(tmp_path: Path) -> None:
    """A run that makes no snapshot because nothing changed has proved the last one; what is lost is stored anew."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    first = made(here.backup(root))
    lost = next(entry.cid for entry in list_folder(first.blocks, here.store.get))
    del blocks_of(here.store)[lost.digest]  # type: ignore[arg-type]
    here.backup(root, wishes=Wishes(skip_unchanged=True))
    assert lost.digest in blocks_of(here.store)  # type: ignore[arg-type]
    assert 0 == here.verify().damage_count


def test_a_change_of_keys_during_a_run(tmp_path: Path) -> None:
    """A run that began under an older keyring pins its root under the newest."""
    here, root = rig(tmp_path / "cache"), tree(tmp_path / "tree")
    newer = next_keyring(here.keyring, here.key)
    told: list[int] = []

    def change(_: bytes, __: object) -> None:
        if not told:
            told.append(1)
            publish(here.store, newer)

    snapshot = made(here.backup(root, wishes=Wishes(progress=change)))
    assert newer == snapshot.keyring
    assert [snapshot.root] == [one.root for one in catalogue.listed(here.store, here.key.repository)]


def test_a_number_that_came_again(tmp_path: Path) -> None:
    """A new file that got a deleted file's inode number during the run is saved with its own bytes."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"a/one": b"old", "b/two": b"new"})
    (root / "a" / "twin").hardlink_to(root / "a" / "one")
    (root / "b" / "twin").hardlink_to(root / "b" / "two")
    real = (root / "a" / "one").stat().st_ino
    with pytest.MonkeyPatch.context() as patch:
        original = os.stat

        def disguised(path: object, **options: object) -> os.stat_result:
            status = original(path, **options)  # type: ignore[arg-type, call-overload]
            if status.st_nlink != 2 or status.st_mode & 0o170000 != 0o100000:
                return status
            told = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
            return os.stat_result((*status[:1], real, *status[2:]), told)

        patch.setattr(os, "stat", disguised)
        snapshot = made(here.backup(root))
    here.restore(snapshot, tmp_path / "out")
    assert b"new" == (tmp_path / "out" / "b" / "two").read_bytes()
