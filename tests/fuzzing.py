"""Every decoder of pinfold, examples of what it takes, and how bytes are bent before it gets them."""

from __future__ import annotations

import io
import signal
import tempfile
import tracemalloc
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyrage
from hypothesis import strategies as st

from engine import below, noise, rig, write
from pinfold import snapshot
from pinfold.config import dotenv
from pinfold.errors import Corrupt, KeyFailure, Malformed, Missing, UsageError
from pinfold.ipld import (
    CID,
    add_file,
    build_folder,
    build_symlink,
    car,
    dagcbor,
    dagpb,
    file_size,
    hamt,
    kind,
    links,
    list_folder,
    lookup,
    nodes,
    read_file,
    read_symlink,
    resolve,
    unixfs,
    varint,
    walk,
)
from pinfold.seal import canonical, keyring, keys, refs, slots
from pinfold.seal.box import open_block
from pinfold.seal.refs import Ref, Tree
from pinfold.sources.directory import excludes, index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Get = Callable[[CID], bytes]

SECONDS: Final = 1.0
MEMORY: Final = 64 << 20
MOST: Final = 1000  # of what a generator yields
LOST: Final = (Malformed, Missing, Corrupt)
TRUST: Final = (*LOST, KeyFailure)


class TooLongError(BaseException):
    """Raised out of a decoder that does not end; nobody catches it by mistake."""


@contextmanager
def bounded() -> Iterator[None]:
    """A second of the processor and 64 MB of memory, no more."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    tracemalloc.start()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        signal.signal(signal.SIGPROF, before)
    assert peak < MEMORY


@dataclass(frozen=True)
class Decoder:
    """What reads bytes; some of what it reads well; the errors it is documented to raise."""

    read: Callable[[bytes], object]
    valid: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = (Malformed,)

    def attempt(self, data: bytes) -> None:
        """Read, within bounds; raise what is no documented error."""
        with bounded():
            try:
                self.read(data)
            except self.errors:
                return


def some(found: Iterator[object]) -> list[object]:
    """The first thousand."""
    return list(islice(found, MOST))


def graph(data: bytes) -> tuple[CID, Get]:
    """A root, and blocks as a CAR names them, whether they hash to their names or not: worse than any store."""
    blocks: dict[CID, bytes] = {}
    root = None
    try:
        roots, found = car.read_car(io.BytesIO(data), verify=False)
        root = roots[0] if roots else None
        blocks.update((cid, block) for cid, _, block in found)
    except Malformed:
        if root is None:
            raise

    def get(cid: CID) -> bytes:
        if cid not in blocks:
            raise Missing(cid)
        return blocks[cid]

    if root is None:
        raise Malformed("CAR header", "no root")
    return root, get


def graph_car(root: CID, blocks: dict[CID, bytes]) -> bytes:
    """A CAR of these blocks."""
    return car.header([root]) + b"".join(car.section(cid, block) for cid, block in blocks.items())


def _built() -> dict[str, bytes]:
    """CARs of one graph of each kind."""
    made: dict[str, bytes] = {}
    blocks: dict[CID, bytes] = {}

    def keep(root: CID) -> bytes:
        found = graph_car(root, blocks)
        blocks.clear()
        return found

    made["file"] = keep(add_file([noise(1, 5000)], blocks.__setitem__, chunk_size=300, width=4).cid)
    names = [(f"entry {number}".encode(), CID.raw(noise(number, 32)), number) for number in range(60)]
    made["folder"] = keep(build_folder(names, blocks.__setitem__)[0])
    made["shards"] = keep(build_folder(names, blocks.__setitem__, threshold=100, fanout=8)[0])
    made["link"] = keep(build_symlink(b"../where", blocks.__setitem__)[0])
    return made


def _car_v2(data: bytes) -> bytes:
    numbers = b"".join(number.to_bytes(8, "little") for number in (51, len(data), 0))
    return bytes.fromhex("0aa16776657273696f6e02") + bytes(16) + numbers + data


@cache
def decoders() -> dict[str, Decoder]:
    """All of them, by the name they have in the package."""
    with tempfile.TemporaryDirectory() as place:
        return _seal_decoders(Path(place)) | _ipld_decoders()


def _ipld_decoders() -> dict[str, Decoder]:
    made = _built()
    every = tuple(made.values())
    blocks = [block for data in every for _, _, block in car.read_car(io.BytesIO(data))[1]]
    cids = (
        bytes(CID.raw(bytes(32))),
        bytes(CID.of(0x70, b"x")),
        bytes.fromhex("1220") + bytes(32),
        b"\x01\x55\x00\x01a",
    )
    texts = tuple(str(CID.decode(one)).encode() for one in cids)
    pb = tuple(block for block in blocks if block[:1] in {b"\x12", b"\x0a"})
    messages = tuple(data for block in pb if (data := dagpb.decode(block).data) is not None)

    def on_graph(work: Callable[[CID, Get], object]) -> Callable[[bytes], object]:
        return lambda data: work(*graph(data))

    def shard(cid: CID, get: Get) -> object:
        node, data = nodes.load_unixfs(cid, get)
        return hamt.read_shard(node, data, hamt.read_layout(data))

    return {
        "ipld.varint.decode": Decoder(varint.decode, (b"\x00", b"\xff\x01", varint.encode(2**62))),
        "ipld.cid.CID.read": Decoder(CID.read, cids),
        "ipld.cid.CID.decode": Decoder(CID.decode, cids),
        "ipld.cid.CID.parse": Decoder(lambda data: CID.parse(data.decode("latin-1")), texts),
        "ipld.dagpb.decode": Decoder(dagpb.decode, pb),
        "ipld.unixfs.decode": Decoder(unixfs.decode, messages),
        "ipld.dagcbor.decode": Decoder(
            lambda data: dagcbor.decode(data, "x"), (dagcbor.encode({"a": [1, b"2", None, {"b": True}]}),)
        ),
        "ipld.car.decode_header": Decoder(car.decode_header, tuple(data[1:59] for data in every)),
        "ipld.car.read_header": Decoder(lambda data: car.read_header(io.BytesIO(data)), every),
        "ipld.car.read_car": Decoder(
            lambda data: some(car.read_car(io.BytesIO(data))[1]), (*every, *map(_car_v2, every)), (Malformed, Corrupt)
        ),
        "ipld.car.scan": Decoder(
            lambda data: some(car.scan(io.BytesIO(data), car.read_header(io.BytesIO(data))[1], verify=True)),
            every,
            (Malformed, Corrupt),
        ),
        "ipld.walk.links": Decoder(lambda data: links(CID.of(0x70, data), data), pb),
        "ipld.walk.walk": Decoder(on_graph(lambda root, get: some(walk(root, get))), every, LOST),
        "ipld.files.read_file": Decoder(on_graph(lambda root, get: some(read_file(root, get))), every, LOST),
        "ipld.files.file_size": Decoder(on_graph(file_size), every, LOST),
        "ipld.folders.list_folder": Decoder(on_graph(lambda root, get: some(list_folder(root, get))), every, LOST),
        "ipld.folders.lookup": Decoder(on_graph(lambda root, get: lookup(root, b"entry 7", get)), every, LOST),
        "ipld.folders.resolve": Decoder(on_graph(lambda root, get: resolve(root, b"./entry 7", get)), every, LOST),
        "ipld.folders.read_symlink": Decoder(on_graph(read_symlink), every, LOST),
        "ipld.hamt.read_layout": Decoder(lambda data: hamt.read_layout(unixfs.decode(data)), messages),
        "ipld.hamt.read_shard": Decoder(on_graph(shard), every, LOST),
        "ipld.nodes.load": Decoder(on_graph(nodes.load), every, LOST),
        "ipld.nodes.load_unixfs": Decoder(on_graph(nodes.load_unixfs), every, LOST),
        "ipld.nodes.kind": Decoder(on_graph(kind), every, LOST),
    }


def _seal_decoders(place: Path) -> dict[str, Decoder]:
    here = rig(place / "cache")
    made = here.backup(write(place / "tree", {"a": b"1", "b/c": noise(2, 3000), "b/large": noise(3, 700_000)})).snapshot
    assert made is not None
    get, key = here.store.get, here.key
    whole = {cid: get(cid) for cid in below(here.store, made.root)}
    public = graph_car(made.root, {cid: block for cid, block in whole.items() if len(block) < 50_000})
    manifest = made.open(key, get)
    assert manifest.index is not None
    opener = key.opener(0)
    page = opener.open(manifest.index.root, get(manifest.index.root.cid))
    files = {entry.name: entry.cid for entry in list_folder(made.root, get)}
    repository, ring, header, sealed = (
        snapshot.read_small(files[name], get, 1 << 20, "x")
        for name in (b"repository.json", b"keyring.json", b"snapshot.json", b"manifest.age")
    )
    stored = [Ref.of(cid.digest, opener.name(b"x" * n)[1], n, 0) for n, cid in enumerate(whole)]
    packed = b"".join(ref.packed for ref in stored)
    one, block = opener.seal(b"plaintext " * 100, opener.name(b"plaintext " * 100)[1])
    identity = pyrage.x25519.Identity.generate()
    slot = canonical.encode(here.keyring.slots[0].document())

    def tree(data: bytes) -> object:
        return some(refs.leaves(Tree(stored[0], min(data[0], 6) if data else 0), lambda _: data[1:]))

    return {
        "seal.canonical.decode": Decoder(lambda data: canonical.decode(data, "x"), (repository, ring, header)),
        "seal.canonical.unbase64": Decoder(lambda data: canonical.unbase64(data.decode("latin-1"), "x"), (b"AAAA",)),
        "seal.canonical.unhex": Decoder(lambda data: canonical.unhex(data.decode("latin-1"), 2, "x"), (b"00ff",)),
        "seal.keyring.Repository.decode": Decoder(keyring.Repository.decode, (repository,), (Malformed, KeyFailure)),
        "seal.keyring.Keyring.decode": Decoder(
            lambda data: keyring.Keyring.decode(repository, data), (ring,), (Malformed, KeyFailure)
        ),
        "seal.keys.AgentKey.decode": Decoder(lambda data: keys.AgentKey.decode(data, "x"), (here.agent.encode(),)),
        "seal.keys.Generation.open_age": Decoder(
            lambda data: key.open_age(data, 0, "x"), (sealed, pyrage.encrypt(b"x", [identity.to_public()])), (Corrupt,)
        ),
        "seal.keys.OwnerKey.from_secrets": Decoder(
            lambda data: keys.OwnerKey.from_secrets(keys.Secret(data), key.repository),
            (key.secrets().reveal(),),
            (KeyFailure,),
        ),
        "seal.slots.Slot.parse": Decoder(lambda data: slots.Slot.parse(canonical.decode(data, "x")), (slot,)),
        "seal.slots.parse_recipient": Decoder(
            lambda data: slots.parse_recipient(data.decode("latin-1")),
            (
                str(identity.to_public()).encode(),
                b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XX x",
            ),
            (UsageError,),
        ),
        "seal.slots.parse_identities": Decoder(
            lambda data: slots.parse_identities(data.decode("latin-1"), "x"), (str(identity).encode(),), (UsageError,)
        ),
        "seal.refs.split": Decoder(refs.split, (packed,)),
        "seal.refs.leaves": Decoder(tree, (b"\1" + packed, b"\2" + packed, b"\6" + packed[:144])),
        "seal.box.open_block": Decoder(lambda data: open_block(one, data, 0), (block,), (Malformed, Corrupt)),
        "snapshot.Header.decode": Decoder(snapshot.Header.decode, (header,)),
        "snapshot.Manifest.decode": Decoder(snapshot.Manifest.decode, (manifest.encode(),)),
        "snapshot.load": Decoder(lambda data: snapshot.load(*graph(data)), (public,), TRUST),
        "snapshot.load_keyring": Decoder(lambda data: snapshot.load_keyring(*graph(data)), (public,), TRUST),
        "snapshot.read_small": Decoder(
            lambda data: snapshot.read_small(*graph(data), 1 << 20, "x"), (_built()["file"],), LOST
        ),
        "sources.directory.index.decode": Decoder(index.decode, (page,)),
        "sources.directory.excludes.parse_files_from": Decoder(
            lambda data: excludes.parse_files_from(data, Path("/some/where")),
            (b"a\nb/c\n/some/where/d\n", b"a\0b/../c\0"),
            (UsageError,),
        ),
        "config.dotenv.parse": Decoder(
            lambda data: dotenv.parse(data.decode("utf-8", "surrogateescape"), ".env", []),
            (b'PINFOLD_A=1\nexport PINFOLD_B=\'x\' # y\nPINFOLD_C="a\\n\\"b"\r\n',),
        ),
    }


INSERTED: Final = st.one_of(
    st.binary(max_size=24),
    st.sampled_from(
        [b"\xff" * 9, b"\xff\xff\xff\xff\x7f", bytes(64), b"[" * 3000, b"\x81" * 3000, b"\x12\x0a", b"\xfb\xff"]
    ),
)


@st.composite
def bent(draw: st.DrawFn, valid: tuple[bytes, ...]) -> bytes:
    """A valid example with a few bytes changed, cut out, put in or repeated, or its tail from another one."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 5)):
            case 0 if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 40))]
            case 2:
                data[at:at] = draw(INSERTED)
            case 3:
                data[at:at] = data[at : at + draw(st.integers(1, 200))] * draw(st.integers(1, 20))
            case 4:
                del data[at:]
            case 5:
                other = draw(st.sampled_from(valid))
                data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)
