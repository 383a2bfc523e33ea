"""Folders and symlinks: one block while it is small, a sharded trie (hamt.py) beyond.

A folder is sharded when its plain block would be longer than 262144 bytes ("block-bytes" of IPIP-499).
Entries are sorted bytewise by name in a plain folder.  Names are bytes.  The writer refuses those that no
file system takes; the reader hands over whatever stands there, `..` and slashes too, so whoever writes
to a disk must check them.

Source: https://specs.ipfs.tech/unixfs/ and IPIP-499.
"""

from __future__ import annotations

from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from pinfold.errors import Malformed, Missing, PinfoldError
from pinfold.ipld import dagpb, hamt, unixfs
from pinfold.ipld.cid import RAW
from pinfold.ipld.dagpb import Link
from pinfold.ipld.nodes import Emit, Get, emit_node, load_unixfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pinfold.ipld.cid import CID

THRESHOLD: Final = 262144
_EMPTY: Final = unixfs.Data(unixfs.Kind.DIRECTORY)
_EMPTY_SIZE: Final = 4  # the block without links
_BAD_NAMES: Final = frozenset({b"", b".", b".."})

Entry = Link
"""One entry of a folder: cid, name, and tsize, the bytes of all blocks below it (0: not known)."""


def build_folder(
    entries: Iterable[tuple[bytes, CID, int]],
    emit: Emit,
    *,
    threshold: int = THRESHOLD,
    fanout: int = hamt.FANOUT,
) -> tuple[CID, int]:
    """Write a folder of (name, cid, tsize) in any order; return its CID and tsize.

    Sorts in memory: for very many entries sort outside and use `build_sorted`.
    Raises ValueError for a name that is bad, comes twice, or collides with another.
    """
    ordered = sorted(((hamt.key(entry[0]), entry) for entry in entries), key=itemgetter(0))
    return build_sorted((entry for _, entry in ordered), emit, threshold=threshold, fanout=fanout)


def build_sorted(
    entries: Iterable[tuple[bytes, CID, int]],
    emit: Emit,
    *,
    threshold: int = THRESHOLD,
    fanout: int = hamt.FANOUT,
) -> tuple[CID, int]:
    """Write a folder of (name, cid, tsize) sorted by `hamt.key(name)`; return its CID and tsize.

    Holds `threshold` bytes of entries until it knows that the folder is plain, and no more than the
    open shards of one path afterwards.  Raises ValueError as `build_folder`, and for wrong order.
    """
    held: list[Link] = []
    size = _EMPTY_SIZE
    stream = iter(entries)
    for name, cid, tsize in stream:
        held.append(_checked(name, cid, tsize))
        size += len(dagpb.encode_link(held[-1]))
        if size > threshold:
            return _build_sharded(held, stream, emit, fanout)
    if size > threshold:
        return hamt.Builder(emit, fanout).finish()
    return _build_plain(held, emit)


def _checked(name: bytes, cid: CID, tsize: int) -> Link:
    if name in _BAD_NAMES or b"/" in name or b"\0" in name:
        raise ValueError(f"{name!r} is no name for an entry")
    return Link(cid, name, tsize)


def _build_plain(links: list[Link], emit: Emit) -> tuple[CID, int]:
    links.sort(key=itemgetter(1))
    for before, link in pairwise(links):
        if before.name == link.name:
            raise ValueError(f"entry {link.name!r} comes twice")
    root = emit_node(links, _EMPTY, emit)
    return root.cid, root.tsize


def _build_sharded(
    held: list[Link], rest: Iterator[tuple[bytes, CID, int]], emit: Emit, fanout: int
) -> tuple[CID, int]:
    builder, key = hamt.Builder(emit, fanout), hamt.key
    add = builder.add
    for cid, name, tsize in held:
        add(key(name), name, cid, tsize)
    held.clear()
    for name, cid, tsize in rest:
        _checked(name, cid, tsize)
        add(key(name), name, cid, tsize)
    return builder.finish()


def list_folder(cid: CID, get: Get, lost: Callable[[CID, PinfoldError], None] | None = None) -> Iterator[Entry]:
    """Yield the entries of a folder: as written when plain, in the order of the trie when sharded.

    Raises Malformed when `cid` names no folder or the folder contradicts itself (a name twice, an
    entry in a shard where its hash does not belong), and what `get` raises.  Where `lost` is given it
    is told instead of shards below the root that cannot be loaded, and the others still come.
    """
    node, data = _load_folder(cid, get)
    if data.kind == unixfs.Kind.SHARD:
        yield from _list_shards(node, data, get, lost)
        return
    if len({link.name for link in node.links}) != len(node.links):
        raise Malformed("UnixFS folder", f"{cid} has a name twice")
    yield from node.links


def _list_shards(
    node: dagpb.Node, data: unixfs.Data, get: Get, lost: Callable[[CID, PinfoldError], None] | None
) -> Iterator[Entry]:
    cut = hamt.read_layout(data)
    if not node.links:
        return
    # (entry or shard, its depth, the buckets on the way to it as one number); entries are popped in order
    pending = _children(node, data, cut, 0, 0)
    while pending:
        link, depth, path = pending.pop()
        if link.name:
            if hamt.key(link.name) >> (64 - cut.bits * depth) != path:
                raise Malformed("HAMT shard", f"entry {link.name[:80]!r} lies where its hash does not belong")
            yield link
            continue
        # Every shard holds an entry and every entry is checked to belong here, so shards that refer
        # to one another many times over fail at the first wrong entry: no work without a yield.
        if depth >= cut.levels:
            raise Malformed("HAMT shard", f"is deeper than {cut.levels} levels")
        try:
            pending += _children(*load_unixfs(link.cid, get), cut, depth, path)
        except PinfoldError as error:
            if lost is None:
                raise
            lost(link.cid, error)


def _children(
    node: dagpb.Node, data: unixfs.Data, cut: hamt.Layout, depth: int, path: int
) -> list[tuple[Link, int, int]]:
    found = hamt.read_shard(node, data, cut)
    children = [(link, depth + 1, path << cut.bits | bucket) for bucket, link in found.items()]
    children.reverse()
    return children


def lookup(cid: CID, name: bytes, get: Get) -> Entry | None:
    """Return the entry `name` of the folder `cid`, or None; of equal names in a plain folder the first.

    Fetches only the shards on the way.  Raises Malformed when `cid` names no folder, and what `get` raises.
    """
    return _lookup(*_load_folder(cid, get), name, get)


def _lookup(node: dagpb.Node, data: unixfs.Data, name: bytes, get: Get) -> Entry | None:
    if data.kind != unixfs.Kind.SHARD:
        return next((link for link in node.links if link.name == name), None)
    cut, place = hamt.read_layout(data), hamt.key(name)
    if not node.links or not name:
        return None
    for depth in range(cut.levels):
        link = hamt.read_shard(node, data, cut).get(cut.bucket(place, depth))
        if link is None or link.name:
            return link if link is not None and link.name == name else None
        node, data = load_unixfs(link.cid, get)
    raise Malformed("HAMT shard", f"is deeper than {cut.levels} levels")


def resolve(cid: CID, path: bytes, get: Get) -> CID:
    """Return what lies at `path` (names joined by slashes) below the folder `cid`; symlinks are not followed.

    Empty names and `.` are skipped; `..` is a name like others, so nothing above `cid` can be reached.
    Raises Missing when there is no such path, Malformed, and what `get` raises.
    """
    for name in path.split(b"/"):
        if name in {b"", b"."}:
            continue
        entry = None
        if cid.codec != RAW:
            node, data = load_unixfs(cid, get)
            if data.kind in {unixfs.Kind.DIRECTORY, unixfs.Kind.SHARD}:
                entry = _lookup(node, data, name, get)
        if entry is None:
            raise Missing(path.decode("utf-8", "backslashreplace"))
        cid = entry.cid
    return cid


def build_symlink(target: bytes, emit: Emit) -> tuple[CID, int]:
    """Write a symlink to `target`; return its CID and tsize."""
    link = emit_node((), unixfs.Data(unixfs.Kind.SYMLINK, data=target), emit)
    return link.cid, link.tsize


def read_symlink(cid: CID, get: Get) -> bytes:
    """Return where the symlink `cid` points: any bytes, to be distrusted.  Raises Malformed."""
    node, data = load_unixfs(cid, get)
    if data.kind != unixfs.Kind.SYMLINK or node.links or data.data is None:
        raise Malformed("UnixFS symlink", f"{cid} is no symlink, or has links")
    return data.data


def _load_folder(cid: CID, get: Get) -> tuple[dagpb.Node, unixfs.Data]:
    if cid.codec == RAW:
        raise Malformed("UnixFS folder", f"{cid} is a file")
    node, data = load_unixfs(cid, get)
    if data.kind not in {unixfs.Kind.DIRECTORY, unixfs.Kind.SHARD}:
        raise Malformed("UnixFS folder", f"{cid} is a {data.kind.name.lower()}")
    return node, data
