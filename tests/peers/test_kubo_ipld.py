"""Kubo and pinfold give the same bytes the same CID, and read each other's blocks."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import pytest

from ipld.memory import Blocks
from pinfold.ipld import (
    CID,
    add_file,
    build_folder,
    build_symlink,
    car,
    dagpb,
    list_folder,
    lookup,
    read_file,
    read_symlink,
    resolve,
    unixfs,
    walk,
)

if TYPE_CHECKING:
    from pathlib import Path

    from peers.conftest import Kubo

MANY = 1200
V1 = ("--cid-version=1", "--raw-leaves")


def kubo_cid(kubo: Kubo, *args: str | Path, data: bytes | None = None) -> str:
    """Return the CID that `ipfs add` prints last."""
    return kubo.run("add", "-Q", *args, input=data).decode().strip()


def export(kubo: Kubo, root: str) -> Blocks:
    """Return the blocks of a DAG as Kubo exports them, each checked against its hash."""
    roots, found = car.read_car(io.BytesIO(kubo.run("dag", "export", "--progress=false", root)))
    assert [CID.parse(root)] == roots
    blocks = Blocks()
    for cid, _, data in found:
        blocks[cid] = data
    return blocks


def car_file(path: Path, root: CID, blocks: Blocks) -> Path:
    """Write a CAR of the blocks."""
    with path.open("wb") as out:
        out.write(car.fixed_header(root))
        for cid, block in blocks.items():
            out.write(car.section(cid, block))
    return path


def built(directory: Path, blocks: Blocks, **options: int) -> tuple[CID, int]:
    """Build a directory of the disk as UnixFS, symlinks as such."""
    entries: list[tuple[bytes, CID, int]] = []
    for path in directory.iterdir():
        if path.is_symlink():
            cid, tsize = build_symlink(bytes(path.readlink()), blocks.emit)
        elif path.is_dir():
            cid, tsize = built(path, blocks, **options)
        else:
            cid, _, tsize = add_file([path.read_bytes()], blocks.emit)
        entries.append((bytes(path.relative_to(directory)), cid, tsize))
    return build_folder(entries, blocks.emit, **options)


@pytest.mark.parametrize("seed", range(12))
def test_files_get_the_cid_kubo_gives_them(kubo: Kubo, seed: int) -> None:
    """A file of any length, chunk size and width has the root that Kubo computes, and Kubo's tsize."""
    rng = random.Random(seed)
    size, chunk, width = rng.randrange(60_000), rng.randrange(64, 2000), rng.randrange(2, 12)
    data = rng.randbytes(size)
    mine = add_file([data[:777], data[777:]], Blocks().emit, chunk_size=chunk, width=width)
    theirs = kubo_cid(kubo, *V1, f"--chunker=size-{chunk}", f"--max-file-links={width}", data=data)
    assert (theirs, size) == (str(mine.cid), mine.size), (size, chunk, width)
    stat = kubo.run("files", "stat", "--format=<cumulsize>", f"/ipfs/{theirs}")
    assert int(stat) == mine.tsize


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_the_profile_is_what_pinfold_writes_by_default(kubo: Kubo, size: int) -> None:
    """Under unixfs-v1-2025 `ipfs add` without flags gives pinfold's CIDs, also at the edge of a chunk."""
    kubo.apply_profile("unixfs-v1-2025")
    data = random.Random(size).randbytes(size)
    assert kubo_cid(kubo, "--only-hash", data=data) == str(add_file([data], Blocks().emit).cid)


@pytest.mark.parametrize("layout", ["balanced", "trickle", "dag-pb leaves", "version 0", "inlined"])
def test_files_of_every_shape_kubo_writes_are_read(kubo: Kubo, layout: str) -> None:
    """Balanced, trickle, wrapped, version 0 and inlined files come back whole and by range."""
    flags = {
        "balanced": V1,
        "trickle": (*V1, "--trickle"),
        "dag-pb leaves": ("--cid-version=1", "--raw-leaves=false"),
        "version 0": ("--cid-version=0", "--raw-leaves=false"),
        "inlined": (*V1, "--inline", "--inline-limit=64"),
    }[layout]
    data = random.Random(7).randbytes(40_050)
    root = kubo_cid(kubo, "--chunker=size-100", "--max-file-links=5", *flags, data=data)
    blocks = export(kubo, root)
    cid = CID.parse(root)
    assert data == b"".join(read_file(cid, blocks.fetch))
    for start, end in ((0, 1), (99, 101), (12_345, 23_456), (40_000, None), (50_000, 60_000)):
        assert data[start:end] == b"".join(read_file(cid, blocks.fetch, start, end))


def test_directories_get_the_cid_kubo_gives_them(kubo: Kubo, tmp_path: Path) -> None:
    """A tree with empty files and folders, symlinks and odd names has Kubo's root, tsize included."""
    root = tmp_path / "tree"
    for folder in ("empty", "deep/er", "ünïcödé names"):
        (root / folder).mkdir(parents=True)
    for name, data in (("none", b""), ("a", b"1"), ("deep/er/B", b"2" * 3_000_000), ("ünïcödé names/%2f?*", b"3")):
        (root / name).write_bytes(data)
    (root / "link").symlink_to("../elsewhere/ü")
    kubo.apply_profile("unixfs-v1-2025")
    blocks = Blocks()
    cid, tsize = built(root, blocks)
    theirs = kubo_cid(kubo, "-r", root)
    assert theirs == str(cid)
    assert int(kubo.run("files", "stat", "--format=<cumulsize>", f"/ipfs/{theirs}")) == tsize
    found = export(kubo, theirs)
    assert set(walk(cid, found.fetch)) == set(found) == set(blocks)
    assert b"../elsewhere/\xc3\xbc" == read_symlink(resolve(cid, b"link", found.fetch), found.fetch)


@pytest.mark.parametrize("fanout", [8, 16, 256, 512, 1024])
def test_sharded_folders_get_the_cid_kubo_gives_them(kubo: Kubo, tmp_path: Path, fanout: int) -> None:
    """A folder of 1200 files, sharded at any fanout, has Kubo's root and is listed whole by both."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"entry {number}").write_bytes(b"%d" % (number % 7))
    blocks = Blocks()
    cid, _ = built(folder, blocks, threshold=1, fanout=fanout)
    kubo.apply_profile("unixfs-v1-2025")
    kubo.run("config", "Import.UnixFSHAMTDirectorySizeThreshold", "1B")
    theirs = kubo_cid(kubo, "-r", f"--max-hamt-fanout={fanout}", folder)
    assert theirs == str(cid)
    found = export(kubo, theirs)
    assert sorted(path.name.encode() for path in folder.iterdir()) == sorted(
        entry.name for entry in list_folder(cid, found.fetch)
    )
    entry = lookup(cid, b"entry 700", found.fetch)
    assert entry is not None
    assert b"0" == b"".join(read_file(entry.cid, found.fetch))


@pytest.mark.parametrize("extra", [0, 1])
def test_the_threshold_of_sharding_is_kubos_to_the_byte(kubo: Kubo, tmp_path: Path, extra: int) -> None:
    """A folder block of 262144 bytes stays plain, one byte more is sharded, in Kubo and here."""
    folder = tmp_path / "edge"
    folder.mkdir()
    blocks = Blocks()
    # Each link takes 2 + 38 + 3 + len(name) + 2 bytes, with a length of 2 bytes for names of 100 and more.
    for number in range(1023):
        (folder / f"{number:0210}").touch()
    (folder / ("z" * (262144 - 4 - 1023 * 256 - 46 + extra))).touch()
    cid, _ = built(folder, blocks)
    if extra:
        assert unixfs.Kind.SHARD == unixfs.decode(dagpb.decode(blocks[cid]).data or b"").kind
    else:
        assert len(blocks[cid]) == 262144
    kubo.apply_profile("unixfs-v1-2025")
    assert kubo_cid(kubo, "-r", folder) == str(cid)


def test_kubo_imports_and_reads_what_pinfold_writes(kubo: Kubo, tmp_path: Path) -> None:
    """A CAR written here is imported with its pin, and cat, ls and get give every byte back."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    data = random.Random(1).randbytes(2_500_000)
    (source / "sub" / "data").write_bytes(data)
    for number in range(300):
        (source / f"{number}").write_bytes(b"%d" % number)
    blocks = Blocks()
    cid, _ = built(source, blocks, threshold=5000)
    said = kubo.run("dag", "import", "--pin-roots=true", car_file(tmp_path / "x.car", cid, blocks)).decode()
    assert f"Pinned root\t{cid}\tsuccess" in said
    assert data == kubo.run("cat", f"/ipfs/{cid}/sub/data")
    listed = kubo.run("ls", "--size=false", "--resolve-type=false", str(cid)).decode().splitlines()
    assert sorted(entry.name.decode() for entry in list_folder(cid, blocks.fetch)) == sorted(
        line.split(" ", 1)[1].strip() for line in listed
    )
    kubo.run("get", "-o", tmp_path / "back", f"/ipfs/{cid}")
    assert {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()} == {
        path.relative_to(tmp_path / "back"): path.read_bytes()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }
