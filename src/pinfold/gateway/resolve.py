"""The way from a root through names to the content, block by block.

Of a sharded folder only the shards on the way are read.  Symlinks on the way are not followed, as in Kubo.

Source: https://specs.ipfs.tech/unixfs/ and https://specs.ipfs.tech/http-gateways/path-gateway/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pinfold.door import BadRequest
from pinfold.errors import Malformed
from pinfold.gateway import filetree
from pinfold.gateway.formats import DOCUMENTS
from pinfold.ipld import Kind, kind, lookup
from pinfold.ipld.cid import DAG_PB

if TYPE_CHECKING:
    from collections.abc import Callable

    from pinfold.gateway.blocks import Blocks
    from pinfold.ipld import Entry, Get
    from pinfold.ipld.cid import CID

# To find one name in a folder takes 90 ms for each megabyte of it: more than this is no honest path.
MOST_FOLDERS: Final = 6 << 20


@dataclass(frozen=True, slots=True)
class Way:
    """Where a path led.

    `roots`: the root and what each name led to, the content last; `texts`: the same, written; `passed`: the
    blocks read on the way, shards too, without the content's own.
    """

    roots: tuple[CID, ...]
    texts: tuple[str, ...]
    passed: tuple[CID, ...] = ()

    @property
    def end(self) -> CID:
        """The content."""
        return self.roots[-1]

    @property
    def text(self) -> str:
        """The content's CID, written: 5 µs are saved each time it is not written anew."""
        return self.texts[-1]


def walk(root: CID, names: tuple[str, ...], blocks: Blocks, refuse: Callable[[CID], None]) -> Way:
    """Follow `names` from `root`.  `refuse` raises for a CID that must not be served.

    Raises BadRequest 404 where there is no such name, 501 inside documents, 422 for folders too large, Malformed,
    and what the store raises.
    """
    roots: list[CID] = [root]
    passed: list[CID] = []
    get = metered(blocks)
    refuse(root)

    def note(cid: CID) -> bytes:
        if not passed or passed[-1] != cid:
            passed.append(cid)
        return get(cid)

    for name in names:
        entry = _entry(roots[-1], name.encode(), note, blocks)
        if entry is None:
            raise BadRequest(404, f"there is no {name[:200]!r} in {roots[-1]}")
        refuse(entry.cid)
        roots.append(entry.cid)
    return Way(tuple(roots), tuple(map(str, roots)), tuple(passed))


def metered(blocks: Blocks) -> Get:
    """Return what gets nodes of folders, and raises BadRequest 422 where they are too large together to be read."""
    room = MOST_FOLDERS

    def get(cid: CID) -> bytes:
        nonlocal room
        block = blocks.meet(cid)
        room -= max(len(block), filetree.weight(block))
        if room < 0:
            raise BadRequest(422, f"the folders on this path have more than {MOST_FOLDERS} bytes together")
        return block

    return get


def _entry(folder: CID, name: bytes, get: Get, blocks: Blocks) -> Entry | None:
    if folder.codec in DOCUMENTS:
        raise BadRequest(501, f"{folder} is a document: paths inside documents are not followed here")
    if folder.codec != DAG_PB:
        return None
    try:
        return lookup(folder, name, get)
    except Malformed:
        if kind(folder, blocks.meet) is Kind.FOLDER:
            raise
        return None  # a file or a symlink, which has no names below it
