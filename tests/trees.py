"""Trees with everything in them that a file system can hold, for the tests of backup and restore."""

from __future__ import annotations

import os
import random
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = os.geteuid() == 0
# Whatever a Linux file system takes as a name; short ones often, so that names meet in several folders.
NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"a.b", b"a!", b"-r", b"*", b"\xff\xfe", b"n\n", b"\xc3\xa9", b" ", b"x" * 255]),
    st.binary(min_size=1, max_size=8).filter(lambda name: name not in {b".", b".."} and not set(name) & {0, 0x2F}),
)
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o400, 0o000, 0o4755, 0o2755, 0o1777])
TIMES = st.sampled_from([0, 1, 10**18, 1_700_000_000_123_456_789, -1, -(10**18) + 7, 4 * 10**18])
ATTRIBUTES = st.dictionaries(st.sampled_from([b"user.a", b"user.b", b"user.\xff"]), st.binary(max_size=40), max_size=2)


@dataclass(frozen=True)
class Node:
    """One name to be made.  `what`: a file's bytes as (seed, size), a link's target, children, or a kind."""

    kind: str
    mode: int = 0o644
    mtime: int = 0
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    owner: tuple[int, int] = (0, 0)
    seed: int = 0
    size: int = 0
    target: bytes = b""
    children: tuple[tuple[bytes, Node], ...] = ()


def _common(kind: str, **more: st.SearchStrategy[object]) -> st.SearchStrategy[Node]:
    owners = st.sampled_from([(0, 0), (1000, 1000), (65534, 4_000_000_000)])
    attributes = ATTRIBUTES.map(lambda found: tuple(sorted(found.items())))
    return st.builds(
        Node, st.just(kind), MODES, TIMES, attributes if kind in {"file", "folder"} else st.just(()), owners, **more
    )


FILES = _common("file", seed=st.integers(0, 5), size=st.sampled_from([0, 1, 100, 4096, 70_000, 600_000, 1_500_000]))
HOLES = _common("holes", seed=st.integers(0, 5), size=st.sampled_from([8192, 1 << 20, 5_000_001]))
LINKS = _common("link", target=st.sampled_from([b"a", b"../..", b"/etc/passwd", b"\xff", b"x" * 4000]))
FIFOS = _common("fifo")
# A hard link to the file made last before it, in whatever folder that was.
TWINS = _common("twin")
LEAVES = st.one_of(FILES, FILES, HOLES, LINKS, FIFOS, TWINS, *([_common("device")] if ROOT else []))


def _folder(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    inside = st.dictionaries(NAMES, children, max_size=5).map(lambda found: tuple(found.items()))
    return _common("folder", children=inside)


TREES = _folder(st.recursive(LEAVES, _folder, max_leaves=12))


def plant(root: Path, node: Node) -> Path:
    """Make the tree."""
    root.mkdir()
    _fill(os.fsencode(root), node.children, [])
    _stamp(os.fsencode(root), node)
    return root


def _fill(folder: bytes, children: Iterable[tuple[bytes, Node]], made: list[bytes]) -> None:
    for name, node in children:
        path = folder + b"/" + name
        if node.kind == "folder":
            os.mkdir(path)  # noqa: PTH102  # a path of bytes
            _fill(path, node.children, made)
        elif node.kind == "link":
            os.symlink(node.target, path)  # noqa: PTH211
        elif node.kind == "fifo":
            os.mkfifo(path)
        elif node.kind == "device":
            os.mknod(path, stat.S_IFCHR, os.makedev(1, 3))
        elif node.kind == "twin" and made:
            os.link(made[-1], path)
            continue
        else:
            _write(Path(os.fsdecode(path)), node)
            made.append(path)
        _stamp(path, node)


def _write(path: Path, node: Node) -> None:
    data = random.Random(node.seed).randbytes(node.size)
    with path.open("wb") as file:
        if node.kind == "holes":
            file.seek(node.size // 2)
            file.write(data[:5000])
            file.truncate(node.size)
        else:
            file.write(data)


def _stamp(path: bytes, node: Node) -> None:
    if ROOT:
        os.lchown(path, *node.owner)
    for name, value in node.attributes:
        os.setxattr(path, name, value)
    if node.kind != "link":
        os.chmod(path, node.mode if ROOT else node.mode | 0o700)  # noqa: PTH101
    os.utime(path, ns=(node.mtime, node.mtime), follow_symlinks=False)
