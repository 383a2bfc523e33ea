"""A snapshot as it lies on IPFS: a UnixFS folder that any gateway shows and any node pins.

    ROOT/  README.txt  repository.json  keyring.json  snapshot.json  snapshot.sig  manifest.age  blocks/

`snapshot.json` is public and signed; its CID is the snapshot's *id*.  The keyring is not bound by it,
so a snapshot can be re-rooted under a newer keyring and keep its id.
Crash rule: nodes are emitted children first; only the caller's pin makes them a snapshot.
Source: docs/format.md, "Snapshots".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar, cast

from pinfold.clock import rfc3339
from pinfold.errors import KeyFailure, Malformed
from pinfold.ipld import CID, add_file, build_folder, dagcbor, list_folder, read_file
from pinfold.ipld.cid import RAW
from pinfold.seal import canonical
from pinfold.seal.keyring import FORMAT, Keyring
from pinfold.seal.keys import verify_signature
from pinfold.seal.refs import MAX_DEPTH, Ref, Tree

if TYPE_CHECKING:
    from pinfold.blockset import BlocksFolder
    from pinfold.ipld import Emit, Get
    from pinfold.seal.keys import AgentKey, OwnerKey

README: Final = b"""This folder is a pinfold snapshot: an encrypted backup of one source at one moment.

  repository.json, keyring.json   which repository it belongs to and who can open it
  snapshot.json, snapshot.sig     when it was made, by which agent, which blocks it needs; signed
  manifest.age                    what it holds, sealed with age (https://age-encryption.org)
  blocks/                         the sealed data; each file's name is its own CID

To restore it with an identity or passphrase of the repository:

  pinfold restore CID-OF-THIS-FOLDER TARGET -r REPOSITORY      from a repository
  pinfold restore PATH-TO-THIS-FOLDER TARGET                   from a copy, as `ipfs get` makes it

Anyone can check that it is whole, without any key: every block's hash is its name.
The format is described in docs/format.md of pinfold, and tools/recover.py there restores without pinfold.
"""
KINDS: Final = ("full", "incremental", "checkpoint")
T = TypeVar("T")
MAX_JSON: Final = 1 << 20
# A decoded manifest takes up to sixty times its size in memory, whoever made it.
MAX_MANIFEST: Final = 6 << 20
_FILES: Final = (b"README.txt", b"repository.json", b"keyring.json", b"snapshot.json", b"snapshot.sig", b"manifest.age")


@dataclass(frozen=True, slots=True)
class Header:
    """snapshot.json.  Ids and CIDs are text; times RFC 3339 UTC with microseconds; sizes bytes."""

    repository: str
    source: str
    agent: str
    kind: str
    base: str | None
    previous: str | None
    sequence: int
    started: str
    finished: str
    generation: int
    manifest: str
    blocks_root: str
    blocks_count: int
    blocks_bytes: int
    new_blocks: int
    new_bytes: int
    interval: int | None

    def encode(self) -> bytes:
        """The canonical bytes: what is signed, and whose CID is the id."""
        return canonical.encode(
            {
                "format": FORMAT,
                "repository": self.repository,
                "source": self.source,
                "agent": self.agent,
                "kind": self.kind,
                "base": self.base,
                "previous": self.previous,
                "sequence": self.sequence,
                "started": self.started,
                "finished": self.finished,
                "generation": self.generation,
                "manifest": self.manifest,
                "blocks": {"root": self.blocks_root, "count": self.blocks_count, "bytes": self.blocks_bytes},
                "stored": {"new_blocks": self.new_blocks, "new_bytes": self.new_bytes},
                "interval": self.interval,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """The header behind canonical bytes.  Raises Malformed."""
        field = "snapshot.json"
        document = canonical.decode(data, field)
        if document.get("format") != FORMAT:
            raise Malformed(field, f"format {document.get('format')!r} is not {FORMAT!r}: a newer pinfold may read it")
        texts = {key: canonical.take(document, key, str, field) for key in _TEXTS}
        blocks = cast("dict[str, object]", canonical.take(document, "blocks", dict, field))
        stored = cast("dict[str, object]", canonical.take(document, "stored", dict, field))
        if texts["kind"] not in KINDS:
            raise Malformed(field, f"kind {texts['kind'][:20]!r} is unknown")
        if not all(_is_time(texts[key]) for key in ("started", "finished")):
            raise Malformed(field, "a time is not written as pinfold writes times")
        for key, size in (("repository", 8), ("source", 8), ("agent", 32)):
            canonical.unhex(texts[key], size, f"{field}, {key}")
        interval = document.get("interval")
        header = cls(
            repository=texts["repository"],
            source=texts["source"],
            agent=texts["agent"],
            kind=texts["kind"],
            base=_id(document, "base", field),
            previous=_id(document, "previous", field),
            sequence=_number(document, "sequence", field),
            started=texts["started"],
            finished=texts["finished"],
            generation=_number(document, "generation", field),
            manifest=texts["manifest"],
            blocks_root=canonical.take(blocks, "root", str, field),
            blocks_count=_number(blocks, "count", field),
            blocks_bytes=_number(blocks, "bytes", field),
            new_blocks=_number(stored, "new_blocks", field),
            new_bytes=_number(stored, "new_bytes", field),
            interval=None if interval is None else _number(document, "interval", field),
        )
        if header.encode() != data:
            raise Malformed(field, "it says more than this pinfold knows")
        return header

    @property
    def pin_name(self) -> str:
        """The name its root is pinned under: the pin list of a store is the catalogue."""
        return f"pinfold/{self.repository}/{self.source}/{self.kind}/{self.finished}"


_TEXTS = ("repository", "source", "agent", "kind", "started", "finished", "manifest")


def _number(document: dict[str, object], key: str, field: str) -> int:
    value = canonical.take(document, key, int, field)
    if not 0 <= value < 1 << 63:
        raise Malformed(field, f"{key!r} is out of bounds")
    return value


def _id(document: dict[str, object], key: str, field: str) -> str | None:
    if document.get(key) is None:
        return None
    text = canonical.take(document, key, str, field)
    # Shown to people and compared as text, so it must be a CID in the one form pinfold writes.
    if str(CID.parse(text)) != text:
        raise Malformed(field, f"{key!r} is no CID as pinfold writes it")
    return text


def _is_time(text: str) -> bool:
    try:
        return rfc3339(datetime.fromisoformat(text)) == text
    except (ValueError, OverflowError):
        return False


@dataclass(frozen=True, slots=True)
class Manifest:
    """What only the owner reads.  `index`: the tree of index pages, for directories."""

    source: str
    type: str
    host: str
    versions: dict[str, str]
    options: dict[str, object]
    streams: list[dict[str, object]]
    index: Tree | None
    counts: dict[str, int]
    errors: list[list[str]]
    sparse: list[bytes]
    secret: str
    tags: list[str]

    def encode(self) -> bytes:
        """DAG-CBOR, to be sealed with age."""
        return dagcbor.encode(
            {
                "source": self.source,
                "type": self.type,
                "host": self.host,
                "versions": self.versions,
                "options": self.options,
                "streams": self.streams,
                "index": None if self.index is None else [self.index.root.packed, self.index.depth],
                "counts": self.counts,
                "errors": self.errors,
                "sparse": b"".join(self.sparse),
                "secret": self.secret,
                "tags": self.tags,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Raises Malformed."""
        field = "manifest"
        document = dagcbor.decode(data, field)
        if not isinstance(document, dict):
            raise Malformed(field, "it is not a map")
        tags = canonical.take(document, "tags", list, field)
        if not all(isinstance(tag, str) for tag in tags):
            raise Malformed(field, "a tag is not text")
        sparse = canonical.take(document, "sparse", bytes, field)
        if len(sparse) % 32:
            raise Malformed(field, "'sparse' is no list of digests")
        return cls(
            source=canonical.take(document, "source", str, field),
            type=canonical.take(document, "type", str, field),
            host=canonical.take(document, "host", str, field),
            versions=_each(document, "versions", str, field),
            options=canonical.take(document, "options", dict, field),
            streams=_streams(document, field),
            index=_tree(document.get("index"), field),
            counts=_each(document, "counts", int, field),
            errors=_errors(document, field),
            sparse=[sparse[at : at + 32] for at in range(0, len(sparse), 32)],
            secret=canonical.take(document, "secret", str, field),
            tags=tags,
        )


def _each(document: dict[str, object], key: str, kind: type[T], field: str) -> dict[str, T]:
    found = canonical.take(document, key, dict, field)
    return {name: canonical.take(found, name, kind, f"{field}, {key}") for name in found}


def _streams(document: dict[str, object], field: str) -> list[dict[str, object]]:
    found = canonical.take(document, "streams", list, field)
    if not all(isinstance(one, dict) for one in found):
        raise Malformed(field, "a stream is no map")
    return found


def _errors(document: dict[str, object], field: str) -> list[list[str]]:
    found = canonical.take(document, "errors", list, field)
    if not all(isinstance(one, list) and len(one) == 2 and all(isinstance(text, str) for text in one) for one in found):
        raise Malformed(field, "an error is not [path, reason]")
    return found


def _tree(value: object, field: str) -> Tree | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], bytes) and type(value[1]) is int):
        raise Malformed(field, "'index' is not [ref, depth]")
    if not 0 <= value[1] <= MAX_DEPTH:
        raise Malformed(field, f"an index of depth {value[1]} is out of bounds")
    return Tree(Ref(value[0]), value[1])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot whose signatures hold.  `id` and `root` are CIDs; `blocks` the folder of blocks."""

    root: CID
    id: CID
    header: Header
    keyring: Keyring
    manifest: CID
    blocks: CID

    def open(self, key: OwnerKey, get: Get) -> Manifest:
        """The manifest.  Raises Missing, Corrupt, Malformed."""
        sealed = read_small(self.manifest, get, MAX_MANIFEST, "manifest.age")
        return Manifest.decode(key.open_age(sealed, self.header.generation, f"manifest {self.manifest}"))


def seal_manifest(manifest: Manifest, agent: AgentKey, emit: Emit) -> tuple[CID, int]:
    """Write manifest.age; returns its CID and the bytes of its blocks."""
    written = add_file([agent.seal_age(manifest.encode())], emit)
    return written.cid, written.tsize


def build(
    header: Header, agent: AgentKey, keyring: Keyring, manifest: tuple[CID, int], blocks: BlocksFolder, emit: Emit
) -> Snapshot:
    """Sign the header and write the root folder."""
    document = header.encode()
    signature = agent.signer.sign(_signed(document))
    root = _write_root(keyring, document, signature, manifest, (blocks.root, blocks.tsize), emit)
    return Snapshot(root, CID.of(RAW, document), header, keyring, manifest[0], blocks.root)


def reroot(snapshot: Snapshot, keyring: Keyring, get: Get, emit: Emit) -> Snapshot:
    """The same snapshot under another keyring: a new root folder, all else as it was."""
    files = {entry.name: entry for entry in list_folder(snapshot.root, get)}
    document = read_small(files[b"snapshot.json"].cid, get, MAX_JSON, "snapshot.json")
    signature = read_small(files[b"snapshot.sig"].cid, get, MAX_JSON, "snapshot.sig")
    manifest, blocks = files[b"manifest.age"], files[b"blocks"]
    root = _write_root(
        keyring, document, signature, (manifest.cid, manifest.tsize or 0), (blocks.cid, blocks.tsize or 0), emit
    )
    return Snapshot(root, snapshot.id, snapshot.header, keyring, snapshot.manifest, snapshot.blocks)


def _write_root(
    keyring: Keyring, document: bytes, signature: bytes, manifest: tuple[CID, int], blocks: tuple[CID, int], emit: Emit
) -> CID:
    files = {
        b"README.txt": README,
        b"repository.json": keyring.repository.encode(),
        b"keyring.json": keyring.encode(),
        b"snapshot.json": document,
        b"snapshot.sig": signature,
    }
    entries = [(b"manifest.age", *manifest), (b"blocks", *blocks)]
    for name, data in files.items():
        written = add_file([data], emit)
        entries.append((name, written.cid, written.tsize))
    return build_folder(entries, emit)[0]


def load(root: CID, get: Get) -> Snapshot:
    """Read a snapshot's public part and check all that needs no key.

    Raises Missing, Corrupt, Malformed, or KeyFailure when keyring, signature, header, manifest and
    blocks do not belong together.
    """
    files = {}
    for count, entry in enumerate(list_folder(root, get)):
        if count > 64:
            raise Malformed("snapshot folder", f"{root} holds more than a snapshot does")
        files[entry.name] = entry.cid
    missing = [name.decode() for name in (*_FILES, b"blocks") if name not in files]
    if missing:
        raise Malformed("snapshot folder", f"{root} is no snapshot: it has no {missing[0]}")
    keyring = Keyring.decode(
        read_small(files[b"repository.json"], get, MAX_JSON, "repository.json"),
        read_small(files[b"keyring.json"], get, MAX_JSON, "keyring.json"),
    )
    document = read_small(files[b"snapshot.json"], get, MAX_JSON, "snapshot.json")
    signature = read_small(files[b"snapshot.sig"], get, MAX_JSON, "snapshot.sig")
    header = Header.decode(document)
    snapshot = Snapshot(root, CID.of(RAW, document), header, keyring, files[b"manifest.age"], files[b"blocks"])
    _check(snapshot, document, signature)
    return snapshot


def _check(snapshot: Snapshot, document: bytes, signature: bytes) -> None:
    header, keyring = snapshot.header, snapshot.keyring
    if header.repository != keyring.repository.id:
        raise KeyFailure(f"snapshot {snapshot.root} says repository {header.repository}, its keyring another: forged")
    check_agent(snapshot, keyring)
    verify_signature(bytes.fromhex(header.agent), signature, _signed(document), f"snapshot {snapshot.root}")
    if header.blocks_root != str(snapshot.blocks) or header.manifest != str(snapshot.manifest):
        raise KeyFailure(f"snapshot {snapshot.root} holds other blocks or another manifest than were signed: forged")


def check_agent(snapshot: Snapshot, keyring: Keyring) -> None:
    """Raise KeyFailure unless this keyring, the snapshot's own or a newer one, lets its agent sign."""
    agent = keyring.agent(bytes.fromhex(snapshot.header.agent))
    if agent is None:
        raise KeyFailure(f"snapshot {snapshot.root} is signed by an agent that no keyring lists: forged")
    if agent.until and snapshot.header.finished > agent.until:
        raise KeyFailure(f"snapshot {snapshot.root} is signed by agent {agent.name}, which was removed before that")


def read_small(cid: CID, get: Get, most: int, name: str) -> bytes:
    """A UnixFS file of at most `most` bytes.  Raises Malformed when longer."""
    parts, have = [], 0
    for piece in read_file(cid, get):
        have += len(piece)
        if have > most:
            raise Malformed(name, f"it is longer than {most} bytes")
        parts.append(piece)
    return b"".join(parts)


def write_keyring(keyring: Keyring, emit: Emit) -> CID:
    """Write the folder by which a keyring stands alone; returns its root."""
    entries = []
    for name, data in ((b"repository.json", keyring.repository.encode()), (b"keyring.json", keyring.encode())):
        written = add_file([data], emit)
        entries.append((name, written.cid, written.tsize))
    return build_folder(entries, emit)[0]


def load_keyring(root: CID, get: Get) -> Keyring:
    """The keyring of a snapshot folder or of a keyring folder.  Raises as `load`."""
    files = {entry.name: entry.cid for entry, _ in zip(list_folder(root, get), range(64), strict=False)}
    if b"keyring.json" not in files or b"repository.json" not in files:
        raise Malformed("keyring folder", f"{root} holds no keyring")
    return Keyring.decode(
        read_small(files[b"repository.json"], get, MAX_JSON, "repository.json"),
        read_small(files[b"keyring.json"], get, MAX_JSON, "keyring.json"),
    )


def _signed(document: bytes) -> bytes:
    return b"pinfold/1 snapshot\n" + document
