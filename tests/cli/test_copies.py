"""`status` and `replicate` on folders: a mirror that is not there, one that comes back, one that is added."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from cli.test_flow import tree_of

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli


@pytest.fixture
def three(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: Path) -> Cli:
    """A repository in three folders, with one snapshot."""
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "correct horse")
    monkeypatch.setenv("PINFOLD_REPOSITORY", str(tmp_path / "a"))
    monkeypatch.setenv("PINFOLD_MIRRORS", f"{tmp_path / 'b'} {tmp_path / 'c'}")
    cli("init", "--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000")
    cli("backup", tree, "--name", "tree")
    return cli


def states(document: Any) -> list[dict[str, str]]:  # noqa: ANN401  # JSON
    """Where each snapshot is in which state."""
    return [{place["where"][-1]: place["state"] for place in row["places"]} for row in document["snapshots"]]


def more(cli: Cli, tree: Path, name: str, code: int = 0) -> Any:  # noqa: ANN401  # JSON
    """Another file and a backup; what it told of it."""
    (tree / name).write_bytes(os.urandom(100_000))
    return cli("backup", tree, "--name", "tree", "--json", code=code).document["sources"][0]


def test_all_is_well(three: Cli) -> None:
    """Each copy of the newest snapshot is shown, and that it is safe; with a key by its source's name."""
    ran = three("status")
    assert 3 == ran.out.count("pinned")
    assert ["1 snapshot, all safe", "tree"] == [ran.out.splitlines()[-1], ran.out.splitlines()[1].split()[3]]
    row = three("status", "--json").document["snapshots"][0]
    assert (3, 3, False, "tree") == (row["copies"], row["wanted"], row["short"], row["source"])
    assert {place["since"][:2] for place in row["places"]} == {"20"}
    assert row["id"] == three("snapshots", "--json").document["snapshots"][0]["id"]


def test_nobody_is_asked_for_a_key(three: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status and replication need none; sources are told by their ids then."""
    monkeypatch.delenv("PINFOLD_PASSPHRASE")
    row = three("status", "--json").document["snapshots"][0]
    assert (None, 16) == (row["source"], len(row["source_id"]))
    assert [] == three("replicate", "--json").document["stores"][0]["pins"]


def test_a_disk_that_was_away(three: Cli, tree: Path, tmp_path: Path) -> None:
    """Backup and status tell what it lacks, with exit code 3; replicate mends it, and the copy restores alone."""
    (tmp_path / "b").rename(tmp_path / "away")
    told = more(three, tree, "new", code=3)
    assert (2, True) == (told["copies"], told["short_of_copies"])
    assert {"a": "pinned", "b": "failed", "c": "pinned"} == {p["where"][-1]: p["state"] for p in told["places"]}
    ran = three("status", code=3)
    assert "2 of 3 copies proved" in ran.err
    assert "is the disk mounted" in ran.err
    ran = three("replicate", code=3)
    assert "b was passed over" in ran.err
    (tmp_path / "away").rename(tmp_path / "b")
    both = three("status", "--all", "--json", code=3).document
    assert (False, ["pinned", "absent"]) == (both["safe"], [one["b"] for one in states(both)])
    dry = three("replicate", "-n", "--json").document["stores"][1]
    wet = three("replicate", "--json").document["stores"][1]
    assert dry == wet
    assert (1, True) == (len(wet["pins"]), 100_000 < wet["bytes"] < 130_000)
    assert three("status", "--all", "--json").document["safe"]
    assert "has all that it shall" in three("replicate").out
    alone = three.with_words("-r", tmp_path / "b", "--config", os.devnull)
    alone("restore", "latest", tmp_path / "back")
    assert tree_of(tree) == tree_of(tmp_path / "back")


def test_a_store_is_added(three: Cli, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new folder is made and filled with --create; as a mirror it is level from then on."""
    more(three, tree, "new")
    assert "--create" in three("replicate", "--create", code=2).err
    three("replicate", "--to", tmp_path / "d", code=2)
    made = three("replicate", "--to", tmp_path / "d", "--create", "--json").document
    assert (3, str(tmp_path / "a")) == (len(made["stores"][0]["pins"]), made["main"])
    monkeypatch.setenv("PINFOLD_MIRRORS", str(tmp_path / "d"))
    assert three("status", "--all", "--json").document["safe"]
    three("verify", "--read")


def test_only_some_snapshots(three: Cli, tree: Path, tmp_path: Path) -> None:
    """A named snapshot goes over alone with the keyring, and again costs nothing but a look."""
    more(three, tree, "new")
    taken = three("replicate", "latest", "--to", tmp_path / "d", "--create", "--json").document["stores"][0]
    assert [True, False] == ["/keyring/" in pin["name"] for pin in taken["pins"]]
    again = three("replicate", "latest", "--to", tmp_path / "d", "--json").document["stores"][0]
    assert (1, 0) == (len(again["pins"]), again["bytes"])
    assert "no snapshot" in three("replicate", "nothing", code=2).err


def test_what_was_forgotten_is_told_and_stays(three: Cli, tree: Path, tmp_path: Path) -> None:
    """A snapshot forgotten while a mirror was away stays there until somebody says what it shall be."""
    more(three, tree, "new")
    (tmp_path / "b").rename(tmp_path / "away")
    three("forget", "--keep-last", "1", code=1)
    (tmp_path / "away").rename(tmp_path / "b")
    ran = three("replicate")
    assert "has 1 snapshot that" in ran.err
    assert [{"a": "absent", "b": "pinned", "c": "absent"}, {"a": "pinned", "b": "pinned", "c": "pinned"}] == states(
        three("status", "--all", "--json", code=3).document
    )
    three("replicate", "--from", tmp_path / "b", "--to", tmp_path / "a", "--json")
    assert [2, 3] == [row["copies"] for row in three("status", "--all", "--json", code=3).document["snapshots"]]
    three("forget", "--keep-last", "1")
    assert three("status", "--all", "--json").document["safe"]


def test_one_store_has_nowhere_to_go(repo: Cli, tree: Path) -> None:
    """Without mirrors replicate asks for --to; status tells the one copy."""
    assert "no snapshots yet" in repo("status").out
    repo("backup", tree)
    assert "--to REPO" in repo("replicate", code=2).err
    assert [{"o": "pinned"}] == states(repo("status", "--json").document)
    assert 2 == repo("status", "latest", "--all", code=2).code


def test_waiting_until_it_is_safe(three: Cli, tree: Path, tmp_path: Path) -> None:
    """Status waits until the last copy is there, and no longer than it was told."""
    (tmp_path / "b").rename(tmp_path / "away")
    more(three, tree, "new", code=3)
    (tmp_path / "away").rename(tmp_path / "b")
    assert not three("status", "--wait", "1s", "--json", code=3).document["safe"]
    pins = [path for path in (tmp_path / "c" / "pins").rglob("*") if path.is_file()]
    (newest,) = [path for path in pins if not (tmp_path / "b" / path.relative_to(tmp_path / "c")).exists()]
    there = tmp_path / "b" / newest.relative_to(tmp_path / "c")
    late = threading.Timer(0.7, lambda: there.write_bytes(newest.read_bytes()))
    late.start()
    waited = three("status", "--wait", "1min", "--json").document
    late.join()
    assert waited["safe"]
