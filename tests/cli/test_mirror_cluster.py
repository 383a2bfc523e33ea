"""One repository in a folder, a real Kubo node and a real Cluster of two peers, one of which goes away for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import noise, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from cli.conftest import Cli
    from lab.cluster import Cluster
    from lab.kubo import Node


def states(document: Any) -> list[str]:  # noqa: ANN401  # JSON
    """The state of each copy of the newest snapshot."""
    return [place["state"] for place in document["snapshots"][-1]["places"]]


def test_folder_node_and_cluster(
    cli: Cli, node: Node, cluster_factory: Callable[..., Cluster], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four copies in three stores are proved; a peer that is lost is named, and the survivor restores alone."""
    cluster = cluster_factory(2, replication_min=1, replication_max=2)
    far = f"cluster+{cluster.peers[0].rest}?min=2&max=2&wait=20"
    monkeypatch.setenv("PINFOLD_REPOSITORY", str(tmp_path / "repo"))
    monkeypatch.setenv("PINFOLD_MIRRORS", f"kubo+{node.api} {far}")
    monkeypatch.setenv("PINFOLD_MIN_COPIES", "2")
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "correct horse")
    cli("init", "--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000")
    tree = write(tmp_path / "tree", {"a": noise(1, 3 << 20), "b": b"small"})
    told = cli("backup", tree, "--name", "tree", "--json").document["sources"][0]
    assert (4, False) == (told["copies"], told["short_of_copies"])
    assert ["pinned"] * 4 == states(cli("status", "--wait", "10s", "--json").document)
    cluster.peers[1].lose_power()
    write(tree, {"c": noise(2, 1 << 20)})
    told = cli("backup", tree, "--name", "tree", "--json", code=3).document["sources"][0]
    assert (3, True) == (told["copies"], told["short_of_copies"])
    cluster.peers[1].come_back()
    cluster.wait_ready()
    cli("replicate", "latest", "--to", far)
    assert ["pinned"] * 4 == states(cli("status", "--wait", "30s", "--json").document)
    cluster.peers[0].lose_power()
    alone = cli.with_words("-r", f"cluster+{cluster.peers[1].rest}?min=1&wait=20&kubo={cluster.peers[1].node.api}")
    monkeypatch.delenv("PINFOLD_MIRRORS")
    monkeypatch.delenv("PINFOLD_MIN_COPIES")
    alone("restore", "latest", tmp_path / "back")
    assert (tree / "c").read_bytes() == (tmp_path / "back" / "c").read_bytes()
