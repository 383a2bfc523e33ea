"""What every store keeps to that collects garbage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinfold.store import Collects
from store.dags import file_tree, folder, noise, trie

if TYPE_CHECKING:
    from pinfold.store import Store

DAGS = [trie(1), trie(2), file_tree(3), folder(noise(1, 20)), folder(noise(2, 60)[5:], fanout=8, threshold=100)]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "pin", "unpin", "collect", "dry"]), st.integers(0, len(DAGS) - 1)), max_size=14
)


def collector(store: Store) -> Collects:
    """The store as one that collects."""
    assert isinstance(store, Collects)
    return store


def test_garbage_goes_and_pins_stay(collecting: Store) -> None:
    """What no pin reaches is freed; what one reaches is there to the last block."""
    for number, dag in enumerate(DAGS[:3]):
        with collecting.session():
            collecting.put(dag.blocks)
            collecting.pin(dag.root, f"pins/{number}")
    collecting.unpin([DAGS[0].root, DAGS[2].root])
    done = collector(collecting).collect()
    assert done.freed_blocks > 0
    assert done.waiting_bytes == 0
    assert DAGS[1].cids == collecting.has(DAGS[1].cids)
    assert set() == collecting.has(DAGS[0].cids - DAGS[1].cids)
    again = collector(collecting).collect()
    assert (0, 0) == (again.freed_blocks, again.freed_bytes)
    collecting.pin(DAGS[1].root, "again")


def test_a_dry_run_frees_nothing(collecting: Store) -> None:
    """A dry run tells what would go, and all stays."""
    collecting.put(DAGS[0].blocks)
    told = collector(collecting).collect(dry_run=True)
    assert DAGS[0].cids == collecting.has(DAGS[0].cids)
    done = collector(collecting).collect()
    assert (told.freed_blocks, told.freed_bytes) == (done.freed_blocks, done.freed_bytes)
    assert done.freed_blocks > 0


def test_a_session_keeps_what_it_put(collecting: Store) -> None:
    """Blocks put in a session outlive a collection, and can be pinned after it."""
    dag = DAGS[0]
    with collecting.session():
        collecting.put(dag.blocks)
        collector(collecting).collect()
        assert dag.cids == collecting.has(dag.cids)
        collecting.pin(dag.root, "one")
    collector(collecting).collect()
    assert dict(dag.blocks) == {cid: collecting.get(cid) for cid in dag.cids}


def test_a_session_keeps_what_it_saw(collecting: Store) -> None:
    """Garbage that a session was told is there can be pinned by it after any number of collections."""
    dag = DAGS[0]
    collecting.put(dag.blocks)
    with collecting.session():
        assert dag.cids == collecting.has(dag.cids)
        waiting = collector(collecting).collect()
        assert waiting.waiting_bytes > 0
        collector(collecting).collect()
        assert dict(dag.blocks) == {cid: collecting.get(cid) for cid in dag.cids}
        collecting.pin(dag.root, "one")
    collector(collecting).collect()
    assert dict(dag.blocks) == {cid: collecting.get(cid) for cid in dag.cids}
    collecting.unpin([dag.root])
    assert collector(collecting).collect().freed_blocks > 0


def test_a_session_that_comes_later_puts_anew(collecting: Store) -> None:
    """What is only waiting to go is stored again by a put, and that copy stays."""
    dag = DAGS[0]
    collecting.put(dag.blocks)
    with collecting.session():
        collecting.has(dag.cids)
        collector(collecting).collect()
        with collecting.session():
            collecting.put(dag.blocks)
            assert dag.cids == collecting.has(dag.cids)
            collecting.pin(dag.root, "one")
    collector(collecting).collect()
    collector(collecting).collect()
    assert dict(dag.blocks) == {cid: collecting.get(cid) for cid in dag.cids}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_order_of_work_keeps_what_is_pinned(collecting: Store, steps: list[tuple[str, int]]) -> None:
    """Whatever is put, pinned, unpinned and collected in whatever order, pinned DAGs are whole."""
    collecting.unpin([pin.root for pin in collecting.pins() if pin.name != "held"])
    collector(collecting).collect()
    pinned: dict[int, str] = {}
    for number, (step, which) in enumerate(steps):
        dag = DAGS[which]
        if step == "put":
            collecting.put(dag.blocks)
        elif step == "pin":
            with collecting.session():
                collecting.put(dag.blocks)
                collecting.pin(dag.root, f"pins/{number}")
            pinned[which] = f"pins/{number}"
        elif step == "unpin":
            collecting.unpin([dag.root])
            pinned.pop(which, None)
        else:
            collector(collecting).collect(dry_run=step == "dry")
    live = set().union(*(DAGS[which].cids for which in pinned))
    assert live == collecting.has(live)
    assert {DAGS[which].root: name for which, name in pinned.items()} == {
        pin.root: pin.name for pin in collecting.pins() if pin.name != "held"
    }
    for which in pinned:
        assert all(block == collecting.get(cid) for cid, block in DAGS[which].blocks)
