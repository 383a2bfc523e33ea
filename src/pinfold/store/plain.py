"""A snapshot's folder as plain files, as `ipfs get ROOT` writes it: read-only, and enough to restore.

    FOLDER/README.txt repository.json keyring.json snapshot.json snapshot.sig manifest.age
    FOLDER/blocks/CID      one file for each block, named by its CID

The small files are built into UnixFS again in memory; blocks are read when asked for, and checked.
Source: the root folder of docs/format.md.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed, Missing, Refused
from pinfold.ipld.cid import CID, IDENTITY, RAW, SHA2_256
from pinfold.ipld.files import CHUNK_SIZE, add_file
from pinfold.ipld.folders import build_folder
from pinfold.store.folder.layout import translated
from pinfold.store.layers import ReadOnly
from pinfold.store.memory import MemoryStore
from pinfold.store.seam import CopyStatus, Pin, PinState, PinStatus, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILES: Final = ("README.txt", "keyring.json", "manifest.age", "repository.json", "snapshot.json", "snapshot.sig")
BLOCKS: Final = "blocks"
PIN_NAME: Final = "plain"


class PlainFolder(ReadOnly):
    """The one snapshot that lies in a folder.  `root` is the CID it had on IPFS, if it is whole."""

    def __init__(self, path: str | os.PathLike[str], *, pin_name: str = PIN_NAME, blocks: CID | None = None) -> None:
        """Read the small files and the names in blocks/.  Raises Refused if there are none.

        `pin_name`: what the one pin is called; `blocks`: the root that blocks/ had on IPFS, so that a
        copy with lost or damaged blocks still opens.
        """
        super().__init__(MemoryStore(str(path)))
        self._path = Path(path)
        self._pin_name = pin_name
        self._blocks_root = blocks
        self._blocks: dict[bytes, tuple[str, int]] = {}
        with translated(self._path):
            self.root = self._build()

    def _build(self) -> CID:
        entries: list[tuple[bytes, CID, int]] = []
        for name in FILES:
            file = self._path / name
            if file.is_file():
                built = add_file(_chunks(file), self._keep)
                entries.append((name.encode("ascii"), built.cid, built.tsize))
        if not entries or not (self._path / BLOCKS).is_dir():
            raise Refused(f"{self._path} is no snapshot folder: it needs {BLOCKS}/ and {', '.join(FILES)}")
        built_root, tsize = build_folder(self._listed(), self._keep)
        entries.append((BLOCKS.encode("ascii"), self._blocks_root or built_root, tsize))
        return build_folder(entries, self._keep)[0]

    def _keep(self, cid: CID, block: bytes) -> None:
        self._store.put([(cid, block)])

    def _listed(self) -> Iterator[tuple[bytes, CID, int]]:
        with os.scandir(self._path / BLOCKS) as found:
            for entry in found:
                try:
                    cid = CID.parse(entry.name)
                except Malformed:
                    continue  # what file managers leave behind
                if cid.codec == RAW and cid.hash_code == SHA2_256 and entry.is_file(follow_symlinks=False):
                    size = entry.stat(follow_symlinks=False).st_size
                    self._blocks[cid.digest] = (entry.name, size)
                    yield entry.name.encode("ascii"), cid, size

    def get(self, cid: CID) -> bytes:
        """A block from its file, or a node built from the small files.  Raises Missing, Corrupt."""
        held = self._blocks.get(cid.digest)
        if held is None or cid.hash_code != SHA2_256:
            return self._store.get(cid)
        path = self._path / BLOCKS / held[0]
        with translated(path):
            try:
                block = path.read_bytes()
            except FileNotFoundError:
                raise Missing(cid, self.name) from None
        cid.verify(block, str(path))
        return block

    def has(self, cids: Iterable[CID]) -> set[CID]:
        """Those that lie here, by name."""
        wanted = set(cids)
        here = {cid for cid in wanted if cid.hash_code in {SHA2_256, IDENTITY} and cid.digest in self._blocks}
        return here | self._store.has(wanted - here)

    def pins(self, prefix: str = "") -> Iterator[Pin]:
        """The one root."""
        return iter([Pin(self.root, self._pin_name)] if self._pin_name.startswith(prefix) else [])

    def status(self, root: CID) -> PinStatus:
        """Pinned is what lies here."""
        state = PinState.PINNED if root == self.root else PinState.ABSENT
        return PinStatus(root, (CopyStatus(self.name, state),))

    def usage(self) -> Usage:
        """Bytes of blocks and nodes; it does not grow."""
        return Usage(self._store.usage().used + sum(size for _, size in self._blocks.values()))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_SIZE):
            yield chunk
