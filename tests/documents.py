"""A header and a manifest with something in every field."""

from __future__ import annotations

from pinfold.ipld import CID
from pinfold.ipld.cid import RAW
from pinfold.seal.refs import Ref, Tree
from pinfold.snapshot import Header, Manifest

SOME = CID.of(RAW, b"some")
HEADER = Header(
    repository="1" * 16,
    source="0" * 16,
    agent="a" * 64,
    kind="full",
    base=None,
    previous=str(SOME),
    sequence=3,
    started="2026-11-21T01:02:03.000004Z",
    finished="2026-11-21T01:02:09.999999Z",
    generation=0,
    manifest=str(SOME),
    blocks_root=str(SOME),
    blocks_count=2,
    blocks_bytes=70,
    new_blocks=1,
    new_bytes=40,
    interval=None,
)
MANIFEST = Manifest(
    source="home",
    type="directory",
    host="alpha",
    versions={"pinfold": "1"},
    options={"path": b"/home", "deep": [{"x": None}]},
    streams=[{"name": "s", "size": 3}],
    index=Tree(Ref(b"r" * 64 + bytes(8)), 2),
    counts={"files": 3},
    errors=[["a/b", "unreadable"]],
    sparse=[b"d" * 32, b"e" * 32],
    secret="2" * 16,
    tags=["gold"],
)
