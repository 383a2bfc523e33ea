"""Many streams at once: none keeps a large block that its client does not take."""

from __future__ import annotations

import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.door import Counting, ask
from ipld.memory import Blocks
from pinfold.door import Request
from pinfold.gateway import Gateway, gateway
from pinfold.ipld import CID, add_file

if TYPE_CHECKING:
    from collections.abc import Iterator

CAR = {"format": "car"}
CHUNK = 1 << 20
CROWD = 4
READERS = 20


class Fresh(Counting):
    """A store that reads each block into memory of its own, as one on a disk does."""

    def get(self, cid: CID) -> bytes:
        """Return a copy."""
        return bytes(bytearray(super().get(cid)))


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> tuple[Gateway, CID, Blocks]:
    """A gateway for which a few are a crowd, and a file of three large blocks."""
    monkeypatch.setattr("pinfold.gateway.blocks._CROWD", CROWD)
    made = Blocks()
    cid = add_file((bytes([number]) * CHUNK for number in range(3)), made.emit, chunk_size=CHUNK).cid
    return gateway(Fresh(made.items())), cid, made


def reader(door: Gateway, root: CID) -> Iterator[bytes]:
    """A stream from which 100,000 bytes were taken, so that it is in the middle of a block."""
    body = door(Request("GET", f"/ipfs/{root}", tuple(CAR.items()))).body
    assert not isinstance(body, bytes)
    while len(next(body)) < 100_000:
        pass
    return body


@pytest.mark.parametrize("scope", ["all", "entity"])
def test_a_crowd_gets_the_same(root: tuple[Gateway, CID, Blocks], scope: str) -> None:
    """Amid many others a CAR has the same bytes, and large blocks come in two slices, read twice."""
    door, cid, made = root
    query = CAR | {"dag-scope": scope}
    alone = ask(door, f"/ipfs/{cid}", query=query)
    others = [reader(door, cid) for _ in range(CROWD)]
    amid = ask(door, f"/ipfs/{cid}", query=query)
    assert (alone.body, False) == (amid.body, amid.broken)
    assert set(made) == set(amid.car)
    for one in others:
        one.close()  # type: ignore[attr-defined]  # a generator
    assert alone.body == ask(door, f"/ipfs/{cid}", query=query).body


def test_stopped_readers_hold_no_blocks(root: tuple[Gateway, CID, Blocks]) -> None:
    """Behind each reader beyond the crowd that stopped in the middle of a block stands half of it at most."""
    door, cid, _ = root
    with closing(door):
        first = [reader(door, cid) for _ in range(CROWD)]
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            late = [reader(door, cid) for _ in range(READERS)]
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < READERS * (CHUNK // 2 + 80_000)
        for one in first + late:
            one.close()  # type: ignore[attr-defined]  # a generator
