"""IPLD as pinfold writes it, byte-equal to Kubo under the profile unixfs-v1-2025.  Pure: no I/O.

Formats with an `encode` and a `decode` of their own are reached by module: `car`, `dagcbor`, `dagpb`,
`hamt`, `unixfs`.
"""

from pinfold.ipld import car, dagcbor, dagpb, hamt, unixfs
from pinfold.ipld.cid import CID
from pinfold.ipld.files import CHUNK_SIZE, WIDTH, File, FileBuilder, add_file, file_size, read_file, split
from pinfold.ipld.folders import (
    THRESHOLD,
    Entry,
    build_folder,
    build_sorted,
    build_symlink,
    list_folder,
    lookup,
    read_symlink,
    resolve,
)
from pinfold.ipld.nodes import Emit, Get, Kind, kind
from pinfold.ipld.walk import Seen, SeenMarks, links, walk

__all__ = [
    "CHUNK_SIZE",
    "CID",
    "THRESHOLD",
    "WIDTH",
    "Emit",
    "Entry",
    "File",
    "FileBuilder",
    "Get",
    "Kind",
    "Seen",
    "SeenMarks",
    "add_file",
    "build_folder",
    "build_sorted",
    "build_symlink",
    "car",
    "dagcbor",
    "dagpb",
    "file_size",
    "hamt",
    "kind",
    "links",
    "list_folder",
    "lookup",
    "read_file",
    "read_symlink",
    "resolve",
    "split",
    "unixfs",
    "walk",
]
