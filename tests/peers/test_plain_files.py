"""Objects as S3 clients write them, as plain files: each has the CID that `ipfs add` under unixfs-v1-2025 gives it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pinfold.ipld import CID, add_file, build_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lab.program import Kubo

MIB = 1 << 20
# More than a plain folder holds: 262144 bytes of links, of about 76 bytes each.
MANY = 4000


def forget(cid: CID, block: bytes) -> None:
    """Take a block that nobody wants: only CIDs are compared."""


def objects() -> dict[str, bytes]:
    """Keys and contents of a bucket: log files, uploads, archives, thumbnails, odd names, one folder of very many."""
    rng = random.Random(7)
    sizes = [0, 1, 255, 64 << 10, MIB - 1, MIB, MIB + 1, 5 * MIB, 5 * MIB + 12_345]
    found = {f"uploads/{size:08} bytes.bin": rng.randbytes(size) for size in sizes}
    found |= {f"logs/2026/11/{day:02}/{hour:02}.log.gz": rng.randbytes(99) for day in (1, 2, 30) for hour in range(24)}
    found |= {"/".join(f"level {level}" for level in range(40)) + "/deep": b"down here"}
    found |= {f"thumbnails/{rng.getrandbits(96):024x}.jpg": b"%d" % (number % 9) for number in range(MANY)}
    names = [
        "a b+c%20d",
        "ünïcödé",
        "u\u0308 apart",
        "日本語/ファイル.txt",
        "😀.png",
        "&$@=;:+,?",
        "-rf",
        "x" * 255,
        ".hidden",
    ]
    found |= {f"names/{name}": name.encode() for name in names}
    return found


def built(bucket: Mapping[str, bytes]) -> dict[str, str]:
    """The CID of every object and of every folder by its key, "" for the bucket itself."""
    folders: dict[str, list[tuple[bytes, CID, int]]] = {}
    found: dict[str, str] = {}

    def enter(key: str, cid: CID, tsize: int) -> None:
        found[key] = str(cid)
        if key:
            folder, _, name = key.rpartition("/")
            folders.setdefault(folder, []).append((name.encode(), cid, tsize))

    for key, data in bucket.items():
        made = add_file([data], forget)
        enter(key, made.cid, made.tsize)
    above = {"/".join(key.split("/")[:depth]) for key in bucket for depth in range(key.count("/") + 1)}
    for key in sorted(above, key=lambda key: (key.count("/"), key), reverse=True):
        enter(key, *build_folder(folders[key], forget))
    return found


def test_a_bucket(kubo: Kubo, tmp_path: Path) -> None:
    """Every object and every folder of a bucket has the CID that `ipfs add -r` prints for it."""
    bucket = objects()
    root = tmp_path / "bucket"
    for key, data in bucket.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
    kubo.apply_profile("unixfs-v1-2025")
    said = kubo.run("add", "-r", "--hidden", "--only-hash", "--progress=false", root).decode()
    theirs = {
        path.removeprefix("bucket").removeprefix("/"): cid
        for _, cid, path in (line.split(" ", 2) for line in said.splitlines())
    }
    assert theirs == built(bucket)


def test_a_very_large_object(kubo: Kubo, tmp_path: Path) -> None:
    """At one byte more than the 1024 chunks that one node links the CIDs are equal."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate((1024 << 20) + 1)  # zeros that take no room
    kubo.apply_profile("unixfs-v1-2025")
    theirs = kubo.run("add", "-Q", "--only-hash", "--progress=false", tmp_path / "large").decode().strip()
    assert theirs == str(add_file([*[bytes(MIB)] * 1024, b"\0"], forget).cid)
