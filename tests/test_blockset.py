"""The set of a snapshot's blocks: each once, in the folder's order, the same from disk as from memory."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipld.memory import Blocks
from pinfold import blockset
from pinfold.blockset import BlockSet, BlocksFolder
from pinfold.ipld import CID, build_folder, list_folder

records = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 1 << 20)), max_size=120, unique_by=lambda one: one[0])


def digest(number: int) -> bytes:
    """Return the digest of some block."""
    return CID.of(0x55, b"%d" % number).digest


def built(listed: list[tuple[int, int]], blocks: Blocks | None = None) -> BlocksFolder:
    """Build the folder of these blocks, each told twice."""
    found = BlockSet()
    for number, size in [*listed, *reversed(listed)]:
        found.add(digest(number), size)
    try:
        return found.build((Blocks() if blocks is None else blocks).emit)
    finally:
        found.close()


@given(records, st.integers(1, 50))
def test_spilling_changes_nothing(listed: list[tuple[int, int]], limit: int) -> None:
    """However little is held in memory, the folder is the one that all of it at once gives."""
    expected = built(listed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blockset, "_MOST_IN_MEMORY", limit)
        patch.setattr(blockset, "_READ_AHEAD", 44 * 3)
        assert expected == built(listed)


@given(records)
def test_the_folder_names_each_block_once(listed: list[tuple[int, int]]) -> None:
    """The folder is the plain one of every block under its own CID; counts and bytes are its sums."""
    blocks = Blocks()
    folder = built(listed, blocks)
    entries = [(str(CID.raw(digest(number))).encode(), CID.raw(digest(number)), size) for number, size in listed]
    assert (build_folder(entries, Blocks().emit), len(listed), sum(size for _, size in listed)) == (
        (folder.root, folder.tsize),
        folder.blocks,
        folder.total,
    )
    assert sorted(entries) == sorted(
        (entry.name, entry.cid, entry.tsize) for entry in list_folder(folder.root, blocks.fetch)
    )


def test_a_large_set_is_sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five thousand blocks, spilled in runs of a hundred, are the sharded folder that memory alone gives."""
    listed = [(number, number + 1) for number in range(5000)]
    whole, spilled = Blocks(), Blocks()
    expected = built(listed, whole)
    monkeypatch.setattr(blockset, "_MOST_IN_MEMORY", 100)
    assert (expected, dict(whole)) == (built(listed, spilled), dict(spilled))
    assert len(whole) > 1


def test_a_set_grows_after_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint builds the folder in passing: the set goes on as if it had not."""
    monkeypatch.setattr(blockset, "_MOST_IN_MEMORY", 7)
    found = BlockSet()
    for number in range(20):
        found.add(digest(number), number)
        assert number + 1 == found.build(Blocks().emit).blocks
    assert built([(number, number) for number in range(20)]) == found.build(Blocks().emit)
    found.close()


def test_two_sizes_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of which two sizes were told, as a damaged cache may do, is named once."""
    for limit in (1, 100):
        monkeypatch.setattr(blockset, "_MOST_IN_MEMORY", limit)
        assert built([(1, 5), (2, 9)]) == built([(1, 7), (2, 9), (1, 5)])


def test_nothing_stays_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file that runs are spilled to has no name, and closing twice is no error."""
    monkeypatch.setattr(blockset, "_MOST_IN_MEMORY", 2)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = BlockSet()
    for number in range(9):
        found.add(digest(number), 1)
    assert [] == list(tmp_path.iterdir())
    found.close()
    found.close()
