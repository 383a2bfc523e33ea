"""A store before doors: it answers in time or not at all."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from pinfold.errors import Corrupt, Missing, Unavailable
from pinfold.ipld import CID
from pinfold.serving import failing
from pinfold.serving.health import Health
from pinfold.store import MemoryStore
from pinfold.wiring.guarding import Guarded

BLOCK = b"a block"
CID_OF_IT = CID.raw(CID.of(0x55, BLOCK).digest)


class Hanging(MemoryStore):
    """Answers no question about blocks until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def get(self, cid: CID) -> bytes:
        """Hang, then answer."""
        self.let_go.wait(30)
        return super().get(cid)


def test_a_store_that_is_well_is_only_passed_through() -> None:
    """Blocks, their absence and errors come as from the store itself."""
    store = MemoryStore()
    store.put([(CID_OF_IT, BLOCK)])
    with closing(Guarded(store, Health(lambda: None), 10.0)) as guarded:
        assert BLOCK == guarded.get(CID_OF_IT)
        assert {CID_OF_IT} == guarded.has([CID_OF_IT])
        with pytest.raises(Missing):
            guarded.get(CID.of(0x55, b"another"))


def test_one_block_that_does_not_come_is_given_up() -> None:
    """Where the store says that it is well and yet does not send a block, its time ends."""
    store = Hanging()
    with closing(Guarded(store, Health(lambda: None), 1.2)) as guarded:
        with pytest.raises(Unavailable, match=r"has not answered for 1\.2 seconds"):
            guarded.get(CID_OF_IT)
        store.let_go.set()


def test_whoever_waits_is_let_go_when_the_store_is_ill() -> None:
    """A store found ill ends the waiting long before its time, and is asked nothing from then on."""
    store = Hanging()

    def check() -> None:
        raise Unavailable("away")

    with closing(Guarded(store, Health(check), 600.0)) as guarded:
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(Unavailable, match="is not asked: the store does not answer"):
                guarded.get(CID_OF_IT)
        assert time.monotonic() - began < 10
        store.let_go.set()


def test_a_damaged_block_is_one_status() -> None:
    """A damaged block is 500 in the first piece of a stream as it is before."""
    assert 500 == failing.answer(Corrupt("bafy", "a store"))[0].status
