"""Load the nodes of a DAG: what every reader of files, folders and graphs asks for first.

Readers take `get`, a function from CID to bytes.  It must have checked the hash: stores do.  Blocks
that an identity CID carries inside itself never reach it.

Source: https://specs.ipfs.tech/unixfs/, "dag-pb Node".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed
from pinfold.ipld import dagpb, unixfs
from pinfold.ipld.cid import CID, DAG_PB, IDENTITY, RAW

if TYPE_CHECKING:
    from collections.abc import Iterable

Get = Callable[[CID], bytes]
Emit = Callable[[CID, bytes], None]

# Files and folders that Kubo writes stay below ten levels; each level costs one node in memory.
MAX_DEPTH: Final = 64


class Kind(StrEnum):
    """What a CID names in the eyes of a user."""

    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"


_KINDS: Final = {
    unixfs.Kind.RAW: Kind.FILE,
    unixfs.Kind.FILE: Kind.FILE,
    unixfs.Kind.DIRECTORY: Kind.FOLDER,
    unixfs.Kind.SHARD: Kind.FOLDER,
    unixfs.Kind.SYMLINK: Kind.SYMLINK,
}


def load(cid: CID, get: Get) -> bytes:
    """Return the block `cid`, from the CID itself when it is an identity.  Raises what `get` raises."""
    return cid.digest if cid.hash_code == IDENTITY else get(cid)


def load_unixfs(cid: CID, get: Get) -> tuple[dagpb.Node, unixfs.Data]:
    """Return the node `cid` and its UnixFS message.  Raises Malformed, and what `get` raises."""
    if cid.codec != DAG_PB:
        raise Malformed("UnixFS node", f"{cid} is neither dag-pb nor raw")
    node = dagpb.decode(load(cid, get))
    if node.data is None:
        raise Malformed("UnixFS node", f"{cid} has no data, so it is neither file nor folder")
    return node, unixfs.decode(node.data)


def kind(cid: CID, get: Get) -> Kind:
    """Return what `cid` names, reading its first block unless it is raw.

    Raises Malformed for what is no UnixFS, and what `get` raises.
    """
    if cid.codec == RAW:
        return Kind.FILE
    _, data = load_unixfs(cid, get)
    if data.kind not in _KINDS:
        raise Malformed("UnixFS node", f"{cid} is neither file, folder nor symlink")
    return _KINDS[data.kind]


def emit_node(links: Iterable[dagpb.Link], data: unixfs.Data, emit: Emit) -> dagpb.Link:
    """Write one dag-pb node, and return the nameless link a parent has to it.

    Its tsize is the size of the block and of everything below it.
    """
    links = tuple(links)
    block = dagpb.encode(dagpb.Node(links, unixfs.encode(data)))
    cid = CID.of(DAG_PB, block)
    emit(cid, block)
    return dagpb.Link(cid, b"", len(block) + sum(link.tsize for link in links))
