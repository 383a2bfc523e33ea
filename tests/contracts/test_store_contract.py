"""What every store keeps to, whatever it is made of (src/pinfold/store/seam.py)."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Incomplete, Missing, Refused, StoreError
from pinfold.ipld.cid import CID, IDENTITY, RAW
from pinfold.store import Pin, PinState
from store.dags import folder, noise, raw, shapes, trie

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.store import Store
    from store.dags import Block


def test_blocks_come_back_as_they_went(store: Store) -> None:
    """Each block put is got again, whatever its size."""
    blocks = [raw(bytes([size % 251]) * size) for size in (0, 1, 100, 4096, 1 << 20, (2 << 20) + 1)]
    assert sum(len(block) for _, block in blocks) == store.put(blocks)
    assert [block for _, block in blocks] == [store.get(cid) for cid, _ in blocks]


def test_put_is_idempotent(store: Store) -> None:
    """A block that is there is not new, whether put before or twice at once."""
    blocks = noise(1, 20)
    assert 20 * 200 == store.put(blocks + blocks)
    assert store.put(blocks) == 0
    assert store.put([]) == 0


def test_put_takes_its_blocks_lazily_and_passes_their_errors(store: Store) -> None:
    """An error of the iterable reaches the caller untouched, and the store works on."""

    class Broken(Exception):
        pass

    def stream() -> Iterator[Block]:
        yield from noise(2, 700)
        raise Broken

    with pytest.raises(Broken):
        store.put(stream())
    more = noise(3, 5)
    store.put(more)
    assert {cid for cid, _ in more} == store.has(cid for cid, _ in more)


def test_has_tells_what_is_there(store: Store) -> None:
    """Only what was put is there, in answers of any length."""
    blocks, others = noise(4, 600), noise(5, 600)
    store.put(blocks)
    assert {cid for cid, _ in blocks} == store.has(cid for cid, _ in blocks + others)
    assert set() == store.has([])


def test_what_is_not_there_is_missing(store: Store) -> None:
    """A block never put raises Missing with its name."""
    cid, _ = raw(b"never put")
    with pytest.raises(Missing) as caught:
        store.get(cid)
    assert str(cid) == caught.value.name


def test_a_block_is_found_under_every_codec(store: Store) -> None:
    """Blocks are filed under their hash: another codec or version finds the same bytes."""
    cid, block = folder([]).blocks[0]
    store.put([(cid, block)])
    twins = [CID.raw(cid.digest), CID(0, cid.codec, cid.hash_code, cid.digest)]
    assert set(twins) == store.has(twins)
    assert [block, block] == [store.get(twin) for twin in twins]


def test_identity_cids_need_no_store(store: Store) -> None:
    """A CID that carries its bytes is there, and got, without having been put."""
    cid = CID(1, RAW, IDENTITY, b"bytes")
    assert store.put([(cid, b"bytes")]) == 0
    assert {cid} == store.has([cid])
    assert b"bytes" == store.get(cid)


def test_other_hash_functions_are_refused(store: Store) -> None:
    """What could not be checked on reading is not taken."""
    cid = CID(1, RAW, 0x1E, bytes(32))
    with pytest.raises(StoreError):
        store.put([(cid, b"whatever")])
    assert set() == store.has([cid])
    with pytest.raises(Missing):
        store.get(cid)


@pytest.mark.parametrize("shape", shapes())
def test_a_complete_dag_is_pinned(store: Store, shape: str) -> None:
    """A root with everything below it is pinned, listed and reported."""
    dag = shapes()[shape]
    store.put(dag.blocks)
    status = store.pin(dag.root, "snapshots/one")
    assert status.pinned == len(status.copies) >= 1
    assert [Pin(dag.root, "snapshots/one")] == list(store.pins())
    assert PinState.PINNED == store.status(dag.root).copies[0].state
    assert {copy.since[-1:] for copy in store.status(dag.root).copies} <= {"Z", ""}


@pytest.mark.parametrize("shape", shapes())
@pytest.mark.parametrize("which", range(3))
def test_a_pin_proves_every_block(store: Store, shape: str, which: int) -> None:
    """With any one block missing the pin is refused, names it, and nothing is pinned."""
    dag = shapes()[shape]
    lost = random.Random(which).choice(sorted(dag.cids))
    store.put(block for block in dag.blocks if block[0] != lost)
    if shape == "empty folder" and store.has([lost]):
        return  # every Kubo holds that one from its beginning, and never lets it go
    with pytest.raises(Incomplete) as caught:
        store.pin(dag.root, "one")
    assert (str(lost),) == tuple(map(str, caught.value.missing))
    assert [] == list(store.pins())
    assert PinState.ABSENT == store.status(dag.root).copies[0].state


def test_incomplete_names_all_that_is_missing(store: Store) -> None:
    """Several missing leaves are all named, each once."""
    dag = trie(7)
    lost = set(dag.leaves[::7])
    store.put(block for block in dag.blocks if block[0] not in lost)
    with pytest.raises(Incomplete) as caught:
        store.pin(dag.root, "one")
    assert sorted(lost) == sorted(caught.value.missing)


def test_a_root_that_is_no_dag_pb_is_refused(store: Store) -> None:
    """What cannot be walked cannot be proved."""
    block = b"\xff\xff no node"
    cid = CID.of(0x70, block)
    store.put([(cid, block)])
    with pytest.raises(Refused):
        store.pin(cid, "one")
    assert [] == list(store.pins())


def test_pinning_again_renames(store: Store) -> None:
    """A root has one name: the last."""
    dag = trie(8)
    store.put(dag.blocks)
    for name in ("a", "b/c", "b", "b/c/d", "a"):
        store.pin(dag.root, name)
        assert [Pin(dag.root, name)] == list(store.pins())


def test_names_need_not_be_unique(store: Store) -> None:
    """Several roots may share a name, and a name may be the beginning of another's path."""
    dags = [folder(noise(seed, 2)) for seed in range(5)]
    names = ["same", "same", "same/below", "same", "same/below/it"]
    for dag, name in zip(dags, names, strict=True):
        store.put(dag.blocks)
        store.pin(dag.root, name)
    expected = sorted((name, dag.root) for dag, name in zip(dags, names, strict=True))
    assert expected == [(pin.name, pin.root) for pin in store.pins()]
    store.unpin([dags[1].root, dags[2].root])
    expected = sorted((names[at], dags[at].root) for at in (0, 3, 4))
    assert expected == [(pin.name, pin.root) for pin in store.pins()]


def test_replaces_drops_the_old_pin(store: Store) -> None:
    """The replaced root goes in the same step; one that was never pinned is no error."""
    blocks = noise(9, 80)
    old, new = (folder(part, fanout=8, threshold=100) for part in (blocks[:-1], blocks[1:]))
    store.put(old.blocks)
    store.pin(old.root, "pinfold/one")
    store.put(new.blocks)
    store.pin(new.root, "pinfold/one", replaces=old.root)
    assert [Pin(new.root, "pinfold/one")] == list(store.pins())
    store.pin(new.root, "two", replaces=CID.raw(bytes(32)))
    store.pin(new.root, "three", replaces=new.root)
    assert [Pin(new.root, "three")] == list(store.pins())


def test_replaces_does_not_hide_what_is_missing(store: Store) -> None:
    """Only what the replaced pin proved is taken for proved, and a refused pin replaces nothing."""
    blocks = noise(10, 80)
    old, new = (folder(part, fanout=8, threshold=100) for part in (blocks[:-1], blocks))
    store.put(old.blocks)
    store.pin(old.root, "old")
    lost = blocks[-1][0]
    store.put(block for block in new.blocks if block[0] != lost)
    with pytest.raises(Incomplete) as caught:
        store.pin(new.root, "new", replaces=old.root)
    assert (lost,) == caught.value.missing
    assert [Pin(old.root, "old")] == list(store.pins())


def test_replaces_trusts_no_root_that_is_not_pinned(store: Store) -> None:
    """A root that nobody proved saves no walking."""
    dag = trie(11)
    outer = folder([*dag.blocks], fanout=8, threshold=100)
    store.put(block for block in outer.blocks if block[0] != dag.leaves[0])
    with pytest.raises(Incomplete):
        store.pin(dag.root, "one", replaces=dag.root)


def test_unpin_drops_and_passes_over(store: Store) -> None:
    """Roots go; roots that were not pinned are passed over."""
    dags = [folder(noise(seed, 2)) for seed in range(3)]
    for number, dag in enumerate(dags):
        store.put(dag.blocks)
        store.pin(dag.root, f"pins/{number}")
    store.unpin([dags[0].root, CID.raw(bytes(32)), dags[2].root])
    assert [Pin(dags[1].root, "pins/1")] == list(store.pins())
    assert PinState.ABSENT == store.status(dags[0].root).copies[0].state
    store.unpin([])


def test_pins_come_by_prefix_and_in_order(store: Store) -> None:
    """A prefix is one of text, not of whole words; order is by name."""
    names = ["b/2", "a/1", "a-1", "a/10", "ab/1", "a/2", "é/ü"]
    for seed, name in enumerate(names):
        dag = folder(noise(seed, 1))
        store.put(dag.blocks)
        store.pin(dag.root, name)
    assert sorted(names) == [pin.name for pin in store.pins()]
    assert ["a/1", "a/10", "a/2"] == [pin.name for pin in store.pins("a/")]
    assert ["a/1", "a/10"] == [pin.name for pin in store.pins("a/1")]
    assert [] == list(store.pins("c"))


def test_usage_grows(store: Store) -> None:
    """More blocks use more; the capacity, where known, is at least what is used."""
    before = store.usage()
    store.put(noise(12, 50, 1000))
    after = store.usage()
    assert after.used >= before.used + 50_000
    assert after.capacity is None or after.capacity >= after.used


def test_many_threads_put_and_get_at_once(store: Store) -> None:
    """Eight threads with overlapping blocks lose nothing and see nothing wrong."""
    blocks = noise(13, 400)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            mine = blocks[number * 40 : number * 40 + 120]
            with store.session():
                for start in range(0, len(mine), 30):
                    store.put(mine[start : start + 30])
                    for cid, block in mine[: start + 30 : 7]:
                        assert block == store.get(cid)
                dag = folder(mine)
                store.put(dag.blocks)
                store.pin(dag.root, f"thread/{number}")
        except BaseException as error:  # noqa: BLE001 (told after the join)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == errors
    assert {cid for cid, _ in blocks} == store.has(cid for cid, _ in blocks)
    assert [f"thread/{number}" for number in range(8)] == [pin.name for pin in store.pins()]


def test_sessions_may_overlap_and_nest(store: Store) -> None:
    """A session ends by itself, whatever others do, also by an error."""
    dag = trie(14)
    with store.session(), store.session():
        store.put(dag.blocks)

    class Broken(Exception):
        pass

    with pytest.raises(Broken), store.session():
        raise Broken
    store.pin(dag.root, "one")
    assert dag.cids == store.has(dag.cids)


def test_close_may_be_called_twice(store: Store) -> None:
    """Closing is idempotent."""
    store.put(noise(15, 3))
    store.close()
    store.close()
