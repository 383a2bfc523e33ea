"""Content for the tests of gateways: one of each kind that the rules of the specification speak of."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pinfold.ipld import CID, add_file, build_folder, build_symlink, car, dagcbor
from pinfold.ipld.cid import DAG_CBOR, RAW

ASCII = b"hello from one block of plain ASCII\n"
HELLO = b"hello\n"
CHUNK = 256
MULTI = random.Random(7).randbytes(4 * CHUNK + 2)
INDEX = b"<!doctype html><title>a page</title>\n"
TORN_CHUNK = 1024
MANY = 1000
IDENTITY = "bafkqaf3imvwgy3zaneqgc3janfxgy2lomvscay3jmqfa"  # the text "hello I am an inlined cid"
NOWHERE = "bafkreiaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

Entry = tuple[bytes, CID, int]


@dataclass
class Content:
    """Blocks, and the CIDs of what they make up by a name; `parts` has the leaves of files in order."""

    blocks: dict[CID, bytes] = field(default_factory=dict)
    cids: dict[str, CID] = field(default_factory=dict)
    parts: dict[str, list[CID]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> CID:
        return self.cids[name]

    def emit(self, cid: CID, block: bytes) -> None:
        """Keep a block."""
        self.blocks[cid] = block

    def file(self, name: str, data: bytes, chunk: int = 1 << 20) -> Entry:
        """Make a file; its entry goes by the last part of `name`."""
        made = add_file([data], self.emit, chunk_size=chunk)
        self.cids[name] = made.cid
        self.parts[name] = [CID.of(RAW, data[at : at + chunk]) for at in range(0, len(data), chunk)]
        return name.rpartition("/")[2].encode(), made.cid, made.tsize

    def folder(self, name: str, entries: list[Entry], threshold: int = 262144) -> Entry:
        """Make a folder."""
        cid, tsize = build_folder(entries, self.emit, threshold=threshold)
        self.cids[name] = cid
        return name.rpartition("/")[2].encode(), cid, tsize

    def symlink(self, name: str, target: bytes) -> Entry:
        """Make a symlink."""
        cid, tsize = build_symlink(target, self.emit)
        self.cids[name] = cid
        return name.rpartition("/")[2].encode(), cid, tsize

    def document(self, name: str, value: object) -> Entry:
        """Make a document in DAG-CBOR."""
        block = dagcbor.encode(value)
        cid = CID.of(DAG_CBOR, block)
        self.emit(cid, block)
        self.cids[name] = cid
        return name.rpartition("/")[2].encode(), cid, len(block)

    def as_car(self, without: CID | None = None) -> bytes:
        """Return all blocks, save one, as a CAR."""
        sections = (car.section(cid, block) for cid, block in self.blocks.items() if cid != without)
        return b"".join([car.header([self["tree"]]), *sections])


def make() -> Content:
    """Make it: the same at each call."""
    made = Content()
    subdir = [made.file("tree/subdir/ascii.txt", ASCII), made.file("tree/subdir/multiblock.txt", MULTI, CHUNK)]
    accents = made.folder("tree/ą/ę", [made.file("tree/ą/ę/file-źł.txt", b"letters\n")])
    made.folder(
        "tree",
        [
            made.file("tree/hello.txt", HELLO),
            made.file("tree/empty", b""),
            made.folder("tree/subdir", subdir),
            made.symlink("tree/link", b"hello.txt"),
            made.folder("tree/page", [made.file("tree/page/index.html", INDEX)]),
            made.folder("tree/ą", [accents]),
            made.document("tree/document", {"hello": "world"}),
        ],
    )
    made.folder(
        "dups",
        [
            made.file("dups/ascii-copy.txt", ASCII),
            made.file("dups/ascii.txt", ASCII),
            made.file("dups/hello.txt", HELLO),
            made.file("dups/multiblock.txt", MULTI, CHUNK),
        ],
    )
    chance = random.Random(1)
    many = [made.file(f"hamt/{number}.txt", chance.randbytes(30), 10) for number in range(MANY)]
    made.folder("hamt", many, threshold=1000)
    made.file("torn", chance.randbytes(3 * TORN_CHUNK), TORN_CHUNK)
    return made
