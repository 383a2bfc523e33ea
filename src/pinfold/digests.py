"""Which blocks a pinned snapshot lists in its public `blocks/` folder: what a far store need not be asked for.

Memory: 33 bytes for each block, so a million take 33 MB; beyond that nothing is loaded.  The folder is read
level by level with many calls at once: one by one, 257 nodes over 50 ms of delay would take 13 seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed, StoreError
from pinfold.ipld.cid import RAW
from pinfold.ipld.walk import links
from pinfold.store.crew import Crew
from pinfold.store.prove import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pinfold.ipld import CID

MOST: Final = 1 << 20
_NODES_AT_A_TIME: Final = 256
_SIZE: Final = 32


class Digests:
    """A set of sha2-256 digests that does not change."""

    def __init__(self, digests: Iterable[bytes] = ()) -> None:
        """`digests` of 32 bytes each, in any order."""
        buckets = [bytearray() for _ in range(256)]
        for digest in digests:
            buckets[digest[0]] += digest
        # Sorted bucket by bucket: a list of a million digests would take 73 MB for a moment.
        self._buckets = [_sorted(bucket) for bucket in buckets]

    def __contains__(self, digest: bytes) -> bool:
        bucket = self._buckets[digest[0]]

        def at(number: int) -> bytes:
            return bucket[number * _SIZE : (number + 1) * _SIZE]

        count = len(bucket) // _SIZE
        found = bisect_left(range(count), digest, key=at)
        return found < count and at(found) == digest

    def __len__(self) -> int:
        return sum(map(len, self._buckets)) // _SIZE


def _sorted(bucket: bytearray) -> bytes:
    return b"".join(sorted(bytes(bucket[at : at + _SIZE]) for at in range(0, len(bucket), _SIZE)))


def load(folder: CID, get: Callable[[CID], bytes], at_once: int = 1, most: int = MOST) -> Digests:
    """The raw blocks that `folder` lists, at most `most`; `at_once` calls of `get` are under way together.

    Raises Malformed for a folder of more, or of what is no dag-pb, and what `get` raises.
    """

    def listed() -> Iterable[bytes]:
        count = 0
        level = [folder]
        with closing(Crew(max(1, at_once), "pinfold-listing")) as crew:
            while level:
                below: list[CID] = []
                for some in batches(level, _NODES_AT_A_TIME):
                    coming = [crew.submit(get, cid) for cid in some]
                    for cid, node in zip(some, coming, strict=True):
                        children = links(cid, node.result())
                        count += len(children)
                        if count > 2 * most:  # shards of a trie are fewer than its entries
                            raise Malformed("blocks folder", f"{folder} lists more than {most} blocks")
                        for child in children:
                            if child.codec != RAW:
                                below.append(child)
                            elif len(child.digest) == _SIZE:
                                yield child.digest
                level = below

    return Digests(listed())


class Listed:
    """The blocks of a pinned snapshot, read when the first one is asked for; safe from any thread.

    A folder that is too long or cannot be read makes it empty: whoever asks then has to ask the store.
    """

    def __init__(self, folder: CID, count: int, get: Callable[[CID], bytes], at_once: int) -> None:
        """`count`: how many blocks its header tells; `get` and `at_once` as for `load`."""
        self._folder = folder
        self._count = count
        self._get = get
        self._at_once = at_once
        self._lock = Lock()
        self._found: Digests | None = None

    def __call__(self, digest: bytes) -> bool:
        """Whether the snapshot lists the block with this digest."""
        with self._lock:
            if self._found is None:
                self._found = self._load()
        return digest in self._found

    def _load(self) -> Digests:
        if self._count > MOST:
            return Digests()
        try:
            return load(self._folder, self._get, self._at_once)
        except (StoreError, Malformed):
            return Digests()
