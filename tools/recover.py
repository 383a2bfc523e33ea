"""Restore a pinfold snapshot from CAR files without pinfold: the escape hatch, in one file.

    recover.py CAR...                                       list the snapshots in them
    recover.py CAR... --root CID --target DIR KEY           restore one; KEY: --identity FILE or --passphrase-file FILE

CAR...: cars/*.car of a folder store, what `pinfold export` wrote, or what `ipfs dag export ROOT` printed.  DIR must not
exist yet.  Needs Python 3.11, cryptography, pyrage, libipld, and backports.zstd before Python 3.14.
Exit codes: 0 restored, 1 cannot, 2 which snapshot?, 4 restored but for what was named, 5 wrong key or forged.
The way (docs/format.md): CAR sections, root folder, signatures, slot, manifest, index pages, files.  Nothing outside
DIR is touched: all folders come before any name that could lead elsewhere.  Owners come back by number, for root only.
"""
# ruff: noqa: PTH100, PTH101, PTH103, PTH108, PTH118, PTH120, PTH123, PTH211  # names are bytes here, and need not be text

import argparse
import base64
import contextlib
import functools
import hashlib
import importlib
import itertools
import json
import os
import sqlite3
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import libipld
import pyrage
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

zstd = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
DAG_PB, RAW = b"\x01\x70\x12\x20", b"\x01\x55\x12\x20"  # CID version 1, codec, sha2-256, 32 bytes; then the digest
FILES = (b"repository.json", b"keyring.json", b"snapshot.json", b"snapshot.sig", b"manifest.age")
COLUMNS = ("modes", "uids", "gids", "sizes", "mtimes", "bundles", "offsets")
RARE = ("chunks", "extents", "links", "rdevs", "targets", "trees", "xattrs")
text = functools.partial(libipld.encode_multibase, "b")  # a CID as people write it
DAMAGE = (ValueError, LookupError, TypeError, AttributeError, StopIteration, struct.error, InvalidTag, zstd.ZstdError)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and the offset behind it."""
    for end in range(at, min(at + 9, len(data))):
        if data[end] < 128:
            return sum((byte & 127) << 7 * place for place, byte in enumerate(data[at : end + 1])), end + 1
    raise ValueError("a number is cut short")


def links(block: bytes) -> dict[bytes, bytes]:
    """The links of a dag-pb node, name to CID, in order; nameless ones, as files have them, by their number."""
    found, at = dict[bytes, bytes](), 0
    while at < len(block):
        key, (size, at) = block[at], varint(block, at + 1)
        link, at = block[at : at + size], at + size
        if key == 0x12:  # in it: 0x0a, length, CID; 0x12, length, name; 0x18, size
            length, name = varint(link, link[1] + 3)
            found[link[name : name + length] or b"/%d" % len(found)] = link[2 : link[1] + 2]
    return found


class Cars:
    """Where each block lies in the CAR files: in a temporary database, so that memory does not grow."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.db = names, sqlite3.connect("")
        self.db.execute("CREATE TABLE blocks (cid BLOB, car INT, at INT, size INT, PRIMARY KEY (cid, car, at))")
        for car, name in enumerate(names):
            with open(name, "rb") as file:
                self.db.executemany("INSERT INTO blocks VALUES (?, ?, ?, ?)", self.sections(file, car))

    def sections(self, file: BinaryIO, car: int) -> Iterator[tuple[bytes, int, int, int]]:
        """CID, number of the CAR, offset and size of each block in one."""
        at, end = 0, os.fstat(file.fileno()).st_size
        while at < end:
            head = os.pread(file.fileno(), 64, at)
            size, skip = varint(head, 0) if head[0] else (0, 0)
            whole = 36 <= size <= 8 << 20 and at + skip + size <= end
            if not whole or (at == 0 and b"version\x01" not in os.pread(file.fileno(), size, skip)):
                print(f"{file.name}: damaged, or no CAR; not read from byte {at} on", file=sys.stderr)
                return
            if at and head[skip : skip + 4] in {DAG_PB, RAW}:
                yield head[skip : skip + 36], car, at + skip + 36, size - 36
            at += skip + size

    def get(self, cid: bytes) -> bytes:
        """The block, from any copy that matches its hash."""
        for car, at, size in self.db.execute("SELECT car, at, size FROM blocks WHERE cid = ?", (cid,)):
            with open(self.names[car], "rb") as file:
                block = os.pread(file.fileno(), size, at)
            if hashlib.sha256(block).digest() == cid[4:]:
                return block
        raise LookupError(f"block {text(cid)} is missing or damaged")

    def file(self, cid: bytes) -> bytes:
        """A small UnixFS file."""
        block = self.get(cid)
        return block if cid[:4] == RAW else b"".join(map(self.file, links(block).values()))

    def roots(self) -> Iterator[str]:
        """A line for each snapshot; of several roots of one, that with the highest keyring number is the last."""
        for (cid,) in self.db.execute("SELECT DISTINCT cid FROM blocks WHERE substr(cid, 1, 4) = ?", (DAG_PB,)):
            with contextlib.suppress(*DAMAGE):  # another kind of node, or a snapshot that could not be opened anyway
                names = links(self.get(cid))
                made, ring = (json.loads(self.file(names[name])) for name in (b"snapshot.json", b"keyring.json"))
                told = f"source {made['source']}, repository {made['repository']}, keyring {ring['sequence']}"
                yield f"{made['finished']}  {text(cid)}  {made['kind']}, {told}"


def unlock(ring: dict[str, Any], identities: list[Any], passphrase: bytes | None) -> dict[str, Any]:
    """The repository's secrets, from the first slot that opens."""
    for slot in ring["slots"]:
        sealed, kdf = base64.b64decode(slot["sealed"]), slot.get("kdf")
        with contextlib.suppress(pyrage.DecryptError, InvalidTag):
            if slot["kind"] == "age" and identities:
                return dict(libipld.decode_dag_cbor(pyrage.decrypt(sealed, identities)))
            if slot["kind"] == "passphrase" and passphrase is not None:
                salt, rounds = base64.b64decode(kdf["salt"]), kdf["iterations"]
                if kdf["name"] == "argon2id":
                    costs = {"lanes": kdf["lanes"], "memory_cost": kdf["memory_kib"]}
                    key = Argon2id(salt=salt, length=32, iterations=rounds, **costs).derive(passphrase)
                else:
                    key = hashlib.pbkdf2_hmac("sha256", passphrase, salt, rounds, 32)
                bound = b"pinfold/1 slot " + ring["repository"].encode()
                return dict(libipld.decode_dag_cbor(AESGCM(key).decrypt(sealed[:12], sealed[12:], bound)))
    raise InvalidSignature("what was given opens no slot of the keyring")


class Snapshot:
    """An opened snapshot.  `damage` counts what could not be restored."""

    def __init__(self, cars: Cars, root: bytes, identities: list[Any], passphrase: bytes | None) -> None:
        self.cars, self.damage, names = cars, 0, links(cars.get(root))
        files = {name: cars.file(names[name]) for name in FILES}
        repository, ring, made = (json.loads(files[name]) for name in FILES[:3])
        # Signatures: owner over keyring, an agent of the keyring over header, header over manifest and blocks.
        signature = bytes.fromhex(ring.pop("signature"))
        body = json.dumps(ring, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        owner = Ed25519PublicKey.from_public_bytes(bytes.fromhex(repository["owner"]))
        owner.verify(signature, b"pinfold/1 keyring\n" + files[b"repository.json"] + b"\n" + body)
        agent = Ed25519PublicKey.from_public_bytes(bytes.fromhex(made["agent"]))
        agent.verify(files[b"snapshot.sig"], b"pinfold/1 snapshot\n" + files[b"snapshot.json"])
        until = next((one["until"] or "~" for one in ring["agents"] if one["key"] == made["agent"]), "")
        held, secrets = [text(names[FILES[4]]), text(names[b"blocks"])], unlock(ring, identities, passphrase)
        opened = Ed25519PrivateKey.from_private_bytes(secrets["owner"]).public_key()
        if made["finished"] > until or held != [made["manifest"], made["blocks"]["root"]] or opened != owner:
            raise InvalidSignature
        pair = pyrage.x25519.Identity.from_str(secrets["generations"][made["generation"]]["identity"].decode())
        self.manifest = dict(libipld.decode_dag_cbor(pyrage.decrypt(files[b"manifest.age"], [pair])))
        self.bound = b"pinfold/1" + made["generation"].to_bytes(4, "little")
        self.bundle = functools.lru_cache(maxsize=8)(self.chunk)

    def chunk(self, ref: bytes) -> bytes:
        """The plaintext of the chunk that a ref names and opens."""
        digest, key, length, _ = struct.unpack("<32s32sII", ref)
        block = self.cars.get(RAW + digest)
        payload = AESGCM(key).decrypt(block[:12], block[12:], self.bound)
        data = payload[5 : 5 + int.from_bytes(payload[1:5], "little")]
        plain = bytes(zstd.ZstdDecompressor().decompress(data, max_length=4 << 20)) if payload[0] else data
        if len(plain) != length:
            raise ValueError(f"block {text(RAW + digest)} does not hold the {length} bytes it should")
        return plain

    def leaves(self, ref: bytes, depth: int) -> Iterator[bytes]:
        """The refs of the data below a tree of refs."""
        if depth == 0:
            yield ref
        for (child,) in struct.iter_unpack("72s", self.chunk(ref)) if 0 < depth < 7 else ():
            yield from self.leaves(child, depth - 1)

    def entries(self) -> Iterator[SimpleNamespace]:
        """Everything in the snapshot, a folder before what is in it."""
        for ref in self.leaves(*self.manifest["index"]):
            try:
                page = dict(libipld.decode_dag_cbor(self.chunk(ref)))
            except DAMAGE as error:
                self.damage += 1
                print(f"a page of the index: {str(error) or 'does not open'}", file=sys.stderr)
                continue
            for part in page["parts"]:
                rare = {key: dict(part.get(key, ())) for key in RARE}
                for row, name in enumerate(part["names"]):
                    one = SimpleNamespace(**{key: part[key][row] for key in COLUMNS})
                    one.path = b"" if name == b"." else os.path.join(part["folder"] or b"", name)
                    one.rare = {key: values[row] for key, values in rare.items() if row in values}
                    one.bundle = page["bundles"][72 * one.bundles :][:72] if one.bundles >= 0 else None
                    yield one

    def restore(self, target: bytes) -> None:
        """Folders and files; then all that could lead elsewhere; stamps of folders at the end, children first."""
        later: list[SimpleNamespace] = []
        for one in self.entries():
            self.attempt(functools.partial(self.place, target), one)
            later += [] if stat.S_ISREG(one.modes) else [one]
        later.reverse()
        for one in sorted(later, key=lambda one: stat.S_ISDIR(one.modes)):
            self.attempt(self.finish, one)

    def attempt(self, action: Callable[[SimpleNamespace], None], one: SimpleNamespace) -> None:
        """Do something for one name, or tell why not."""
        try:
            action(one)
        except (OSError, *DAMAGE) as error:
            self.damage += 1
            print(f"{one.path!r}: {str(error) or 'does not open'}", file=sys.stderr)

    def place(self, target: bytes, one: SimpleNamespace) -> None:
        """Make the folders that lead to a name, and a regular file: whole, or not at all."""
        for path in (one.path, one.rare.get("links", b"")):
            if path and ({b"", b".", b".."} & set(path.split(b"/")) or b"\0" in path):
                raise ValueError("a path that leads elsewhere")
        full = os.path.join(target, one.path)
        os.makedirs(full if stat.S_ISDIR(one.modes) else os.path.dirname(full), exist_ok=True)
        one.full = full  # only now: what has no such path is left alone by the later steps
        if stat.S_ISREG(one.modes):
            with contextlib.suppress(KeyError, OSError):  # a hard link that cannot be made has its content as well
                os.link(os.path.join(target, one.rare["links"]), full, follow_symlinks=False)
                return
            try:
                with open(full, "xb") as file:
                    self.pour(file, one)
            except DAMAGE:
                os.unlink(full)
                raise
            self.finish(one)

    def pour(self, file: BinaryIO, one: SimpleNamespace) -> None:
        """Write a file's content into its runs of data; holes stay holes."""
        few = struct.iter_unpack("72s", one.rare.get("chunks", b""))
        refs = self.leaves(*one.rare["trees"]) if "trees" in one.rare else (ref for (ref,) in few)
        packed = self.bundle(one.bundle)[one.offsets : one.offsets + one.sizes] if one.bundle else b""
        runs, left = iter(one.rare.get("extents", [(0, one.sizes)])), 0
        for piece in itertools.chain([packed], map(self.chunk, refs)):
            while piece:
                if not left:
                    offset, left = next(runs)
                    file.seek(offset)
                done = file.write(piece[:left])
                piece, left = piece[done:], left - done  # noqa: PLW2901
        if left or next(runs, (0, 0))[1]:
            raise ValueError("it is shorter than the index says")
        file.truncate(one.sizes)

    def finish(self, one: SimpleNamespace) -> None:
        """Make a symbolic link, pipe or device; then owner, attributes, mode, times: none undoes another."""
        if stat.S_ISLNK(one.modes):
            os.symlink(one.rare["targets"], one.full)
        elif not stat.S_ISREG(one.modes) and not stat.S_ISDIR(one.modes):
            os.mknod(one.full, stat.S_IFMT(one.modes) | 0o600, one.rare.get("rdevs", 0))
        if os.geteuid() == 0:
            os.chown(one.full, one.uids, one.gids, follow_symlinks=False)
        for name, value in one.rare.get("xattrs", ()):
            with contextlib.suppress(OSError):  # an attribute that this file system does not take
                os.setxattr(one.full, name, value, follow_symlinks=False)
        if not stat.S_ISLNK(one.modes):
            os.chmod(one.full, one.modes & (0o7777 if os.geteuid() == 0 else 0o1777))
        os.utime(one.full, ns=(one.mtimes, one.mtimes), follow_symlinks=False)


def identities(content: str) -> list[Any]:
    """The age identities, or the unencrypted SSH key, in a file."""
    if "PRIVATE KEY-----" in content:
        return [pyrage.ssh.Identity.from_buffer(content.encode())]
    return [pyrage.x25519.Identity.from_str(line) for line in content.split() if line.startswith("AGE-SECRET-KEY-")]


def main() -> int:
    """Words in, exit code out."""
    parser = argparse.ArgumentParser(description="Restore a pinfold snapshot from CAR files, without pinfold.")
    parser.add_argument("cars", nargs="+", metavar="CAR")
    for name in ("--root", "--target", "--identity", "--passphrase-file"):
        parser.add_argument(name)
    given = parser.parse_args()
    cars = Cars(given.cars)
    os.umask(0o077)
    found = [] if given.root else sorted(cars.roots())
    if not (given.root or (given.target and len(found) == 1)):
        sys.stdout.writelines(f"{line}\n" for line in found)
        many = "several snapshots; choose with --root CID" if found else "no snapshot"
        return parser.error(many) if given.target else 0
    try:
        keys = identities(Path(given.identity).read_text()) if given.identity else []
        passphrase = Path(given.passphrase_file).read_bytes().rstrip(b"\r\n") if given.passphrase_file else None
        snapshot = Snapshot(cars, libipld.decode_multibase(given.root or found[0].split()[1])[1], keys, passphrase)
        Path(given.target).mkdir(parents=True)
        snapshot.restore(os.fsencode(os.path.abspath(given.target)))
    except (*DAMAGE, OSError, pyrage.DecryptError, InvalidSignature) as error:
        print(f"cannot restore: {str(error) or 'a signature does not hold'}", file=sys.stderr)
        return 5 if isinstance(error, InvalidSignature) else 1
    return 4 if snapshot.damage else 0


if __name__ == "__main__":
    raise SystemExit(main())
