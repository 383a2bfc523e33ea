"""What an agent's token must allow, and what it need not: nodes with API.Authorizations as docs/kubo.md has them."""

from __future__ import annotations

import contextlib
import json
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine import listing, made, noise, rig, write
from lab.kubo import RpcError
from lab.proxy import Proxy
from pinfold.errors import Refused
from pinfold.seal.secret import Secret
from pinfold.store import Retry
from pinfold.store.address import Address
from pinfold.store.kubo import KuboStore, keep
from store.dags import raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine import Rig
    from lab.kubo import Node

GUIDE = Path(__file__).parents[2] / "docs" / "kubo.md"


def rights() -> dict[str, dict[str, object]]:
    """The authorizations that the guide tells people to set."""
    (found,) = re.findall(r"```json\n(\{\s*\"agent\".*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    read: dict[str, dict[str, object]] = json.loads(found)
    return read


def secret(name: str) -> Secret:
    """What somebody's Authorization header says."""
    return Secret(str(rights()[name]["AuthSecret"]).replace("bearer:", "Bearer ").encode())


@pytest.fixture
def node(node_factory: Callable[..., Node]) -> Node:
    """A node that knows an agent and whoever does retention."""
    return node_factory(authorizations=rights())


def opened(node: Node, name: str) -> closing[KuboStore]:
    """The node as somebody sees it."""
    return closing(KuboStore(Address("kubo", (node.api,)), authorization=secret(name)))


def backed_up(node: Node, cache: Path, tree: Path, count: int = 2) -> Rig:
    """Some backups by the agent; its rig is closed."""
    with opened(node, "agent") as store:
        machine = rig(cache, Retry(store, attempts=1))
        for number in range(count):
            write(tree, {"changing": b"%d" % number, "lasting": b"same" * 1000})
            made(machine.backup(tree))
    return machine


def test_an_agent_backs_up_and_restores(node: Node, tmp_path: Path) -> None:
    """With the agent's rights alone a repository is made, backed up to, verified and restored from."""
    tree = write(tmp_path / "tree", {"one": b"1" * 100_000, "deep/two": b"2"})
    with opened(node, "agent") as store:
        machine = rig(tmp_path / "cache", Retry(store, attempts=1))
        snapshot = made(machine.backup(tree))
        assert machine.verify().snapshots == 1
        machine.restore(snapshot, tmp_path / "out")
        assert store.usage().used > 0
    assert listing(tree) == listing(tmp_path / "out")


def test_an_agent_cannot_unpin(node: Node, tmp_path: Path) -> None:
    """The node refuses the agent's unpinning and collecting, the error names the call, and all pins stand."""
    backed_up(node, tmp_path / "cache", tmp_path / "tree")
    with opened(node, "agent") as store:
        pins = list(store.pins("pinfold/"))
        with pytest.raises(Refused, match=r"refuses pin/rm: the token is known there, but /api/v0/pin/rm is not among"):
            store.unpin([pins[0].root])
        with pytest.raises(Refused, match=r"refuses (pin/rm|repo/gc|files/stat)"):
            store.collect()
        assert pins == list(store.pins("pinfold/"))


def test_retention_unpins_and_collects(node: Node, tmp_path: Path) -> None:
    """Whoever does retention drops a snapshot and frees its blocks; the others are whole; it cannot put anything."""
    machine = backed_up(node, tmp_path / "cache", tmp_path / "tree")
    with opened(node, "retention") as store:
        oldest, newest = [pin.root for pin in store.pins("pinfold/") if "/full/" in pin.name]
        store.unpin([oldest])
        assert store.collect().freed_blocks > 0
        assert [newest] == [pin.root for pin in store.pins("pinfold/") if "/full/" in pin.name]
        with pytest.raises(Refused, match=r"refuses (add|dag/import)"):
            store.put([raw(b"a new block")])
    with opened(node, "agent") as store:
        machine.store = store
        report = machine.verify()
        assert (1, []) == (report.snapshots, list(report.damage))


def test_passing_pins_of_an_agent_are_left_to_retention(node: Node, tmp_path: Path) -> None:
    """An agent that may not unpin is as the guide has it: nobody is warned; its passing pins wait for a collection."""
    with opened(node, "agent") as store:
        machine = rig(tmp_path / "cache", Retry(store, attempts=1))
        made(machine.backup(write(tmp_path / "tree", {"one": b"1"})))
        assert len([name for name in node.pins().values() if name.startswith("pinfold-passing/")]) >= 1
        made(machine.backup(write(tmp_path / "tree", {"one": b"2"})))
        assert [] == store.warnings


def test_without_the_right_to_update_roots_are_walked(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent has no pin/update, which could unpin: large roots are pinned by a whole walk, and named as well."""
    monkeypatch.setattr(keep, "NAMED_BYTES", 0)
    with Proxy(node.api) as proxy:
        store = KuboStore(Address("kubo", (proxy.url,)), authorization=secret("agent"))
        with closing(store):
            machine = rig(tmp_path / "cache", Retry(store, attempts=1))
            for number in range(3):
                made(machine.backup(write(tmp_path / "tree", {"one": b"%d" % number})))
            assert len(machine.listed()) == 3
        assert proxy.counts.requests["/api/v0/pin/update"] == 1


@pytest.mark.parametrize(
    ("token", "told"),
    [(b"Bearer wrong", "either the token is unknown there, or"), (None, "no token is given; use PINFOLD_TOKEN_FILE")],
)
def test_a_wrong_token_is_told(node: Node, token: bytes | None, told: str) -> None:
    """A token that the node does not know, or none, is refused in one line that says what to look at."""
    authorization = None if token is None else Secret(token)
    with closing(KuboStore(Address("kubo", (node.api,)), authorization=authorization)) as store:
        with pytest.raises(Refused, match=f"refuses version: {told}") as caught:
            list(store.pins())
        assert "wrong" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_right_to_pin_is_a_right_to_unpin(node: Node, tmp_path: Path) -> None:
    """What the guide warns of: an agent that breaks off a second pin/add of a snapshot leaves it unpinned."""
    write(tmp_path / "tree", {f"file {number}": noise(number, 600_000) for number in range(20)})
    with opened(node, "agent") as store:
        machine = rig(tmp_path / "cache", Retry(store, attempts=1))
        root = str(made(machine.backup(tmp_path / "tree")).root)
    node.token = str(rights()["agent"]["AuthSecret"]).removeprefix("bearer:")
    for microseconds in range(100, 50_000, 100):
        with contextlib.suppress(RpcError):
            node.rpc("pin/add", arg=root, timeout=f"{microseconds}us")
        if root not in node.pins():
            break
    assert root not in node.pins()
