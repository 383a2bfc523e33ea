"""The public names of the room."""

from __future__ import annotations

from pinfold import ipld

NAMES = [
    *("CHUNK_SIZE", "CID", "THRESHOLD", "WIDTH", "Emit", "Entry", "File", "FileBuilder", "Get", "Kind", "Seen"),
    *("SeenMarks", "add_file", "build_folder", "build_sorted", "build_symlink", "car", "dagcbor", "dagpb"),
    *("file_size", "hamt", "kind", "links", "list_folder", "lookup", "read_file", "read_symlink", "resolve"),
    *("split", "unixfs", "walk"),
]


def test_public_names_are_these() -> None:
    """What the room offers is this list, and each name is there."""
    assert NAMES == ipld.__all__
    assert [] == [name for name in NAMES if not hasattr(ipld, name)]
