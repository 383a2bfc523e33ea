"""The command line with a Kubo node as its repository, and what `ipfs` itself makes of the snapshots there."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crash.cli import CHEAP, Machine, grow
from crash.oracle import back_up
from engine import listing

if TYPE_CHECKING:
    from lab.kubo import Node


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of files, folders and links."""
    grow(tmp_path / "tree", random.Random(1))
    (tmp_path / "tree" / "empty").mkdir()
    (tmp_path / "tree" / "link").symlink_to("folder 1/file 1")
    return tmp_path / "tree"


def machine_of(place: str, cache: Path) -> Machine:
    """A machine whose repository lies at an address."""
    return Machine(Path("nowhere"), cache, environment={"PINFOLD_REPOSITORY": place})


@pytest.fixture
def machine(node: Node, tmp_path: Path, tree: Path) -> Machine:
    """A repository in a node, with two snapshots."""
    made = machine_of(f"kubo+{node.api}", tmp_path / "cache")
    made.call("init", *CHEAP)
    made.call(*back_up(tree))
    (tree / "folder 1" / "file 1").write_bytes(b"changed")
    made.call(*back_up(tree))
    return made


def roots(machine: Machine) -> list[str]:
    """The roots of all snapshots, oldest first."""
    return [one["root"] for one in machine.call("snapshots")["snapshots"]]


def test_a_repository_in_a_node_does_all_a_folder_does(
    machine: Machine, node: Node, tree: Path, tmp_path: Path
) -> None:
    """Snapshots are listed, verified, restored, forgotten and collected, and from another machine likewise."""
    oldest, newest = roots(machine)
    assert [True, True] == [root in node.pins() for root in (oldest, newest)]
    assert machine.call("verify", "--read", "--decrypt", "100")["damage"] == []
    machine.call("restore", "latest:tree", tmp_path / "out")
    assert listing(tree) == listing(tmp_path / "out")
    elsewhere = machine_of(f"kubo+{node.api}", tmp_path / "other cache")
    elsewhere.call("restore", newest, tmp_path / "there")
    assert listing(tree) == listing(tmp_path / "there")
    machine.call("forget", "--keep-last", "1")
    assert machine.call("gc")["freed_blocks"] > 0
    assert [newest] == roots(machine)
    assert machine.call("verify", "--read")["damage"] == []


def test_the_pin_list_of_the_node_is_the_catalogue(machine: Machine, node: Node) -> None:
    """`ipfs pin ls --names` tells repository, source, kind and time of every snapshot."""
    named = {cid: name for cid, name in node.pins().items() if name}
    kinds = sorted(name.split("/")[2 if "keyring" in name else 3] for name in named.values())
    assert ["full", "full", "keyring"] == kinds
    assert set(roots(machine)) < named.keys()


def test_what_ipfs_get_writes_restores(machine: Machine, node: Node, tree: Path, tmp_path: Path) -> None:
    """A plain folder from `ipfs get ROOT` restores without the node."""
    node.run("get", "-o", tmp_path / "got", roots(machine)[-1])
    elsewhere = Machine(tmp_path / "nowhere", tmp_path / "empty cache")
    assert elsewhere.call("restore", tmp_path / "got", tmp_path / "out")["damaged_count"] == 0
    assert listing(tree) == listing(tmp_path / "out")


def test_cars_go_both_ways(machine: Machine, node: Node, tree: Path, tmp_path: Path) -> None:
    """`ipfs dag export` is imported into a folder; what that folder exports, `ipfs dag import` pins again."""
    root = roots(machine)[-1]
    (tmp_path / "out.car").write_bytes(node.run("dag", "export", "--progress=false", root))
    folder = Machine(tmp_path / "folder", tmp_path / "folder cache")
    folder.call("import", "--create", tmp_path / "out.car")
    assert [root] == roots(folder)
    folder.call("export", root, tmp_path / "back.car")
    name = node.pins()[root]
    node.run("pin", "rm", root)
    node.gc()
    assert not node.has(root)
    said = node.run("dag", "import", "--pin-roots=true", tmp_path / "back.car").decode()
    assert f"Pinned root\t{root}\tsuccess" in said
    node.run("pin", "add", f"--name={name}", root)
    assert root == roots(machine)[-1]
    machine.call("restore", root, tmp_path / "restored")
    assert listing(tree) == listing(tmp_path / "restored")


def test_a_snapshot_goes_from_a_folder_into_a_node(node: Node, tree: Path, tmp_path: Path) -> None:
    """`pinfold import` into a node puts and pins what a folder exported, under the same root."""
    folder = Machine(tmp_path / "folder", tmp_path / "folder cache")
    folder.call("init", *CHEAP)
    folder.call(*back_up(tree))
    folder.call("export", roots(folder)[0], tmp_path / "snapshot.car")
    there = machine_of(f"kubo+{node.api}", tmp_path / "cache")
    there.call("import", tmp_path / "snapshot.car")
    assert roots(folder) == roots(there)
    there.call("restore", "latest:tree", tmp_path / "out")
    assert listing(tree) == listing(tmp_path / "out")
