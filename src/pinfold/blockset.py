"""The set of blocks a snapshot needs, however many: sorted runs on disk, merged into one folder.

Crash rule: the temporary file has no name; it is gone with the process.
Memory: at most 100,000 records of some 100 bytes, then one buffer for each run.
"""

from __future__ import annotations

import heapq
import tempfile
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from pinfold.ipld import CID, build_sorted, hamt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pinfold.ipld import Emit

_MOST_IN_MEMORY: Final = 100_000
_RECORD: Final = 8 + 32 + 4
_READ_AHEAD: Final = _RECORD * 1024


class BlocksFolder(NamedTuple):
    """The folder `blocks/`: its root, how many `blocks` it names, `total` bytes."""

    root: CID
    tsize: int
    blocks: int
    total: int


class BlockSet:
    """Digests and sizes of blocks; each counted once."""

    def __init__(self) -> None:
        self._fresh: set[tuple[bytes, int]] = set()
        self._file: IO[bytes] | None = None
        self._runs: list[tuple[int, int]] = []

    def add(self, digest: bytes, size: int) -> None:
        """The snapshot needs the raw block with this sha2-256 `digest`, of `size` bytes."""
        self._fresh.add((digest, size))
        if len(self._fresh) >= _MOST_IN_MEMORY:
            self._spill()

    def build(self, emit: Emit) -> BlocksFolder:
        """Write the folder's nodes.  The set stays as it is and may grow further."""
        count = total = 0

        def entries() -> Iterator[tuple[bytes, CID, int]]:
            nonlocal count, total
            for digest, size in self._sorted():
                cid = CID.raw(digest)
                count += 1
                total += size
                yield str(cid).encode(), cid, size

        root, tsize = build_sorted(entries(), emit)
        return BlocksFolder(root, tsize, count, total)

    def close(self) -> None:
        """Let go of the temporary file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _sorted(self) -> Iterator[tuple[bytes, int]]:
        runs = [self._read(start, end) for start, end in self._runs]
        last = b""
        for record in heapq.merge(*runs, self._records()):
            # A damaged cache may tell two sizes of one block: the name counts, and each once.
            if record[:40] != last:
                last = record[:40]
                yield record[8:40], int.from_bytes(record[40:], "big")

    def _records(self) -> list[bytes]:
        # Ordered as the HAMT wants them: by the hash of the name, which is the CID as text.
        return sorted(
            hamt.key(str(CID.raw(digest)).encode()).to_bytes(8, "big") + digest + size.to_bytes(4, "big")
            for digest, size in self._fresh
        )

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="pinfold-blocks-")  # noqa: SIM115  # closed by close()
        start = self._file.seek(0, 2)
        self._file.writelines(self._records())
        self._runs.append((start, self._file.tell()))
        self._fresh.clear()

    def _read(self, start: int, end: int) -> Iterator[bytes]:
        assert self._file is not None  # noqa: S101  # a run is in the file
        while start < end:
            self._file.seek(start)
            data = self._file.read(min(_READ_AHEAD, end - start))
            start += len(data)
            for at in range(0, len(data), _RECORD):
                yield data[at : at + _RECORD]
