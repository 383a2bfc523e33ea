"""One repository in a folder and in a real Kubo node: the node dies and comes back, copies are damaged and healed."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from engine import Rig, made, noise, rig, write
from pinfold.cli.backup_summary import made as told_of
from pinfold.config import SourceSettings
from pinfold.errors import Corrupt
from pinfold.ipld import CID, list_folder
from pinfold.store import FolderStore, Mirror, Retry
from pinfold.store.address import parse
from pinfold.store.kubo import KuboStore
from pinfold.store.layers import Layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from cli.conftest import Cli
    from lab.kubo import Node
    from pinfold.store import Block, Store

MEBI = 1 << 20


@pytest.fixture
def both(cli: Cli, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line on a repository in a folder, mirrored to a node."""
    monkeypatch.setenv("PINFOLD_REPOSITORY", str(tmp_path / "repo"))
    monkeypatch.setenv("PINFOLD_MIRRORS", f"kubo+{node.api}")
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "correct horse")
    cli("init", "--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000")
    return cli


def states(cli: Cli, *words: str, code: int = 0) -> list[list[str]]:
    """The states of the copies of each snapshot, folder first."""
    rows = cli("status", "--json", *words, code=code).document["snapshots"]
    return [[place["state"] for place in row["places"]] for row in rows]


def test_a_node_that_is_down_and_comes_back(both: Cli, node: Node, tmp_path: Path) -> None:
    """A backup without the node ends with exit code 3 and says which copy lacks; replicate brings that copy."""
    tree = write(tmp_path / "tree", {"a": noise(1, 2 * MEBI), "b": b"small"})
    both("backup", tree, "--name", "tree")
    assert [["pinned", "pinned"]] == states(both)
    write(tree, {"c": noise(2, MEBI)})
    node.kill()
    ran = both("backup", tree, "--name", "tree", code=3)
    assert "only 1 copy proved the pin" in ran.err
    assert node.api in ran.err
    node.start()
    assert [["pinned", "pinned"], ["pinned", "absent"]] == states(both, "--all", code=3)
    dry = both("replicate", "--dry-run", "--json").document["stores"][1]
    sent = both("replicate", "--json").document["stores"][1]
    assert (dry["blocks"], dry["bytes"]) == (sent["blocks"], sent["bytes"])
    assert MEBI < sent["bytes"] < 2 * MEBI
    assert [["pinned", "pinned"]] * 2 == states(both, "--all")
    for path in (tmp_path / "repo" / "cars").glob("*.car"):
        path.unlink()
    alone = both.with_words("-r", f"kubo+{node.api}")
    alone("restore", "latest", tmp_path / "back")
    assert (tree / "c").read_bytes() == (tmp_path / "back" / "c").read_bytes()


@pytest.fixture
def stores(tmp_path: Path, node: Node) -> Iterator[tuple[FolderStore, Store]]:
    """The two stores, the far one as wiring makes it."""
    address = parse(f"kubo+{node.api}")
    assert address is not None
    folder, far = FolderStore.create(tmp_path / "repo"), Retry(KuboStore(address), attempts=2, first=0.1)
    yield folder, far
    folder.close()
    far.close()


class Deadly(Layer):
    """Lets so many blocks through, and then kills the node."""

    def __init__(self, store: Store, node: Node, after: int) -> None:
        super().__init__(store)
        self.node, self.after = node, after

    def put(self, blocks: Iterable[Block]) -> int:
        """Killed in the middle of this."""

        def passed() -> Iterator[Block]:
            for block in blocks:
                self.after -= 1
                if self.after == 0:
                    self.node.kill()
                yield block

        return self._store.put(passed())


def mirrored(tmp_path: Path, *stores: Store) -> Rig:
    """A repository whose keyring is in all of these."""
    return rig(tmp_path / "cache", Mirror(stores, min_copies=1, rest=0))


def test_a_node_killed_in_the_middle(stores: tuple[FolderStore, Store], node: Node, tmp_path: Path) -> None:
    """A node that dies in the middle of an upload leaves a snapshot short of one copy; the next run makes it whole."""
    folder, far = stores
    deadly = Deadly(far, node, after=0)
    here = mirrored(tmp_path, folder, deadly)
    tree = write(tmp_path / "tree", {f"{number}": noise(number, 3 * MEBI) for number in range(12)})
    deadly.after = 40
    result = here.backup(tree)
    assert result.status is not None
    assert (1, 2, True) == (result.status.pinned, result.status.due, result.status.short)
    source = SourceSettings("home", tree)
    document = told_of(source, result)
    assert (True, ["pinned", "failed"]) == (document["short_of_copies"], [one["state"] for one in document["places"]])
    node.start()
    (tree / "new").write_bytes(b"more")
    again = here.backup(tree)
    assert again.status is not None
    assert (2, False) == (again.status.pinned, again.status.short)
    assert 0 == here.verify(store=far).damage_count


def damage_node(node: Node, cid: CID) -> None:
    """Overwrite a block in the node's own files, which are named by its multihash."""
    name = base64.b32encode(cid.multihash).decode().rstrip("=")
    (path,) = (node.home / "blocks").rglob(f"{name}.data")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))


def damage_folder(folder: Path, block: bytes) -> None:
    """Turn a bit over in the car that has the block."""
    for car in (folder / "cars").glob("*.car"):
        data = car.read_bytes()
        if block in data:
            car.write_bytes(data.replace(block, block[:-1] + bytes([block[-1] ^ 1])))


def damaged(here: Rig, folder: FolderStore, tmp_path: Path) -> tuple[CID, bytes]:
    """A block of a fresh snapshot, to be damaged."""
    snapshot = made(here.backup(write(tmp_path / "tree", {"a": noise(1, 2 * MEBI)})))
    cid = next(entry.cid for entry in list_folder(snapshot.blocks, folder.get))
    return cid, folder.get(cid)


def test_damage_in_the_folder_is_healed_from_the_node(stores: tuple[FolderStore, Store], tmp_path: Path) -> None:
    """Reading a block that is damaged in the folder gives the node's, and the folder has it good again."""
    folder, far = stores
    here = mirrored(tmp_path, folder, far)
    cid, block = damaged(here, folder, tmp_path)
    damage_folder(tmp_path / "repo", block)
    with pytest.raises(Corrupt):
        folder.get(cid)
    assert block == here.store.get(cid)
    assert block == folder.get(cid)
    assert any("healed from another store" in line for line in here.store.warnings)  # type: ignore[attr-defined]


def test_damage_in_the_node_is_healed_from_the_folder(
    stores: tuple[FolderStore, Store], node: Node, tmp_path: Path
) -> None:
    """A block that is damaged in the node is read from the folder, and healed once Kubo lets go of its copy."""
    folder, far = stores
    here = mirrored(tmp_path, far, folder)
    cid, block = damaged(here, folder, tmp_path)
    damage_node(node, cid)
    with pytest.raises(Corrupt):
        far.get(cid)
    assert block == here.store.get(cid)
    warnings = here.store.warnings  # type: ignore[attr-defined]
    assert any(f"{far.name} held no good copy of {cid}" in line for line in warnings)
    if not _is_good(far, cid):  # Kubo keeps what it has of a block, whatever it is given
        node.run("repo", "verify", "--drop")
        assert block == here.store.get(cid)
    assert block == far.get(cid)
    assert 0 == here.verify(store=far).damage_count


def _is_good(store: Store, cid: CID) -> bool:
    try:
        store.get(cid)
    except Corrupt:
        return False
    return True
