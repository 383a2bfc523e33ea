"""Several repositories in one store, and stores that are not what was meant: what is chosen, and what is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli.test_flow import tree_of
from lab.liar import Liar
from lab.lies import refuses, says_json
from pinfold.cli.backup_summary import failed
from pinfold.config import SourceSettings
from pinfold.errors import Refused, Unavailable
from pinfold.store.layers import Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.conftest import Cli
    from lab.kubo import Node

CHEAP = ("--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000")


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where this machine keeps agent keys."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "pinfold"


@pytest.fixture
def service() -> Iterator[Liar]:
    """A pinning service on which nothing is pinned."""
    with Liar() as server:
        server.lie("GET /pins", says_json({"count": 0, "results": []}))
        yield server


def test_a_second_repository_in_a_store(
    cli: Cli, node: Node, keys: Path, tree: Path, identity: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Init says what else the store holds; the one agent key, passphrase or identity at hand chooses among them."""
    monkeypatch.setenv("PINFOLD_REPOSITORY", f"kubo+{node.api}")
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "correct horse")
    one = cli("init", *CHEAP, "--json").document
    monkeypatch.delenv("PINFOLD_PASSPHRASE")
    told = cli("init", "--recipient", identity[0]).out
    (key,) = keys.glob("*.agent")
    two = key.stem
    assert f"already held repository {one['repository']}" in told
    assert f"export PINFOLD_REPOSITORY_ID={two}" in told
    assert "keep the identities in a second place: without one of them" in told
    assert ([], True) == (one["beside"], one["repository"] != two)
    cli("backup", tree)
    assert [two, two] == [cli(*words, "--json").document["repository"] for words in (["status"], ["snapshots"])]
    cli("restore", "latest", keys.parent.parent / "out", "--identity", identity[1])
    assert tree_of(tree) == tree_of(keys.parent.parent / "out")
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "correct horse")
    assert one["repository"] == cli("status", "--json").document["repository"]
    monkeypatch.delenv("PINFOLD_PASSPHRASE")
    third = cli("init", "--recipient", identity[0], "--json").document
    assert sorted([one["repository"], two]) == third["beside"]
    told = cli("status", code=2).err
    assert f"holds several repositories: {', '.join(sorted([*third['beside'], third['repository']]))}" in told
    assert "export PINFOLD_REPOSITORY_ID=" in told


def test_which_store_holds_which(repo: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mirror whose stores hold different repositories each store is told with its own."""
    one = repo("snapshots", "--json").document["repository"]
    other = repo.with_words("-r", tmp_path / "other", "--passphrase-file", tmp_path / "passphrase")
    two = other("init", *CHEAP, "--json").document["repository"]
    monkeypatch.setenv("PINFOLD_MIRRORS", str(tmp_path / "other"))
    told = repo("snapshots", code=2).err
    assert f"{tmp_path / 'repo'} holds {one}; {tmp_path / 'other'} holds {two}" in told


def test_a_pinning_service_alone(cli: Cli, service: Liar, identity: tuple[str, Path]) -> None:
    """Neither does status send to init there, nor init make anything: both say what a service is for."""
    where = f"psa+{service.url}"
    told = cli("status", "-r", where, code=2).err
    assert ("pinfold init" in told, "make it a mirror" in told) == (False, True)
    assert "takes no blocks" in cli("init", where, "--recipient", identity[0], code=2).err


def test_the_main_store_is_no_target(repo: Cli, tmp_path: Path) -> None:
    """Replicating a store to itself is a mistake, and not told as success."""
    assert "is the main store itself" in repo("replicate", "--to", tmp_path / "repo", code=2).err


def test_tokens_are_not_shown_to_others(cli: Cli, node: Node, service: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of the settings is their far repository's; another store gets its own, or none, and refuses."""
    monkeypatch.setenv("PINFOLD_REPOSITORY", f"kubo+{node.api}")
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "correct horse")
    monkeypatch.setenv("PINFOLD_TOKEN", "of-the-node")
    cli("init", *CHEAP)
    service.lie("GET /pins", refuses(403, "who are you?"))
    ran = cli("replicate", "--to", f"psa+{service.url}", code=3)
    assert "was passed over, and lacks what it lacked before" in ran.err
    assert [False] == list({"Authorization" in request.headers for request in service.requests})
    (Path.cwd() / "its.token").write_text("its-own")
    (Path.cwd() / "its.token").chmod(0o600)
    (Path.cwd() / "pinfold.toml").write_text(f'[stores."psa+{service.url}"]\ntoken_file = "its.token"\n')
    cli("replicate", "--to", f"psa+{service.url}", code=3)
    assert "Bearer its-own" == service.requests[-1].headers["Authorization"]


def test_what_helps_is_told() -> None:
    """A store that went away gets the advice to run again, one that will not be there or refuses does not."""
    source = SourceSettings("home", Path("/home"))
    told = [failed(source, error)["error"]["message"] for error in (Unavailable("a"), Unreachable("b"), Refused("c"))]
    assert ["a; run it again: what was sent is found there", "b", "c"] == told


def test_a_car_that_is_cut_short(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """Of several files the one that is bad is named."""
    repo("backup", tree)
    repo("export", "latest", tmp_path / "good.car")
    (tmp_path / "torn.car").write_bytes((tmp_path / "good.car").read_bytes()[:-1000])
    told = repo("import", tmp_path / "good.car", tmp_path / "torn.car", code=4).err
    assert f"malformed CAR section of CAR file {tmp_path}/torn.car at byte" in told


def test_addresses_as_browsers_show_them(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """/ipfs/CID and ipfs://CID are the CID wherever a snapshot is named."""
    root = repo("backup", tree, "--json").document["sources"][0]["root"]
    for text in (f"/ipfs/{root}", f"ipfs://{root}", f"IPFS://{root}/"):
        assert root == repo("restore", text, tmp_path / "out", "--dry-run", "--json").document["snapshot"]
        assert [root] == [row["root"] for row in repo("status", text, "--json").document["snapshots"]]
    repo("restore", f"/ipfs/{root}/blocks", tmp_path / "out", code=2)
