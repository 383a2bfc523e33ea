"""Reading from afar: enough blocks under way at once, in order, in bounded room, and nobody left waiting."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine import below, blocks_of, listing, made, noise, rig, write
from pinfold.errors import Corrupt, Unavailable
from pinfold.reading import Reader
from pinfold.seal import refs
from pinfold.store.layers import Layer
from pinfold.verify import Depth, Verification
from store.distant import AT_ONCE, Distant

if TYPE_CHECKING:
    from pathlib import Path

    from engine import Rig
    from pinfold.ipld import CID
    from pinfold.seal.refs import Ref, Tree

MEBI = 1 << 20
KIBI = 1 << 10


def kept(here: Rig, data: bytes) -> Ref:
    """A chunk, sealed into a rig's store."""
    sealer = here.agent.sealer()
    sealed = sealer.seal(data, sealer.name(data)[1])
    here.store.put([(sealed.ref.cid, sealed.block)])
    return sealed.ref


def planted(here: Rig, chunks: list[bytes]) -> Tree:
    """Chunks in a tree of refs."""
    tree = refs.plant((kept(here, chunk) for chunk in chunks), lambda node: kept(here, node))
    assert tree is not None
    return tree


@pytest.mark.parametrize(
    "files",
    [
        {"dump": noise(1, 48 * MEBI)},
        {f"{n % 10}/{n}": noise(n, 900 * KIBI) for n in range(80)},
        {f"{n % 10}/{n}": noise(n, 200 * KIBI) for n in range(400)},
    ],
    ids=["one large file", "many files of two chunks", "many files in bundles"],
)
def test_a_restore_keeps_as_many_under_way_as_the_store_bears(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Whatever the shape of the tree, a restore from afar has 64 blocks under way at once, and is right."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", files)
    snapshot = made(here.backup(root))
    far = Distant(here.store)
    result = here.restore(snapshot, tmp_path / "back", store=far)
    assert (len(files), [], []) == (result.files, result.problems, result.damaged)
    assert listing(root) == listing(tmp_path / "back")
    assert AT_ONCE == far.most


def test_a_restore_from_afar_fetches_each_block_once(tmp_path: Path) -> None:
    """Of a tree without equal files no block is asked for twice."""
    files = {f"{n % 50}/{n}": noise(n, n * 300) for n in range(500)} | {"z/large": noise(1, 20 * MEBI)}
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", files)
    far = Distant(here.store)
    here.restore(made(here.backup(root)), tmp_path / "back", store=far)
    assert listing(root) == listing(tmp_path / "back")
    asked = [cid for cid in far.asked if cid.codec != 0x70]
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("decrypt", [0.0, 100.0])
def test_a_verification_keeps_as_many_under_way(tmp_path: Path, decrypt: float) -> None:
    """Reading all blocks of a snapshot, and opening them, has 64 blocks under way at once, and finds no damage."""
    files = {"dump": noise(1, 48 * MEBI)} | {f"{n}": noise(n, 5 * MEBI) for n in range(5)}
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", files)
    made(here.backup(root))
    far = Distant(here.store)
    report = here.verify(store=far, decrypt=decrypt)
    assert (0, report.blocks) == (report.damage_count, report.read)
    assert AT_ONCE == far.most


def test_damage_far_away_is_found(tmp_path: Path) -> None:
    """What is damaged or missing far away is named with its files, as it is near by."""
    files = {f"{n}": noise(n, 3 * MEBI) for n in range(4)}
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", files)
    snapshot = made(here.backup(root))
    held = blocks_of(here.store)  # type: ignore[arg-type]
    large = sorted(digest for digest, block in held.items() if len(block) > 100_000)
    held[large[0]] = b"other bytes"
    del held[large[-1]]
    near, far = here.verify(), here.verify(store=Distant(here.store))
    assert 2 == near.damage_count
    assert {what for what, _ in near.damage} == {what for what, _ in far.damage}
    assert near.files == far.files
    result = here.restore(snapshot, tmp_path / "back", store=Distant(here.store))
    assert {path for _, path in near.files} == {path.decode() for path, _ in result.damaged}


def test_presence_far_away_is_asked_for_and_doubts_are_read(tmp_path: Path) -> None:
    """A store that denies what it has is proved wrong block by block, 64 at once, and there is no damage."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {"dump": noise(1, 40 * MEBI)})
    snapshot = made(here.backup(root))

    class Denying(Distant):
        def has(self, cids: object) -> set[CID]:
            del cids
            return set()

    far = Denying(here.store)
    report = Verification(far, None, Depth()).run(here.listed())
    assert (snapshot.header.blocks_count, 0) == (report.blocks, report.damage_count)
    assert AT_ONCE == far.most


def test_streams_share_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten streams side by side in room for four chunks go on to their ends, and hold no more than a chunk each over."""
    monkeypatch.setattr("pinfold.reading._ROOM", 4 * MEBI)
    here = rig(tmp_path / "cache")
    chunks = [noise(seed, 900 * KIBI) for seed in range(24)]
    tree = planted(here, chunks)
    with closing(Reader(Distant(here.store, 2), here.key.opener(0))) as reader:
        streams = [reader.stream(reader.leaves(tree)) for _ in range(10)]
        for chunk in chunks:
            assert [chunk] * 10 == [next(stream) for stream in streams]
            assert reader._room._taken <= 4 * MEBI + 10 * MEBI
        for stream in streams:
            assert [] == list(stream)
        assert 0 == reader._room._taken


def test_a_stream_that_is_left_gives_its_room_back(tmp_path: Path) -> None:
    """Who stops reading in the middle leaves no room taken."""
    here = rig(tmp_path / "cache")
    tree = planted(here, [noise(seed, 500 * KIBI) for seed in range(20)])
    with closing(Reader(Distant(here.store, 8), here.key.opener(0))) as reader:
        stream = reader.stream(reader.leaves(tree))
        next(stream)
        assert reader._room._taken > 0
        del stream
        assert 0 == reader._room._taken


def test_nodes_of_a_deep_tree_are_asked_for_ahead(tmp_path: Path) -> None:
    """In a tree of three levels the nodes that come next are under way while one is read, and order is kept."""
    here = rig(tmp_path / "cache")
    few = [planted(here, [noise(100 * n + m, 40) for m in range(20)]).root for n in range(10)]
    ref = kept(here, b"".join(one.packed for one in few))
    far = Distant(here.store, 4)
    with closing(Reader(far, here.key.opener(0))) as reader:
        found = [reader.open(one) for one in reader.leaves(refs.Tree(ref, 2))]
    assert [noise(100 * n + m, 40) for n in range(10) for m in range(20)] == found
    assert 4 == far.most


def test_whoever_waits_is_told_when_reading_ends(tmp_path: Path) -> None:
    """When the reader is closed, a stream that waits for a block that never comes gets Unavailable at once."""
    here = rig(tmp_path / "cache")
    tree = planted(here, [b"one chunk"])
    gate, asked = threading.Event(), threading.Event()

    class Mute(Layer):
        at_once = AT_ONCE

        def get(self, cid: CID) -> bytes:
            asked.set()
            gate.wait(30)
            return super().get(cid)

    reader = Reader(Mute(here.store), here.key.opener(0))
    told: list[BaseException] = []

    def read() -> None:
        try:
            list(reader.stream([tree.root]))
        except Unavailable as error:
            told.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert asked.wait(30)
    reader.close()
    thread.join(30)
    assert 1 == len(told)
    gate.set()


def test_a_restore_that_fails_far_away_ends(tmp_path: Path) -> None:
    """When the store gives up in the middle, the restore ends with its reason, and the next one goes on from there."""
    here = rig(tmp_path / "cache")
    root = write(tmp_path / "tree", {f"{n}": noise(n, 700 * KIBI) for n in range(150)})
    snapshot = made(here.backup(root))

    class Failing(Distant):
        def get(self, cid: CID) -> bytes:
            if len(self.asked) > 100:
                raise Unavailable("the network is down")
            return super().get(cid)

    with pytest.raises(Unavailable, match="the network is down"):
        here.restore(snapshot, tmp_path / "back", store=Failing(here.store, 16))
    result = here.restore(snapshot, tmp_path / "back", store=Distant(here.store))
    assert result.kept > 0
    assert listing(root) == listing(tmp_path / "back")


def test_other_bytes_from_afar_are_never_written(tmp_path: Path) -> None:
    """A store that gives other bytes for data blocks damages files, and leaves no file with wrong content."""
    here, root = rig(tmp_path / "cache"), write(tmp_path / "tree", {f"{n}": noise(n, 600 * KIBI) for n in range(8)})
    snapshot = made(here.backup(root))
    big = {cid for cid in below(here.store, snapshot.root) if len(here.store.get(cid)) > 100 * KIBI}

    class Lying(Distant):
        def get(self, cid: CID) -> bytes:
            block = super().get(cid)
            if cid in big:
                raise Corrupt(cid, "here")
            return block

    result = here.restore(snapshot, tmp_path / "back", store=Lying(here.store))
    assert (0, 8) == (result.files, result.damaged_count)
    assert {b""} == set(listing(tmp_path / "back"))
