"""The gateway reads the blocks that an answer takes, each once, and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import content
from gateway.door import ask, opened
from pinfold.ipld import CID, lookup

if TYPE_CHECKING:
    from gateway.content import Content

BYTES = {"format": "car", "dag-scope": "entity", "entity-bytes": "512:600"}


@pytest.fixture(scope="module")
def made() -> Content:
    """One of everything."""
    return content.make()


def on_the_way(made: Content, name: str) -> list[CID]:
    """The shards that lead to a name."""
    met: list[CID] = []

    def get(cid: CID) -> bytes:
        met.append(cid)
        return made.blocks[cid]

    assert lookup(made["hamt"], name.encode(), get) is not None
    return met


def read_for(
    made: Content, path: str, method: str = "GET", query: dict[str, str] | None = None, **headers: str
) -> list[CID]:
    """The blocks that an answer of 200 or 206 took from the store, in order."""
    door, store = opened(made.blocks)
    assert ask(door, path, method, query, **headers).status in {200, 206}
    return list(store.asked)


def test_a_block(made: Content) -> None:
    """A block costs one block."""
    assert [made["tree"]] == read_for(made, f"/ipfs/{made['tree']}", query={"format": "raw"})


def test_a_name_in_a_sharded_folder(made: Content) -> None:
    """A path through a sharded folder costs the shards on the way and the file."""
    expected = [*on_the_way(made, "685.txt"), made["hamt/685.txt"], *made.parts["hamt/685.txt"]]
    assert expected == read_for(made, f"/ipfs/{made['hamt']}/685.txt")


def test_a_range_in_the_middle_of_a_file(made: Content) -> None:
    """A range costs the nodes and the leaves that hold it."""
    multi, parts = made["tree/subdir/multiblock.txt"], made.parts["tree/subdir/multiblock.txt"]
    assert [multi, parts[2]] == read_for(made, f"/ipfs/{multi}", Range="bytes=512-600")


def test_a_span_in_the_middle_of_a_file(made: Content) -> None:
    """entity-bytes costs the blocks that the CAR holds, and those of the way."""
    multi, parts = made["tree/subdir/multiblock.txt"], made.parts["tree/subdir/multiblock.txt"]
    expected = [made["tree"], made["tree/subdir"], multi, parts[2]]
    assert expected == read_for(made, f"/ipfs/{made['tree']}/subdir/multiblock.txt", query=BYTES)


def test_a_page_of_a_folder(made: Content) -> None:
    """The page of a folder costs the folder, not what it names."""
    assert [made["tree/subdir"]] == read_for(made, f"/ipfs/{made['tree/subdir']}/")


def test_the_head_of_a_file(made: Content) -> None:
    """HEAD of a file whose name tells its type costs the first block only."""
    expected = [made["tree"], made["tree/subdir"], made["tree/subdir/multiblock.txt"]]
    assert expected == read_for(made, f"/ipfs/{made['tree']}/subdir/multiblock.txt", "HEAD")


def test_the_head_of_a_car(made: Content) -> None:
    """HEAD of a CAR costs the way and the content's first block."""
    assert [made["hamt"]] == read_for(made, f"/ipfs/{made['hamt']}", "HEAD", {"format": "car"})


def test_a_file_that_is_sniffed(made: Content) -> None:
    """A file without a name is looked into for its type, and no block of it is read twice."""
    multi, parts = made["tree/subdir/multiblock.txt"], made.parts["tree/subdir/multiblock.txt"]
    assert [multi, *parts] == read_for(made, f"/ipfs/{multi}")


def test_a_tag_that_is_known(made: Content) -> None:
    """An answer of 304 to a block costs no block."""
    door, store = opened(made.blocks)
    known = f'"{made["tree"]}.raw"'
    answer = ask(door, f"/ipfs/{made['tree']}", query={"format": "raw"}, If_None_Match=known)
    assert (304, []) == (answer.status, list(store.asked))


def test_a_tag_of_what_is_not_here(made: Content) -> None:
    """A known tag does not turn what is not here into 304."""
    door, _ = opened({})
    answer = ask(door, f"/ipfs/{made['tree']}", query={"format": "raw"}, If_None_Match="*")
    assert 404 == answer.status


def test_the_second_page_of_a_sharded_folder(made: Content) -> None:
    """A page in the middle of a sharded folder costs the shards of that page, not those before it."""
    whole = len(read_for(made, f"/ipfs/{made['hamt']}/"))
    last = len(read_for(made, f"/ipfs/{made['hamt']}/", query={"from": str((1 << 64) - (1 << 57))}))
    assert last < whole / 20
