"""A repository and Kubo: what pinfold wrote Kubo takes, pins and shows; what Kubo gives back pinfold restores."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from crash.cli import CHEAP, Machine, grow
from crash.oracle import back_up
from engine import listing

if TYPE_CHECKING:
    from pathlib import Path

    from peers.conftest import Kubo

NAMES = ["README.txt", "blocks", "keyring.json", "manifest.age", "repository.json", "snapshot.json", "snapshot.sig"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of files, folders and links."""
    grow(tmp_path / "tree", random.Random(1))
    (tmp_path / "tree" / "empty").mkdir()
    (tmp_path / "tree" / "link").symlink_to("folder 1/file 1")
    (tmp_path / "tree" / "nothing").touch()
    return tmp_path / "tree"


@pytest.fixture
def machine(tmp_path: Path, tree: Path) -> Machine:
    """A repository with two snapshots."""
    made = Machine(tmp_path / "store", tmp_path / "cache")
    made.call("init", *CHEAP)
    made.call(*back_up(tree))
    (tree / "folder 1" / "file 1").write_bytes(b"changed")
    made.call(*back_up(tree))
    return made


def roots(machine: Machine) -> list[str]:
    """The roots of all snapshots, oldest first."""
    return [one["root"] for one in machine.call("snapshots")["snapshots"]]


def import_cars(kubo: Kubo, machine: Machine) -> None:
    """Hand Kubo the store's files as they lie."""
    for path in sorted((machine.store / "cars").iterdir()):
        kubo.run("dag", "import", "--pin-roots=false", path)


def test_the_cars_of_a_store_import_as_they_are(kubo: Kubo, machine: Machine) -> None:
    """`ipfs dag import cars/*.car` takes all, and pins each car's own root, a folder that lists its blocks."""
    cars = sorted((machine.store / "cars").iterdir())
    said = kubo.run("dag", "import", *cars).decode()
    assert len(cars) == said.count("\tsuccess\n"), said
    for pinned in kubo.run("pin", "ls", "--type=recursive", "--quiet").decode().split():
        kubo.run("dag", "stat", "--progress=false", pinned)


def test_every_snapshot_is_whole_in_kubo(kubo: Kubo, machine: Machine) -> None:
    """With the cars imported, each root pins without asking anybody, and Kubo counts the blocks the header tells."""
    import_cars(kubo, machine)
    for one in machine.call("snapshots")["snapshots"]:
        assert b"pinned" in kubo.run("pin", "add", one["root"])
        kubo.run("dag", "stat", "--progress=false", one["root"])
        listed = kubo.run("ls", "--size=false", f"/ipfs/{one['root']}/blocks").decode().splitlines()
        assert one["blocks"] == len(listed)


def test_kubo_shows_a_snapshot_as_a_folder(kubo: Kubo, machine: Machine) -> None:
    """`ipfs ls` names the parts, README.txt reads as text, and every block is named by its own CID."""
    import_cars(kubo, machine)
    root = roots(machine)[-1]
    lines = kubo.run("ls", "--size=false", root).decode().splitlines()
    assert NAMES == [line.split(" ", 1)[1].strip().rstrip("/") for line in lines]
    assert b"pinfold restore" in kubo.run("cat", f"/ipfs/{root}/README.txt")
    for line in kubo.run("ls", "--size=false", f"/ipfs/{root}/blocks").decode().splitlines():
        cid, name = line.split(" ", 1)
        assert cid == name.strip()


def test_what_ipfs_get_writes_restores(kubo: Kubo, machine: Machine, tree: Path, tmp_path: Path) -> None:
    """A folder written by `ipfs get` restores to the source, without the repository and its cache."""
    import_cars(kubo, machine)
    kubo.run("get", "-o", tmp_path / "got", roots(machine)[-1])
    elsewhere = Machine(tmp_path / "nowhere", tmp_path / "empty cache")
    said = elsewhere.call("restore", tmp_path / "got", tmp_path / "out")
    assert (0, 0) == (said["problem_count"], said["damaged_count"])
    assert listing(tree) == listing(tmp_path / "out")


def test_kubo_names_the_folder_of_blocks_alike(kubo: Kubo, machine: Machine, tmp_path: Path) -> None:
    """Under unixfs-v1-2025 `ipfs add` of what `ipfs get` wrote gives the CIDs of blocks/ and of the root again."""
    import_cars(kubo, machine)
    root = roots(machine)[-1]
    kubo.run("get", "-o", tmp_path / "got", root)
    blocks = kubo.run("resolve", f"/ipfs/{root}/blocks").decode().strip()
    kubo.apply_profile("unixfs-v1-2025")
    add = ("add", "-r", "-Q", "--only-hash")
    assert blocks == "/ipfs/" + kubo.run(*add, tmp_path / "got" / "blocks").decode().strip()
    assert root == kubo.run(*add, tmp_path / "got").decode().strip()


def test_an_export_is_pinned_whole(kubo: Kubo, machine: Machine, tmp_path: Path) -> None:
    """What `pinfold export` wrote, Kubo imports and pins by its root, every block of it once."""
    for number, root in enumerate(roots(machine)):
        done = machine.call("export", root, tmp_path / f"{number}.car")
        said = kubo.run("dag", "import", "--pin-roots=true", "--stats", tmp_path / f"{number}.car").decode()
        assert f"Pinned root\t{root}\tsuccess" in said
        assert f"Imported {done['blocks']} blocks" in said
        assert root in kubo.run("pin", "ls", "--type=recursive", "--quiet").decode().split()


@pytest.mark.parametrize("version", [1, 2])
def test_an_export_of_kubo_is_imported(kubo: Kubo, machine: Machine, tree: Path, tmp_path: Path, version: int) -> None:
    """What `ipfs dag export` wrote, pinfold imports into a new store and restores; wrapped as CARv2, too."""
    import_cars(kubo, machine)
    root = roots(machine)[-1]
    exported = kubo.run("dag", "export", "--progress=false", root)
    if version == 2:
        pragma = bytes.fromhex("0aa16776657273696f6e02")
        numbers = [51, len(exported), 0]
        exported = pragma + bytes(16) + b"".join(one.to_bytes(8, "little") for one in numbers) + exported
    (tmp_path / "kubo.car").write_bytes(exported)
    other = Machine(tmp_path / "other store", tmp_path / "other cache")
    other.call("import", "--create", tmp_path / "kubo.car")
    assert [root] == roots(other)
    other.call("restore", "latest:tree", tmp_path / "out")
    assert listing(tree) == listing(tmp_path / "out")
    assert 0 == other.call("verify", "--read", "--at-rest", "--decrypt", "100")["damage_count"]
    alone = Machine(tmp_path / "nowhere", tmp_path / "third cache")
    alone.call("restore", tmp_path / "kubo.car", tmp_path / "out from the file")
    assert listing(tree) == listing(tmp_path / "out from the file")


@pytest.mark.parametrize("shape", ["file", "folder", "dag-cbor", "raw"])
def test_a_car_that_is_no_snapshot_is_refused(
    kubo: Kubo, machine: Machine, tree: Path, tmp_path: Path, shape: str
) -> None:
    """A CAR of Kubo that holds something else is refused in one line that says so, and nothing is pinned."""
    root = {
        "file": lambda: kubo.run("add", "-Q", tree / "large"),
        "folder": lambda: kubo.run("add", "-Q", "-r", tree),
        "dag-cbor": lambda: kubo.run("dag", "put", input=b'{"a": [1, 2, {"b": null}]}'),
        "raw": lambda: kubo.run("block", "put", "--cid-codec=raw", input=b"hello"),
    }[shape]()
    car = tmp_path / "other.car"
    car.write_bytes(kubo.run("dag", "export", "--progress=false", root.decode().strip()))
    before = roots(machine)
    done = machine.run("import", car)
    assert 2 == done.code, done
    assert 1 == done.err.count("\n")
    assert root.decode().strip() in done.err
    assert "no snapshot" in done.err
    assert before == roots(machine)
    done = machine.run("restore", car, tmp_path / "out")
    assert 2 == done.code, done
    assert not (tmp_path / "out").exists()


def test_a_damaged_car_is_refused(kubo: Kubo, machine: Machine, tmp_path: Path) -> None:
    """A CAR of Kubo with a bit flipped, cut short, or without one of its blocks pins nothing; one line says why."""
    import_cars(kubo, machine)
    whole = kubo.run("dag", "export", "--progress=false", roots(machine)[-1])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    other = Machine(tmp_path / "other store", tmp_path / "other cache")
    other.call("init", *CHEAP)
    for name, data in (("flipped", bytes(flipped)), ("cut", whole[:-1000]), ("empty", b""), ("text", b"hello" * 100)):
        (tmp_path / f"{name}.car").write_bytes(data)
        done = other.run("import", tmp_path / f"{name}.car")
        assert done.code in {2, 4}, done
        assert 1 == done.err.count("\n"), done
        assert [] == roots(other)


def test_blocks_of_kubo_heal_a_store(kubo: Kubo, machine: Machine, tree: Path, tmp_path: Path) -> None:
    """A snapshot whose block is damaged here is whole again once it is imported from Kubo."""
    import_cars(kubo, machine)
    root = roots(machine)[-1]
    (tmp_path / "kubo.car").write_bytes(kubo.run("dag", "export", "--progress=false", root))
    car = max((machine.store / "cars").iterdir(), key=lambda path: path.stat().st_size)
    with car.open("r+b") as file:
        file.seek(car.stat().st_size // 2)
        file.write(b"rust")
    assert 4 == machine.run("verify", "--read").code
    (machine.store / "index.db").unlink()
    machine.call("import", tmp_path / "kubo.car")
    machine.call("restore", root, tmp_path / "out")
    assert listing(tree) == listing(tmp_path / "out")
