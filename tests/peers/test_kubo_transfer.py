"""Snapshots between pinfold and `ipfs`, as CAR files and as folders, through running daemons."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import pytest

from crash.cli import CHEAP, Machine, grow
from crash.oracle import back_up
from engine import listing
from pinfold.parts import SMALLEST

if TYPE_CHECKING:
    from pathlib import Path

    from lab.kubo import Node

COUNT = 3


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of files, folders and links."""
    grow(tmp_path / "tree", random.Random(2))
    (tmp_path / "tree" / "link").symlink_to("folder 1/file 1")
    return tmp_path / "tree"


@pytest.fixture
def machine(tmp_path: Path, tree: Path) -> Machine:
    """A repository with a snapshot of each of three states of the tree; `tmp_path/STATE` keeps what it was."""
    made = Machine(tmp_path / "store", tmp_path / "cache")
    made.call("init", *CHEAP)
    for state in range(COUNT):
        (tree / "folder 1" / "file 1").write_bytes(b"state %d" % state)
        (tree / f"new {state}").write_bytes(random.Random(state).randbytes(1_500_000))
        made.call(*back_up(tree))
        shutil.copytree(tree, tmp_path / f"{state}", symlinks=True)
    return made


def roots(machine: Machine) -> list[str]:
    """The roots of all snapshots, oldest first."""
    return [one["root"] for one in machine.call("snapshots")["snapshots"]]


def assert_restores(machine: Machine, tmp_path: Path, states: range = range(COUNT)) -> None:
    """Snapshots restore to what the tree was when each was made."""
    for state, root in zip(states, roots(machine), strict=True):
        machine.call("restore", root, tmp_path / f"{machine.store.name} {state}")
        assert listing(tmp_path / f"{state}") == listing(tmp_path / f"{machine.store.name} {state}")


def test_there_and_back(node: Node, machine: Machine, tmp_path: Path) -> None:
    """Snapshots exported, imported and pinned by ipfs, exported by ipfs and imported anew restore to the same."""
    other = Machine(tmp_path / "other", tmp_path / "other cache")
    for number, root in enumerate(roots(machine)):
        machine.call("export", root, tmp_path / f"{number}.car")
        node.run("dag", "import", tmp_path / f"{number}.car")
        assert root in node.run("pin", "ls", "--type=recursive", "--quiet").decode().split()
    node.gc()
    for number, root in enumerate(roots(machine)):
        (tmp_path / f"{number} back.car").write_bytes(node.run("dag", "export", "--progress=false", root))
        other.call("import", tmp_path / f"{number} back.car", *["--create"][number:])
    assert roots(machine) == roots(other)
    assert_restores(other, tmp_path)
    assert 0 == other.call("verify", "--read", "--decrypt", "100")["damage_count"]


def test_one_car_of_all_snapshots(node: Node, machine: Machine, tmp_path: Path) -> None:
    """All CARs at once give the same as one after the other, and gc finds no block that is not in use."""
    cars = [tmp_path / f"{number}.car" for number in range(COUNT)]
    for root, path in zip(roots(machine), cars, strict=True):
        machine.call("export", root, path)
    said = node.run("dag", "import", *cars).decode()
    assert COUNT == said.count("\tsuccess\n")
    exported = [node.run("dag", "export", "--progress=false", root) for root in roots(machine)]
    for path, data in zip(cars, exported, strict=True):
        path.write_bytes(data)
    other = Machine(tmp_path / "other", tmp_path / "other cache")
    assert COUNT == len(other.call("import", "--create", *cars)["snapshots"])
    assert 0 == other.call("gc")["freed_blocks"]
    assert_restores(other, tmp_path)


def test_a_folder_of_ipfs_get(node: Node, machine: Machine, tmp_path: Path) -> None:
    """What `ipfs get` makes of each snapshot restores, without repository and cache."""
    for state, root in enumerate(roots(machine)):
        machine.call("export", root, tmp_path / f"{state}.car")
        node.run("dag", "import", tmp_path / f"{state}.car")
        node.run("get", "-o", tmp_path / f"got {state}", root)
        nowhere = Machine(tmp_path / "nowhere", tmp_path / f"cache {state}")
        nowhere.call("restore", tmp_path / f"got {state}", tmp_path / f"out {state}")
        assert listing(tmp_path / f"{state}") == listing(tmp_path / f"out {state}")


@pytest.mark.parametrize("seed", range(2))
def test_parts_in_any_order(node: Node, machine: Machine, tmp_path: Path, seed: int) -> None:
    """Each part of an export is imported and pinned by itself; with all of them the snapshot pins, and stays.

    Cut in parts by ipfs and pinfold alike, it comes back whole.
    """
    root = roots(machine)[-1]
    made = machine.call("export", root, tmp_path / "it.car", "--split", str(SMALLEST))["parts"]
    assert len(made) > 2
    random.Random(seed).shuffle(made)
    for one in made:
        said = node.run("dag", "import", "--stats", one["file"]).decode()
        assert f"Pinned root\t{one['root']}\tsuccess" in said
        node.gc()  # what is there of the snapshot must not go
    node.run("pin", "add", root)
    node.run("pin", "rm", *(one["root"] for one in made))
    node.gc()
    (tmp_path / "back.car").write_bytes(node.run("dag", "export", "--progress=false", root))
    for name, files in (("whole", ["back.car"]), ("parts", [one["file"] for one in made])):
        other = Machine(tmp_path / name, tmp_path / f"{name} cache")
        other.call("import", "--create", *(tmp_path / file for file in files))
        assert [root] == roots(other)
        assert_restores(other, tmp_path, range(COUNT - 1, COUNT))


def test_parts_that_ipfs_keeps(node: Node, machine: Machine, tmp_path: Path) -> None:
    """A part that ipfs exports by its own root is a part still: one place may keep one, another the next."""
    root = roots(machine)[-1]
    made = machine.call("export", root, tmp_path / "it.car", "--split", str(SMALLEST))["parts"]
    node.run("dag", "import", *(one["file"] for one in made))
    for number, one in enumerate(made):
        (tmp_path / f"{number} back.car").write_bytes(node.run("dag", "export", "--progress=false", one["root"]))
    other = Machine(tmp_path / "other", tmp_path / "other cache")
    other.call("import", "--create", *(tmp_path / f"{number} back.car" for number in range(len(made))))
    assert [root] == roots(other)
    assert_restores(other, tmp_path, range(COUNT - 1, COUNT))
