"""Refs: where a chunk lies and how to open it, 72 bytes each.

    digest (sha2-256 of the block) ‖ key ‖ plaintext length u32le ‖ block length u32le

A ref opens its chunk, so it is a secret: it never leaves `seal/` and the local cache unsealed, and
a Ref prints its digest only.  Long lists of refs are cut into *nodes* that are sealed like chunks,
until one ref is left: a Tree is that ref and the number of node levels above the data.

Nodes are cut behind a ref whose digest says so (on average every 2048 refs, at most 8192), so that
two lists which differ in one place share all other nodes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from pinfold.errors import Malformed
from pinfold.ipld.cid import CID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

REF_BYTES: Final = 72
MAX_PLAIN: Final = 4 << 20
MAX_BLOCK: Final = 1 << 20
MAX_DEPTH: Final = 6  # 2048 ** 6 chunks are more bytes than 64 bits can count
_NODE_MASK: Final = 0x7FF
_NODE_MOST: Final = 8192
_PACK: Final = struct.Struct("<32s32sII")


class Ref:
    """One chunk: `digest` of its block, key, plaintext `length` and block `size` in bytes."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        """`packed`: the 72 bytes.  Raises Malformed for another size or lengths out of bounds."""
        if len(packed) != REF_BYTES:
            raise Malformed("ref", f"has {len(packed)} bytes, not {REF_BYTES}")
        if int.from_bytes(packed[64:68], "little") > MAX_PLAIN or int.from_bytes(packed[68:], "little") > MAX_BLOCK:
            raise Malformed("ref", "its lengths are out of bounds")
        self.packed = packed

    @classmethod
    def of(cls, digest: bytes, key: bytes, length: int, size: int) -> Ref:
        """The ref with these parts."""
        return cls(_PACK.pack(digest, key, length, size))

    @property
    def digest(self) -> bytes:
        """sha2-256 of the sealed block."""
        return self.packed[:32]

    @property
    def key(self) -> bytes:
        """The chunk's AES key."""
        return self.packed[32:64]

    @property
    def length(self) -> int:
        """Bytes of plaintext."""
        return int.from_bytes(self.packed[64:68], "little")

    @property
    def size(self) -> int:
        """Bytes of the sealed block."""
        return int.from_bytes(self.packed[68:], "little")

    @property
    def cid(self) -> CID:
        """The sealed block's CID."""
        return CID.raw(self.packed[:32])

    def __repr__(self) -> str:
        return f"Ref({self.digest.hex()[:12]}…, {self.length} bytes)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ref cannot be pickled")


class Tree(NamedTuple):
    """A sequence of bytes by one ref: depth 0 is the chunk itself, depth n a node of refs of n-1."""

    root: Ref
    depth: int


def split(packed: bytes) -> list[Ref]:
    """The refs in a run of 72-byte refs.  Raises Malformed."""
    if len(packed) % REF_BYTES:
        raise Malformed("list of refs", f"{len(packed)} bytes are no whole number of refs")
    return [Ref(packed[at : at + REF_BYTES]) for at in range(0, len(packed), REF_BYTES)]


def plant(refs: Iterable[Ref], seal: Callable[[bytes], Ref]) -> Tree | None:
    """Seal a list of refs into a tree; None for an empty list.

    `seal` takes a node's plaintext and gives its ref.  Memory: one node for each level.
    """
    levels: list[list[bytes]] = [[]]
    cut: list[bool] = [False]

    def add(level: int, packed: bytes) -> None:
        if level == len(levels):
            levels.append([])
            cut.append(False)
        node = levels[level]
        node.append(packed)
        ends = int.from_bytes(packed[:4], "big") & _NODE_MASK == 0
        if (ends and len(node) > 1) or len(node) >= _NODE_MOST:
            flush(level)

    def flush(level: int) -> None:
        packed = seal(b"".join(levels[level])).packed
        levels[level] = []
        cut[level] = True
        add(level + 1, packed)

    for ref in refs:
        add(0, ref.packed)
    level = 0
    while level < len(levels):
        node = levels[level]
        top = level == len(levels) - 1
        if top and not cut[level] and len(node) == 1:
            return Tree(Ref(node[0]), level)
        if node:
            flush(level)
        level += 1
    return None


def leaves(tree: Tree, fetch: Callable[[Ref], bytes], node: Callable[[Ref], None] | None = None) -> Iterator[Ref]:
    """The data refs below `tree`, in order.  `fetch` opens a node; `node` is told of each node.

    Raises Malformed when the tree is deeper than MAX_DEPTH or a node is no list of refs.
    """
    if not 0 <= tree.depth <= MAX_DEPTH:
        raise Malformed("tree of refs", f"depth {tree.depth} is out of bounds")
    if tree.depth == 0:
        yield tree.root
        return
    if node is not None:
        node(tree.root)
    for ref in split(fetch(tree.root)):
        yield from leaves(Tree(ref, tree.depth - 1), fetch, node)
