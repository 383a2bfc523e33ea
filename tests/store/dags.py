"""Small DAGs for the tests of stores."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from pinfold.ipld.cid import CID, IDENTITY, RAW
from pinfold.ipld.files import add_file
from pinfold.ipld.folders import build_folder

if TYPE_CHECKING:
    from pinfold.store import Store

Block = tuple[CID, bytes]


class Dag(NamedTuple):
    """A root and every block below it, root included, each once."""

    root: CID
    blocks: tuple[Block, ...]

    @property
    def cids(self) -> set[CID]:
        """All CIDs."""
        return {cid for cid, _ in self.blocks}

    @property
    def leaves(self) -> list[CID]:
        """The raw blocks."""
        return [cid for cid, _ in self.blocks if cid.codec == RAW]


def raw(data: bytes) -> Block:
    """A raw block."""
    return CID.of(RAW, data), data


def noise(seed: int, count: int, size: int = 200) -> list[Block]:
    """Raw blocks of reproducible random bytes."""
    chance = random.Random(seed)
    return [raw(chance.randbytes(size)) for _ in range(count)]


def folder(blocks: list[Block], *, fanout: int = 256, threshold: int = 262144) -> Dag:
    """A folder of raw blocks by their CIDs; small thresholds make it a trie."""
    found: dict[CID, bytes] = dict(blocks)
    entries = [(str(cid).encode(), cid, len(block)) for cid, block in found.items()]
    root, _ = build_folder(entries, found.__setitem__, fanout=fanout, threshold=threshold)
    return Dag(root, tuple(found.items()))


def trie(seed: int, count: int = 60) -> Dag:
    """A sharded folder of several levels."""
    return folder(noise(seed, count), fanout=8, threshold=100)


def file_tree(seed: int, chunks: int = 20) -> Dag:
    """A file of many leaves, three levels deep."""
    found: dict[CID, bytes] = {}
    data = random.Random(seed).randbytes(chunks * 64)
    return Dag(add_file([data], found.__setitem__, chunk_size=64, width=3).cid, tuple(found.items()))


def with_identity(seed: int) -> Dag:
    """A folder with an entry whose CID carries its bytes itself."""
    blocks = noise(seed, 2)
    found: dict[CID, bytes] = dict(blocks)
    inside = CID(1, RAW, IDENTITY, b"carried along")
    entries = [(b"inside", inside, 13), *((str(cid).encode(), cid, len(block)) for cid, block in blocks)]
    root, _ = build_folder(entries, found.__setitem__)
    return Dag(root, tuple(found.items()))


def hold(store: Store) -> Dag:
    """Pin a small DAG, as a keyring always is: a store without any pin has lost its pin list."""
    dag = folder(noise(99, 2))
    with store.session():
        store.put(dag.blocks)
        store.pin(dag.root, "held")
    return dag


def shapes() -> dict[str, Dag]:
    """One DAG of each shape."""
    block = raw(b"a lone leaf")
    return {
        "leaf": Dag(block[0], (block,)),
        "folder": folder(noise(1, 5)),
        "empty folder": folder([]),
        "trie": trie(2),
        "file": file_tree(3),
        "identity": with_identity(4),
    }
