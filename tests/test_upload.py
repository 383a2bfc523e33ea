"""The way of chunks into a store: in parallel, bounded, and honest about failure."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from engine import Recording, noise
from pinfold.cache import Cache
from pinfold.errors import Corrupt, Full, PinfoldError
from pinfold.ipld import CID
from pinfold.seal import box
from pinfold.seal.refs import MAX_BLOCK
from pinfold.store import Fault, Faulty, MemoryStore
from pinfold.upload import Uploader
from sources.sink import AGENT, OPENER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from pinfold.store import Block, Store


@pytest.fixture
def upload(tmp_path: Path) -> Iterator[Callable[..., Uploader]]:
    """Makes uploaders into a store, and closes them at the end."""
    cache = Cache(tmp_path / "cache")
    made: list[Uploader] = []

    def make(store: Store, *, check_all: bool = False, doubted: Callable[[bytes], bool] | None = None) -> Uploader:
        made.append(Uploader(store, AGENT.sealer(), cache, check_all=check_all, doubted=doubted))
        return made[-1]

    yield make
    for one in made:
        one.close()
    cache.close()


def test_what_is_flushed_is_stored(upload: Callable[..., Uploader]) -> None:
    """After a flush every chunk given so far is in the store and opens to what it was."""
    store = MemoryStore()
    work = upload(store)
    chunks = [noise(seed, 1000 * seed + 1) for seed in range(60)]
    futures = [work.chunk(chunk) for chunk in chunks]
    found = [future.result() for future in futures]
    work.flush()
    for chunk, [(start, ref)] in zip(chunks, found, strict=True):
        assert (0, chunk) == (start, OPENER.open(ref, store.get(ref.cid)))
    assert (60, store.usage().used) == (work.new_blocks, work.new_bytes)


def test_equal_chunks_are_stored_once(upload: Callable[..., Uploader]) -> None:
    """A chunk that comes many times at once is stored and counted once, and not again by the next uploader."""
    store = Recording(MemoryStore())
    work = upload(store)
    refs = {work.chunk(noise(1, 50_000)).result()[0][1] for _ in range(50)}
    more = [work.chunk(noise(2, 50_000)) for _ in range(50)]
    refs |= {future.result()[0][1] for future in more}
    work.flush()
    assert (2, 2, 2) == (len(refs), work.new_blocks, len(store.put_cids))
    again = upload(store)
    assert again.chunk(noise(1, 50_000)).result()[0][1] in refs
    again.flush()
    assert (0, 2) == (again.new_blocks, len(store.put_cids))


def test_doubted_blocks_are_put_again(upload: Callable[..., Uploader]) -> None:
    """A block the store claims to have is put all the same when it is doubted."""
    store = MemoryStore()
    work = upload(store)
    ref = work.chunk(b"something").result()[0][1]
    work.flush()
    del store._blocks[ref.digest]
    lying = Faulty(store, Fault("has", lie=True))
    believing = upload(lying)
    believing.chunk(b"something").result()
    believing.flush()
    assert set() == store.has([ref.cid])
    doubting = upload(lying, doubted=lambda digest: digest == ref.digest)
    doubting.chunk(b"something").result()
    doubting.flush()
    assert {ref.cid} == store.has([ref.cid])


def test_a_chunk_that_does_not_fit_is_halved(upload: Callable[..., Uploader]) -> None:
    """A chunk too large for a block is cut at edges, again and again; one without an edge is a defect, told as such."""
    store = MemoryStore()
    work = upload(store)
    data = noise(1, 4_000_000)
    edges = list(range(100_000, 4_000_000, 100_000))
    segments = work.chunk(data, edges=edges).result()
    work.flush()
    assert len(segments) > 3
    assert {start for start, _ in segments} <= {0, *edges}
    assert data == b"".join(OPENER.open(ref, store.get(ref.cid)) for _, ref in segments)
    assert max(ref.size for _, ref in segments) <= MAX_BLOCK
    with pytest.raises(PinfoldError, match="defect of pinfold"):
        work.chunk(data).result()


@pytest.mark.parametrize("call", range(1, 4))
@pytest.mark.parametrize("error", [Full("no room left"), RuntimeError("broken")])
def test_a_store_that_fails(upload: Callable[..., Uploader], error: Exception, call: int) -> None:
    """A failing store is told by the next call and by flush, however much is under way, and never hangs anybody."""
    work = upload(Faulty(MemoryStore("shelf"), Fault("put", frozenset({call}), error, after=2)))

    def feed() -> None:
        for round_of in range(4):
            for seed in range(100):
                work.chunk(noise(1000 * round_of + seed, 20_000))
            work.flush()

    expected = "no room left" if isinstance(error, Full) else "writing to shelf failed: broken"
    with pytest.raises(PinfoldError, match=expected):
        feed()
    with pytest.raises(PinfoldError, match=expected):
        work.flush()
    with pytest.raises(PinfoldError, match=expected):
        work.block(CID.of(0x55, b"x"), b"x")


def test_memory_is_bounded(upload: Callable[..., Uploader]) -> None:
    """A store that takes nothing for a while is not given more than a few blocks ahead."""
    gate = threading.Event()

    class Slow(Recording):
        def put(self, blocks: Iterable[Block]) -> int:
            gate.wait()
            return super().put(blocks)

    work = upload(Slow(MemoryStore()))
    given = 0

    def feed() -> None:
        nonlocal given
        for seed in range(300):
            work.chunk(noise(seed, 1000))
            given += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    feeder.join(0.3)
    assert given < 100
    gate.set()
    feeder.join()
    work.flush()
    assert (300, 300) == (given, work.new_blocks)


def test_closing_twice_and_at_once(upload: Callable[..., Uploader]) -> None:
    """An uploader can be closed with work under way, and twice."""
    work = upload(MemoryStore())
    for seed in range(10):
        work.chunk(noise(seed, 500_000))
    work.close()
    work.close()


def test_what_was_sealed_wrongly_is_not_let_go(
    upload: Callable[..., Uploader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every block is checked, a bit that flipped between sealing and storing stops the run."""
    work = upload(MemoryStore(), check_all=True)
    real = box._compress
    monkeypatch.setattr(box, "_compress", lambda plain, level: real(bytes(plain[:-1]) + b"?", level))
    with pytest.raises(Corrupt, match="memory"):
        work.chunk(b"x" * 5000).result()
