"""Who may open and sign, and which snapshots stay."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.conftest import Cli


def test_recipients_come_and_go(repo: Cli, tree: Path, tmp_path: Path, identity: tuple[str, Path]) -> None:
    """An added recipient opens the repository; a removed one opens neither it nor any pinned snapshot."""
    repo("backup", tree, "--name", "tree")
    added = repo("key", "add", identity[0], "--label", "alice", "--json").document
    assert (1, 0) == (added["sequence"], added["rerooted"])
    alice = repo.with_words("-r", tmp_path / "repo", "--identity", identity[1])
    alice("ls", "latest")
    before = repo("snapshots", "--json").document["snapshots"][0]
    repo("key", "rotate")
    removed = repo("key", "remove", "alice", "--json").document
    assert (3, 1) == (removed["sequence"], removed["rerooted"])
    alice("ls", "latest", code=5)
    after = repo("snapshots", "--json").document["snapshots"][0]
    assert before["id"] == after["id"]
    assert before["root"] != after["root"]
    repo("restore", "latest", tmp_path / "back")


def test_passphrase_changes(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """After a change only the new passphrase opens; a second one may be added."""
    repo("backup", tree)
    (tmp_path / "new").write_text("new words\n")
    (tmp_path / "third").write_text("third words\n")
    cheap = ["--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000"]
    repo("key", "passphrase", "--new-passphrase-file", tmp_path / "new", *cheap)
    repo("ls", "latest", code=5)
    new = repo.with_words("-r", tmp_path / "repo", "--passphrase-file", tmp_path / "new")
    new("ls", "latest")
    new("key", "add", "--new-passphrase-file", tmp_path / "third", "--label", "safe", *cheap)
    repo.with_words("-r", tmp_path / "repo", "--passphrase-file", tmp_path / "third")("ls", "latest")
    told = new("key", "rotate", "--json", code=3).document
    assert (["safe"], 1) == (told["left"], told["generation"])


def test_agents_come_and_go(repo: Cli, keyless: Cli, tree: Path, tmp_path: Path) -> None:
    """A new agent's key saves and opens nothing; once removed it saves no more, and its snapshots stay."""
    key = tmp_path / "web1.agent"
    repo("key", "new-agent", "web1", "--output", key)
    assert "is there already" in repo("key", "new-agent", "web1", "--output", key, code=2).err
    agent = repo.with_words("-r", tmp_path / "repo", "--agent-key", key)
    agent("backup", tree, "--name", "tree")
    agent("ls", "latest", code=5)
    assert "yes" in keyless("key", "show").out
    repo("key", "remove", "web1")
    assert "not allowed to sign" in agent("backup", tree, code=5).err
    repo("restore", "latest:tree", tmp_path / "back")
    keyless("verify")


def test_rules_of_retention(repo: Cli, keyless: Cli, tree: Path) -> None:
    """Rules keep per source and by tag, a dry run removes nothing, and the newest stays."""
    for name in ("one", "two"):
        for tag in ("keep", "other", "other"):
            repo("backup", tree, "--name", name, "--tag", tag)
    dry = repo("forget", "--keep-last", "1", "--keep-tag", "keep", "--dry-run", "--json").document
    assert (2, 6) == (dry["removed"], len(repo("snapshots", "--json").document["snapshots"]))
    assert ["one", "two"] == sorted(one["source"] for one in dry["sources"])
    assert 5 == keyless("forget", "--keep-tag", "keep", "--json", code=5).error["code"]
    assert 1 == repo("forget", "--keep-last", "2", "--source", "one", "--json").document["removed"]
    shown = keyless("forget", "--keep-within", "1d", "--keep-daily", "1").out
    assert "forgot 0 snapshots" in shown
    done = keyless("forget", "--keep-last", "1", "--gc", "--json").document
    assert (3, False) == (done["removed"], done["gc"]["dry_run"])
    left = repo("snapshots", "--json").document["snapshots"]
    assert ["one", "two"] == sorted(one["source"] for one in left)
    named = repo("forget", left[0]["root"][-10:], left[1]["id"], "--json").document
    assert 2 == named["removed"]
    assert "no snapshots yet" in repo("snapshots").out


def test_settings_give_the_rules(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """[keep] of pinfold.toml is the policy where no option says otherwise."""
    for _ in range(3):
        repo("backup", tree, "--name", "tree")
    (tmp_path / "cwd" / "pinfold.toml").write_text("[keep]\nlast = 2\n")
    assert 1 == repo("forget", "--json").document["removed"]


def test_a_damaged_snapshot_can_be_named(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """A snapshot that cannot be loaded is listed as damaged, verified, kept by rules, and forgotten by name."""
    root = repo("backup", tree, "--name", "tree", "--json").document["sources"][0]["root"]
    good = repo("backup", tree, "--name", "tree", "--json").document["sources"][0]["root"]
    saved = tmp_path / "good.car"
    repo("export", good, saved)
    shutil.rmtree(tmp_path / "repo" / "cars")
    (tmp_path / "repo" / "cars").mkdir()
    for index in (tmp_path / "repo").glob("index.db*"):
        index.unlink()
    repo("import", saved)
    assert [root] == [one["root"] for one in repo("snapshots", "--json", code=4).document["damaged"]]
    assert 0 < repo("verify", root, "--json", code=4).document["damage_count"]
    assert 0 == repo("forget", "--keep-last", "1", "--json", code=3).document["removed"]
    assert 1 == repo("forget", root, "--json").document["removed"]
    repo("verify", "--read", "latest")


def test_mirrors_take_every_pin(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """With mirrors in the settings every copy restores by itself."""
    (tmp_path / "cwd" / "pinfold.toml").write_text(f'mirrors = ["{tmp_path}/second"]\nmin_copies = 2\n')
    Path(tmp_path / "cwd" / "repo").mkdir()
    where = repo.with_words("-r", tmp_path / "first", "--passphrase-file", tmp_path / "passphrase")
    where("init", "--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000")
    assert 2 == where("backup", tree, "--json").document["sources"][0]["copies"]
    (tmp_path / "cwd" / "pinfold.toml").unlink()
    second = repo.with_words("-r", tmp_path / "second", "--passphrase-file", tmp_path / "passphrase")
    second("restore", "latest", tmp_path / "back")
    second("verify", "--read")
