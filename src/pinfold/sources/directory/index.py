"""Index pages: the entries of a tree as DAG-CBOR, in columns, a page for each sealed chunk.

Columns, because entries of one folder resemble each other: they compress to some 25 bytes an entry
and are read at a million entries a second.  Every page stands alone: when one is lost, the entries
of the others can still be restored.  Source: docs/format.md, "Index pages".

    page   {bundles: bytes (72 for each ref), groups: [[gid, name]], parts: [part], users: [[uid, name]]}
    part   {folder: bytes or null, names, modes, uids, gids, sizes, mtimes, ctimes, inodes: [..],
            bundles: [number of the bundle in the page's table, or -1], offsets: [bytes],
            and for the few that have them, as [[row, value]]: chunks, extents, links, rdevs,
            targets, trees, xattrs}
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeVar, cast

from pinfold.errors import Malformed
from pinfold.ipld import dagcbor
from pinfold.seal import refs
from pinfold.seal.refs import REF_BYTES, Ref, Tree
from pinfold.sources.directory.entry import ROOT, Chunks, Entry, Page, Part, Slice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
MAX_INLINE: Final = 64
MAX_PAGE: Final = 2 << 20  # one byte can become sixty in memory
_FIELD: Final = "index page"
_INTS: Final = ("modes", "uids", "gids", "sizes", "mtimes", "ctimes", "inodes", "bundles", "offsets")
_RARE: Final = ("chunks", "extents", "links", "rdevs", "targets", "trees", "xattrs")
_PART_KEYS: Final = {"folder", "names", *_INTS, *_RARE}
_MAX_PATH: Final = 1 << 16
_NOBODY: Final = (1 << 32) - 1  # chown takes it for "leave the owner"


def encode(page: Page) -> bytes:
    """The page as bytes; the same page always as the same bytes."""
    table: dict[Ref, int] = {}
    parts = [_encode_part(part, table) for part in page.parts]
    return dagcbor.encode(
        {
            "bundles": b"".join(ref.packed for ref in table),
            "groups": [[number, name] for number, name in sorted(page.groups.items())],
            "parts": parts,
            "users": [[number, name] for number, name in sorted(page.users.items())],
        }
    )


def _encode_part(part: Part, table: dict[Ref, int]) -> dict[str, object]:
    rows = part.entries
    bundles: list[int] = []
    offsets: list[int] = []
    rare: dict[str, list[list[object]]] = {name: [] for name in _RARE}
    for row, entry in enumerate(rows):
        bundle = -1
        offset = 0
        content = entry.content
        if type(content) is Slice:
            bundle = table.setdefault(content.ref, len(table))
            offset = content.offset
        elif content is not None or entry.size == 0:
            _encode_rare(row, entry, rare)
        if entry.extents is not None or entry.xattrs or entry.link is not None:
            _encode_more(row, entry, rare)
        bundles.append(bundle)
        offsets.append(offset)
    return {
        "folder": part.folder,
        "names": [entry.name for entry in rows],
        "modes": [entry.mode for entry in rows],
        "uids": [entry.uid for entry in rows],
        "gids": [entry.gid for entry in rows],
        "sizes": [entry.size for entry in rows],
        "mtimes": [entry.mtime for entry in rows],
        "ctimes": [entry.ctime for entry in rows],
        "inodes": [entry.inode for entry in rows],
        "bundles": bundles,
        "offsets": offsets,
        **{name: listed for name, listed in rare.items() if listed},
    }


def _encode_rare(row: int, entry: Entry, rare: dict[str, list[list[object]]]) -> None:
    content = entry.content
    if isinstance(content, Chunks):
        rare["chunks"].append([row, b"".join(ref.packed for ref in content.refs)])
    elif isinstance(content, Tree):
        rare["trees"].append([row, [content.root.packed, content.depth]])
    if entry.target is not None:
        rare["targets"].append([row, entry.target])
    if entry.rdev:
        rare["rdevs"].append([row, entry.rdev])


def _encode_more(row: int, entry: Entry, rare: dict[str, list[list[object]]]) -> None:
    if entry.extents is not None:
        rare["extents"].append([row, [list(extent) for extent in entry.extents]])
    if entry.xattrs:
        rare["xattrs"].append([row, [list(pair) for pair in entry.xattrs]])
    if entry.link is not None:
        rare["links"].append([row, entry.link])


def decode(data: bytes) -> Page:
    """The page behind `data`.  Raises Malformed; paths and names are safe to use when it does not."""
    if len(data) > MAX_PAGE:
        raise Malformed(_FIELD, f"{len(data)} bytes are more than {MAX_PAGE}")
    document = _mapping(dagcbor.decode(data, _FIELD), {"bundles", "groups", "parts", "users"}, "page")
    packed = document.get("bundles")
    if not isinstance(packed, bytes):
        raise Malformed(_FIELD, "'bundles' is not bytes")
    table = refs.split(packed)
    parts = document.get("parts")
    if not isinstance(parts, list):
        raise Malformed(_FIELD, "'parts' is not a list")
    return Page(
        [_decode_part(part, table) for part in parts],
        _owners(document.get("users"), "users"),
        _owners(document.get("groups"), "groups"),
    )


def _decode_part(value: object, table: Sequence[Ref]) -> Part:
    document = _mapping(value, _PART_KEYS, "part")
    folder = document.get("folder")
    if folder is not None:
        _check_path(folder, "folder", empty=True)
    names = document.get("names")
    if not isinstance(names, list) or not names:
        raise Malformed(_FIELD, "'names' is not a list, or empty")
    columns = [_integers(document.get(key), len(names), key) for key in _INTS]
    _check_names(names, root=folder is None)
    try:
        entries = [
            Entry(name, mode, uid, gid, size, mtime, ctime, inode, None if bundle < 0 else Slice(table[bundle], offset))
            for name, mode, uid, gid, size, mtime, ctime, inode, bundle, offset in zip(names, *columns, strict=True)
        ]
    except IndexError as error:
        raise Malformed(_FIELD, "a file lies in a bundle the page does not list") from error
    owners = {*columns[1], *columns[2]}
    if _NOBODY in owners or min(owners) < 0:
        raise Malformed(_FIELD, "an owner is no number of a user or group")
    if min(columns[3]) < 0 or min(columns[0]) < 0 or min(columns[8]) < 0:
        raise Malformed(_FIELD, "a size, mode or offset is negative")
    for name, put in _READERS.items():
        for row, item in _rare(document.get(name), len(entries), name):
            put(entries[row], item)
    return Part(cast("bytes | None", folder), entries)


def _put_chunks(entry: Entry, value: object) -> None:
    if not isinstance(value, bytes) or not 0 < len(value) <= MAX_INLINE * REF_BYTES:
        raise Malformed(_FIELD, "a list of chunks is empty or too long")
    entry.content = Chunks(tuple(refs.split(value)))


def _put_tree(entry: Entry, value: object) -> None:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], bytes) and type(value[1]) is int):
        raise Malformed(_FIELD, "a tree is not [ref, depth]")
    if not 0 < value[1] <= refs.MAX_DEPTH:
        raise Malformed(_FIELD, f"a tree of depth {value[1]} is out of bounds")
    entry.content = Tree(Ref(value[0]), value[1])


def _put_target(entry: Entry, value: object) -> None:
    if not isinstance(value, bytes) or not 0 < len(value) < _MAX_PATH or b"\0" in value:
        raise Malformed(_FIELD, "a symlink's target is no path")
    entry.target = value


def _put_rdev(entry: Entry, value: object) -> None:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise Malformed(_FIELD, "a device number is out of bounds")
    entry.rdev = value


def _put_link(entry: Entry, value: object) -> None:
    entry.link = _check_path(value, "link", empty=False)


def _put_extents(entry: Entry, value: object) -> None:
    runs = _pairs(value, int, "extents")
    if any(offset < 0 or length <= 0 or offset + length > entry.size for offset, length in runs):
        raise Malformed(_FIELD, "an extent lies outside its file")
    if any(one[0] + one[1] > other[0] for one, other in pairwise(runs)):
        raise Malformed(_FIELD, "extents overlap")
    entry.extents = runs


def _put_xattrs(entry: Entry, value: object) -> None:
    pairs = _pairs(value, bytes, "xattrs")
    if any(not name or b"\0" in name for name, _ in pairs):
        raise Malformed(_FIELD, "an attribute has no usable name")
    entry.xattrs = pairs


_READERS: Final[dict[str, Callable[[Entry, object], None]]] = {
    "chunks": _put_chunks,
    "extents": _put_extents,
    "links": _put_link,
    "rdevs": _put_rdev,
    "targets": _put_target,
    "trees": _put_tree,
    "xattrs": _put_xattrs,
}


def _mapping(value: object, keys: set[str], what: str) -> dict[str, object]:
    if not isinstance(value, dict) or not value.keys() <= keys:
        raise Malformed(_FIELD, f"a {what} is not a map of what a {what} holds")
    return value


def _integers(value: object, count: int, key: str) -> list[int]:
    if not isinstance(value, list) or len(value) != count or not set(map(type, value)) <= {int}:
        raise Malformed(_FIELD, f"column {key!r} is not {count} integers")
    return value


def _check_names(names: list[object], *, root: bool) -> None:
    if set(map(type, names)) != {bytes}:
        raise Malformed(_FIELD, "a name is not bytes")
    known = cast("list[bytes]", names)
    if root and known == [ROOT]:
        return
    joined = b"/".join(known)
    if joined.count(b"/") != len(known) - 1 or b"\0" in joined or {b"", b".", b".."} & set(known):
        raise Malformed(_FIELD, "a name holds a slash or a zero byte, or is empty, '.' or '..'")
    if max(map(len, known)) > 4096 or any(one >= other for one, other in pairwise(known)):
        raise Malformed(_FIELD, "names are too long, out of order, or twice there")
    if root and len(known) != 1:
        raise Malformed(_FIELD, "there is more than one root")


def _check_path(value: object, what: str, *, empty: bool) -> bytes:
    if not isinstance(value, bytes) or len(value) > _MAX_PATH or b"\0" in value:
        raise Malformed(_FIELD, f"a {what} is no path")
    if (value or not empty) and {b"", b".", b".."} & set(value.split(b"/")):
        raise Malformed(_FIELD, f"a {what} holds an empty step, '.' or '..'")
    return value


def _owners(value: object, key: str) -> dict[int, str]:
    if not isinstance(value, list):
        raise Malformed(_FIELD, f"{key!r} is not a list")
    out: dict[int, str] = {}
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and isinstance(pair[1], str)):
            raise Malformed(_FIELD, f"{key!r} holds something other than [number, name]")
        out[pair[0]] = pair[1]
    return out


def _rare(value: object, rows: int, key: str) -> list[tuple[int, object]]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(_FIELD, f"{key!r} is not a list")
    out = []
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and 0 <= pair[0] < rows):
            raise Malformed(_FIELD, f"{key!r} holds something other than [row, value]")
        out.append((pair[0], pair[1]))
    return out


def _pairs(value: object, kind: type[T], key: str) -> tuple[tuple[T, T], ...]:
    if not isinstance(value, list):
        raise Malformed(_FIELD, f"{key!r} is not a list")
    out = []
    for pair in value:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(item) is kind for item in pair)):
            raise Malformed(_FIELD, f"{key!r} holds something other than pairs")
        out.append((pair[0], pair[1]))
    return tuple(out)
