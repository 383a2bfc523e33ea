"""Moving into one store what it lacks, and nothing else."""

from __future__ import annotations

import pytest

from engine import Recording
from pinfold.errors import Corrupt, Full, Malformed, Missing, Unavailable
from pinfold.ipld.cid import CID, DAG_CBOR
from pinfold.ipld.walk import SeenMarks
from pinfold.store import Counting, Fault, Faulty, MemoryStore
from pinfold.store.filling import SourceError, fill, lacking
from store.dags import Dag, folder, noise, shapes, trie

DAG = trie(1, 300)


def holding(*dags: Dag) -> MemoryStore:
    """A store that holds all of these."""
    store = MemoryStore("source")
    for dag in dags:
        store.put(dag.blocks)
    return store


@pytest.mark.parametrize("shape", shapes())
def test_every_shape_goes_over(shape: str) -> None:
    """Whatever hangs below a root is there afterwards, and proved by a pin."""
    dag = shapes()[shape]
    target = MemoryStore("target")
    count, size = fill(dag.root, holding(dag).get, target)
    assert (len(dag.blocks), sum(len(block) for _, block in dag.blocks)) == (count, size)
    assert 1 == target.pin(dag.root, "one").pinned


def test_only_what_is_missing_goes_over() -> None:
    """Blocks that the target holds already are neither read as leaves nor put."""
    target = Recording(MemoryStore("target"))
    target.put(DAG.blocks[::2])
    target.put_cids.clear()
    told: list[int] = []
    fill(DAG.root, holding(DAG).get, target, progress=told.append)
    assert {cid for cid, _ in DAG.blocks[1::2]} == set(target.put_cids)
    assert sum(len(block) for _, block in DAG.blocks[1::2]) == sum(told)


def test_what_was_met_is_not_asked_for_again() -> None:
    """Of a second DAG that shares most of its blocks only the difference is read and asked for."""
    leaves = noise(5, 2000)
    one, two = (folder(some, fanout=16, threshold=100) for some in (leaves, leaves[:-1]))
    source = Counting(holding(one, two))
    target = MemoryStore("target")
    seen = SeenMarks()
    fill(one.root, source.get, target, seen)
    source.counts.clear()
    assert len(two.cids - one.cids) == fill(two.root, source.get, target, seen)[0]
    assert source.counts["get"] < 10


def test_a_lack_tells_its_size() -> None:
    """The sum of what lacks is known without reading a single leaf."""
    source = Counting(holding(DAG))
    lacks = list(lacking(DAG.root, source.get, lambda _: set(), SeenMarks()))
    assert sum(len(block) for _, block in DAG.blocks) == sum(lack.size for lack in lacks)
    assert len(DAG.cids) - len(DAG.leaves) == source.counts["get"]


def test_whose_fault_it_was() -> None:
    """An error of reading is told apart from one of the store that is filled."""
    source, leaf = holding(DAG), DAG.leaves[0]
    full = Faulty(MemoryStore("target"), Fault("put", error=Full("no room"), after=3))
    with pytest.raises(Full, match="no room"):
        fill(DAG.root, source.get, full)
    away = Faulty(MemoryStore("target"), Fault("has", error=Unavailable("not now")))
    with pytest.raises(Unavailable, match="not now"):
        fill(DAG.root, source.get, away)
    block = source._blocks[leaf.digest]
    source._blocks[leaf.digest] = block[:-1] + bytes([block[-1] ^ 1])
    with pytest.raises(SourceError) as damaged:
        fill(DAG.root, source.get, MemoryStore("target"))
    del source._blocks[leaf.digest]
    with pytest.raises(SourceError) as missing:
        fill(DAG.root, source.get, MemoryStore("target"))
    assert (Corrupt, Missing) == (type(damaged.value.error), type(missing.value.error))
    odd = CID.of(DAG_CBOR, b"\xa0")
    source.put([(odd, b"\xa0")])
    with pytest.raises(SourceError) as strange:
        fill(odd, source.get, MemoryStore("target"))
    assert Malformed is type(strange.value.error)
