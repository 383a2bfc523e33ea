"""Restore a pinfold snapshot from CAR files without pinfold: the escape hatch, in one file.

    recover.py CAR...                                               list the snapshots in them
    recover.py CAR... --root CID --target DIR --identity FILE       restore one
    recover.py CAR... --root CID --target DIR --passphrase-file FILE

CAR...: cars/*.car of a folder store, what `pinfold export` wrote, or what `ipfs dag export ROOT` printed.
Needs Python 3.11, cryptography, pyrage, libipld, and backports.zstd before Python 3.14.
Exit codes: 0 restored, 1 cannot, 4 restored but for what was named, 5 wrong key or forged.
The way (docs/format.md): CAR sections, root folder, signatures, slot, manifest, index pages, files.  Memory: the list
of folders, one page, some bundles.  Nothing outside DIR is touched: every folder that any name needs comes before
any name that could lead elsewhere.  Owners come back by number, and only for root.
"""
# ruff: noqa: PTH100, PTH101, PTH103, PTH108, PTH120, PTH123, PTH208, PTH211  # names are bytes here, and need not be text

import argparse
import base64
import contextlib
import functools
import hashlib
import json
import os
import sqlite3
import stat
import struct
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, BinaryIO

import libipld
import pyrage
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from backports import zstd

DAG_PB, RAW = b"\x01\x70\x12\x20", b"\x01\x55\x12\x20"  # CID version 1, codec, sha2-256, 32 bytes; then the digest
FILES = (b"repository.json", b"keyring.json", b"snapshot.json", b"snapshot.sig", b"manifest.age")
COLUMNS = ("modes", "uids", "gids", "sizes", "mtimes", "bundles", "offsets")
RARE = ("chunks", "extents", "links", "rdevs", "targets", "trees", "xattrs")


class Lost(Exception):
    """A block is missing or damaged, or what it holds makes no sense."""


DAMAGE = (Lost, InvalidTag, ValueError, LookupError, TypeError, AttributeError, zstd.ZstdError, struct.error)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and the offset behind it."""
    for end in range(at, min(at + 9, len(data))):
        if data[end] < 128:
            return sum((byte & 127) << 7 * place for place, byte in enumerate(data[at : end + 1])), end + 1
    raise Lost("a number is cut short")


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message made of numbers and bytes."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        value, at = varint(message, at)
        yield key >> 3, message[at : at + value] if key & 7 == 2 else value
        at += value if key & 7 == 2 else 0


def links(block: bytes) -> list[tuple[bytes, bytes]]:
    """Name and CID of each link of a dag-pb node."""
    found = [dict(fields(value)) for number, value in fields(block) if number == 2]
    return [(link.get(2, b""), link[1]) for link in found]


def text(cid: bytes) -> str:
    """A CID as people write it."""
    return "b" + base64.b32encode(cid).decode().lower().rstrip("=")


def split(packed: bytes) -> list[bytes]:
    """The refs, 72 bytes each, in a run of them."""
    return [packed[at : at + 72] for at in range(0, len(packed), 72)]


class Cars:
    """Where each block lies in the CAR files: in a temporary database, so that memory does not grow."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.db = names, sqlite3.connect("")
        self.db.execute("CREATE TABLE blocks (cid BLOB, car INT, at INT, size INT, PRIMARY KEY (cid, car, at))")
        for car, name in enumerate(names):
            with open(name, "rb") as file:
                found = ((cid, car, at, size) for cid, at, size in self.sections(file, name))
                self.db.executemany("INSERT INTO blocks VALUES (?, ?, ?, ?)", found)

    def sections(self, file: BinaryIO, name: str) -> Iterator[tuple[bytes, int, int]]:
        """CID, offset and size of each block of a CAR."""
        at, end = 0, os.fstat(file.fileno()).st_size
        while at < end:
            file.seek(at)
            head = file.read(64)
            size, skip = varint(head, 0) if head[0] else (0, 0)
            whole = 36 <= size <= 8 << 20 and at + skip + size <= end
            if not whole or (at == 0 and b"version\x01" not in head + file.read(size)):
                print(f"{name}: damaged, or no CAR of version 1; not read from byte {at} on", file=sys.stderr)
                return
            if at and head[skip : skip + 4] in {DAG_PB, RAW}:
                yield head[skip : skip + 36], at + skip + 36, size - 36
            at += skip + size

    def get(self, cid: bytes) -> bytes:
        """The block, from any copy that matches its hash."""
        for car, at, size in self.db.execute("SELECT car, at, size FROM blocks WHERE cid = ?", (cid,)):
            with open(self.names[car], "rb") as file:
                file.seek(at)
                block = file.read(size)
            if hashlib.sha256(block).digest() == cid[4:]:
                return block
        raise Lost(f"block {text(cid)} is missing or damaged")

    def file(self, cid: bytes) -> bytes:
        """A small UnixFS file."""
        block = self.get(cid)
        return block if cid[:4] == RAW else b"".join(self.file(child) for _, child in links(block))

    def roots(self) -> Iterator[str]:
        """A line for each snapshot; the one with the highest keyring number was rooted last."""
        for (cid,) in self.db.execute("SELECT DISTINCT cid FROM blocks WHERE substr(cid, 1, 4) = ?", (DAG_PB,)):
            try:
                names = dict(links(self.get(cid)))
                if set(names) >= set(FILES):
                    made, ring = (json.loads(self.file(names[name])) for name in (b"snapshot.json", b"keyring.json"))
                    head = f"{made['finished']}  {text(cid)}  {made['kind']}, source {made['source']}"
                    yield f"{head}, repository {made['repository']}, keyring {ring['sequence']}"
            except DAMAGE:
                continue  # another kind of node, or a snapshot that could not be opened anyway


def unlock(ring: dict[str, Any], identities: list[Any], passphrase: bytes | None) -> dict[str, Any]:
    """The repository's secrets, from the first slot that opens."""
    for slot in ring["slots"]:
        sealed, kdf = base64.b64decode(slot["sealed"]), slot.get("kdf")
        try:
            if slot["kind"] == "age" and identities:
                return dict(libipld.decode_dag_cbor(pyrage.decrypt(sealed, identities)))
            if slot["kind"] == "passphrase" and passphrase is not None:
                salt, rounds = base64.b64decode(kdf["salt"]), kdf["iterations"]
                if kdf["name"] == "pbkdf2-sha256":
                    key = hashlib.pbkdf2_hmac("sha256", passphrase, salt, rounds, 32)
                else:
                    costs = {"iterations": rounds, "lanes": kdf["lanes"], "memory_cost": kdf["memory_kib"]}
                    key = Argon2id(salt=salt, length=32, **costs).derive(passphrase)
                bound = b"pinfold/1 slot " + ring["repository"].encode()
                return dict(libipld.decode_dag_cbor(AESGCM(key).decrypt(sealed[:12], sealed[12:], bound)))
        except (pyrage.DecryptError, InvalidTag):
            continue
    raise PermissionError("what was given opens no slot of the keyring")


class Snapshot:
    """An opened snapshot.  `damage`: what was named as lost."""

    def __init__(self, cars: Cars, root: bytes, identities: list[Any], passphrase: bytes | None) -> None:
        self.cars, self.damage = cars, set[str]()
        names = dict(links(cars.get(root)))
        files = {name: cars.file(names[name]) for name in FILES}
        repository, ring, made = (json.loads(files[name]) for name in FILES[:3])
        # Signatures: owner over keyring, an agent of the keyring over header, header over manifest and blocks.
        signed = {key: value for key, value in ring.items() if key != "signature"}
        body = json.dumps(signed, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        message = b"pinfold/1 keyring\n" + files[b"repository.json"] + b"\n" + body
        owner = Ed25519PublicKey.from_public_bytes(bytes.fromhex(repository["owner"]))
        owner.verify(bytes.fromhex(ring["signature"]), message)
        agent = Ed25519PublicKey.from_public_bytes(bytes.fromhex(made["agent"]))
        agent.verify(files[b"snapshot.sig"], b"pinfold/1 snapshot\n" + files[b"snapshot.json"])
        until = next((one["until"] or "~" for one in ring["agents"] if one["key"] == made["agent"]), "")
        held = (text(names[b"manifest.age"]), text(names[b"blocks"]))
        if made["finished"] > until or held != (made["manifest"], made["blocks"]["root"]):
            raise InvalidSignature
        secrets = unlock(ring, identities, passphrase)
        if Ed25519PrivateKey.from_private_bytes(secrets["owner"]).public_key() != owner:
            raise InvalidSignature
        pair = pyrage.x25519.Identity.from_str(secrets["generations"][made["generation"]]["identity"].decode())
        self.manifest = dict(libipld.decode_dag_cbor(pyrage.decrypt(files[b"manifest.age"], [pair])))
        self.bound = b"pinfold/1" + made["generation"].to_bytes(4, "little")
        self.bundle = functools.lru_cache(maxsize=8)(self.chunk)

    def tell(self, what: bytes, error: object) -> None:
        """Name what is lost, once, and go on."""
        message = f"{what.decode(errors='backslashreplace')}: {error or 'does not open'}"
        if message not in self.damage:
            self.damage.add(message)
            print(message, file=sys.stderr)

    def chunk(self, ref: bytes) -> bytes:
        """The plaintext of the chunk that a ref names and opens."""
        digest, key, length, _ = struct.unpack("<32s32sII", ref)
        block = self.cars.get(RAW + digest)
        payload = AESGCM(key).decrypt(block[:12], block[12:], self.bound)
        data = payload[5 : 5 + int.from_bytes(payload[1:5], "little")]
        plain = bytes(zstd.ZstdDecompressor().decompress(data, max_length=length + 1)) if payload[0] else data
        if len(plain) != length or length > 4 << 20:
            raise Lost(f"block {text(RAW + digest)} does not hold the {length} bytes it should")
        return plain

    def leaves(self, ref: bytes, depth: int, *, patient: bool = False) -> Iterator[bytes]:
        """The refs of the data below a tree of refs; `patient`: what is damaged is told and passed over."""
        try:
            children = split(self.chunk(ref)) if 0 < depth < 7 else []
        except DAMAGE as error:
            if not patient:
                raise
            return self.tell(b"a part of the index", error)
        for child in children:
            yield from self.leaves(child, depth - 1, patient=patient)
        if depth == 0:
            yield ref

    def entries(self) -> Iterator[SimpleNamespace]:
        """Everything in the snapshot, a folder before what is in it."""
        for ref in self.leaves(*self.manifest["index"], patient=True):
            try:
                page = dict(libipld.decode_dag_cbor(self.chunk(ref)))
            except DAMAGE as error:
                self.tell(b"a part of the index", error)
                continue
            table = split(page["bundles"])
            for part in page["parts"]:
                rare = {key: dict(part.get(key, ())) for key in RARE}
                above = part["folder"] + b"/" if part["folder"] else b""
                for row, name in enumerate(part["names"]):
                    one = SimpleNamespace(**{key: part[key][row] for key in COLUMNS})
                    one.path = b"" if part["folder"] is None and name == b"." else above + name
                    one.rare = {key: values[row] for key, values in rare.items() if row in values}
                    one.bundle = table[one.bundles] if one.bundles >= 0 else None
                    yield one

    def content(self, one: SimpleNamespace) -> Iterator[bytes]:
        """A file's bytes in pieces; of a sparse file the runs of data, end to end."""
        if one.bundle:
            yield self.bundle(one.bundle)[one.offsets : one.offsets + one.sizes]
        yield from map(self.chunk, split(one.rare.get("chunks", b"")))
        if "trees" in one.rare:
            yield from map(self.chunk, self.leaves(*one.rare["trees"]))


def pour(file: BinaryIO, one: SimpleNamespace, pieces: Iterator[bytes]) -> None:
    """Write a file's content into its runs of data; holes stay holes."""
    runs, left = iter(one.rare.get("extents", [(0, one.sizes)])), 0
    for piece in map(memoryview, filter(None, pieces)):
        while len(piece):
            if not left:
                offset, left = next(runs, (0, 0))
                file.seek(offset)
            if not left:
                raise Lost("it is longer than the index says")
            done = file.write(piece[:left])
            piece, left = piece[done:], left - done  # noqa: PLW2901
    if left or any(length for _, length in runs):
        raise Lost("it is shorter than the index says")
    file.truncate(one.sizes)


def make(snapshot: Snapshot, target: bytes, full: bytes, one: SimpleNamespace) -> None:
    """Whatever is no folder, new and whole, or not at all."""
    kind, first = stat.S_IFMT(one.modes), one.rare.get("links")
    if first is not None and os.path.exists(inside(target, first)):
        return os.link(inside(target, first), full, follow_symlinks=False)
    if kind == stat.S_IFREG:
        with open(full, "xb") as file:
            try:
                pour(file, one, snapshot.content(one))
            except BaseException:
                os.unlink(full)
                raise
    elif kind == stat.S_IFLNK:
        os.symlink(one.rare["targets"], full)
    else:
        os.mknod(full, kind | 0o600, one.rare.get("rdevs", 0))
    return stamp(full, one)


def stamp(full: bytes, one: SimpleNamespace) -> None:
    """Owner, attributes, mode, times: an order in which none undoes another."""
    if os.geteuid() == 0:
        os.chown(full, one.uids, one.gids, follow_symlinks=False)
    for name, value in one.rare.get("xattrs", ()):
        with contextlib.suppress(OSError):  # an attribute that this file system does not take
            os.setxattr(full, name, value, follow_symlinks=False)
    if not stat.S_ISLNK(one.modes):
        os.chmod(full, one.modes & (0o7777 if os.geteuid() == 0 else 0o1777))
    os.utime(full, ns=(one.mtimes, one.mtimes), follow_symlinks=False)


def inside(target: bytes, path: bytes) -> bytes:
    """Where a path of the index lies below `target`."""
    if path and ({b"", b".", b".."} & set(path.split(b"/")) or b"\0" in path):
        raise Lost("a path that leads elsewhere")
    return target + b"/" + path if path else target


def restore(snapshot: Snapshot, target: bytes) -> None:
    """Three turns over the index: folders and files, hard links, the rest.  Stamps of folders last, children first."""
    folders = []
    for turn in range(3):
        for one in snapshot.entries():
            try:
                full, is_folder = inside(target, one.path), stat.S_ISDIR(one.modes)
                if turn == 0:
                    os.makedirs(full if is_folder else os.path.dirname(full), exist_ok=True)
                if is_folder:
                    folders += [(full, one)] if turn == 0 else []
                elif turn == (2 if not stat.S_ISREG(one.modes) else 1 if "links" in one.rare else 0):
                    make(snapshot, target, full, one)
            except (OSError, *DAMAGE) as error:
                snapshot.tell(one.path, error)
    for full, one in reversed(folders):
        with contextlib.suppress(OSError):
            stamp(full, one)


def main() -> int:
    """Words in, exit code out."""
    parser = argparse.ArgumentParser(description="Restore a pinfold snapshot from CAR files, without pinfold.")
    parser.add_argument("cars", nargs="+", metavar="CAR")
    parser.add_argument("--root", metavar="CID")
    parser.add_argument("--target", metavar="DIR")
    parser.add_argument("--identity", metavar="FILE", type=argparse.FileType("r"))
    parser.add_argument("--passphrase-file", metavar="FILE", type=argparse.FileType("rb"))
    given = parser.parse_args()
    cars = Cars(given.cars)
    if given.root is None or given.target is None:
        print("\n".join(sorted(cars.roots())))
        return 0
    os.makedirs(given.target, exist_ok=True)
    if os.listdir(given.target):
        parser.error(f"{given.target} is not empty")
    try:
        passphrase = given.passphrase_file.read().rstrip(b"\r\n") if given.passphrase_file else None
        keys = identities_in(given.identity.read()) if given.identity else []
        root = base64.b32decode(given.root[1:].upper() + "=" * (-len(given.root[1:]) % 8))
        snapshot = Snapshot(cars, root, keys, passphrase)
    except (*DAMAGE, KeyFailure) as error:
        print(f"the snapshot cannot be opened: {error}", file=sys.stderr)
        return 5 if isinstance(error, KeyFailure) else 1
    restore(snapshot, os.fsencode(os.path.abspath(given.target)))
    return 4 if snapshot.damage else 0


if __name__ == "__main__":
    raise SystemExit(main())
