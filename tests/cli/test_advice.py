"""What people are told to do next is what helps."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pinfold
from pinfold.cli import output

if TYPE_CHECKING:
    import pytest

    from cli.conftest import Cli


def test_a_narrow_terminal_keeps_id_and_time() -> None:
    """Columns go in their order until the rest fits; those not named stay."""
    columns = ["id", "time", "~source", ">stored", "agent"]
    row = ["x" * 10, "y" * 19, "host:/a/long/path", "1.00 MiB", "owner"]
    drop = ("stored", "agent", "source")
    assert (columns, [row]) == output.fitting(columns, [row], drop, 80)
    assert ["id", "time", "~source", "agent"] == output.fitting(columns, [row], drop, 55)[0]
    assert (["id", "time"], [row[:2]]) == output.fitting(columns, [row], drop, 40)


def test_the_id_that_is_shown_stays(repo: Cli, tree: Path, identity: tuple[str, Path]) -> None:
    """The table shows the end of the id, which any command takes, also when keys changed."""
    repo("backup", tree)
    shown = repo("snapshots").out.splitlines()[1].split()[0]
    assert repo("snapshots", "--json").document["snapshots"][0]["id"].endswith(shown)
    repo("key", "add", identity[0], "--label", "alice")
    repo("key", "remove", "alice")
    repo("ls", shown)


def test_init_says_where_only_if_need_be(repo: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command names the repository unless the settings do."""
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "words")
    cheap = ["--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000"]
    bare = repo.with_words()
    assert f"pinfold backup PATH -r {tmp_path}/a" in bare("init", tmp_path / "a", *cheap).out
    assert f"pinfold backup PATH -r {tmp_path}/b" in bare("init", "-r", tmp_path / "b", *cheap).out
    monkeypatch.setenv("PINFOLD_REPOSITORY", str(tmp_path / "c"))
    assert bare("init", *cheap).out.endswith("next: pinfold backup PATH\n")


def test_agent_keys_are_found(repo: Cli, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent key of the repository in the usual folder counts under any name; without one the way is named."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    where = repo.with_words("-r", tmp_path / "repo")
    assert "--agent-key FILE" in where("backup", tree, code=5).err
    folder = tmp_path / "config" / "pinfold"
    folder.mkdir(parents=True)
    (folder / "other.agent").write_text("{}")
    repo("key", "new-agent", "web1", "--output", folder / "web1.agent")
    assert "--output" in repo("key", "new-agent", "web1", "--output", folder / "web1.agent", code=2).err
    where("backup", tree)


def test_the_advice_after_rotation_works(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """The command that rotation names makes the key, though the old one lies here still."""
    repo("key", "new-agent", "web1")
    told = repo("key", "rotate").out
    words = told.partition("pinfold key new-agent ")[2].split()
    repo("key", "new-agent", *words)
    repo.with_words("-r", tmp_path / "repo", "--agent-key", words[-1])("backup", tree)


def test_secrets_that_others_may_read(repo: Cli, tmp_path: Path) -> None:
    """A passphrase file that others may read is warned of once."""
    (tmp_path / "passphrase").chmod(0o644)
    assert 1 == repo("snapshots").err.count("holds a secret and others may read it: chmod 600")
    (tmp_path / "passphrase").chmod(0o600)
    assert "holds a secret" not in repo("snapshots").err


def test_a_secret_key_is_no_recipient(cli: Cli, identity: tuple[str, Path]) -> None:
    """An identity given as a recipient is refused and not said again."""
    secret = identity[1].read_text().splitlines()[-1]
    told = cli("init", "x", "--recipient", secret, code=2).err
    assert "give its public half" in told
    assert secret[:16] not in told


def test_an_unmounted_source_is_warned_of(repo: Cli, tree: Path) -> None:
    """A source whose files are all gone is saved as it is, and warned of."""
    repo("backup", tree, "--name", "tree")
    shutil.rmtree(tree)
    tree.mkdir()
    assert "is its disk mounted?" in repo("backup", tree, "--name", "tree").err
    assert "cannot be empty" in repo("backup", tree, "--tag", "", code=2).err


def test_patterns_that_fit_nothing(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """A restore of nothing is 3 and says where paths begin; ls says so, too."""
    repo("backup", tree)
    assert "count from the saved folder" in repo("restore", "latest", tmp_path / "b", "--include", "/x", code=3).err
    assert "count from the saved folder" in repo("ls", "latest", str(tree), code=2).err


def test_names_are_said_once() -> None:
    """A name that both what happened and why begin with is not said twice."""
    assert "snapshot x is unread: is forged" == output.without_echo("snapshot x is unread", "snapshot x is forged")
    assert "snapshot x is kept: block y is gone" == output.without_echo("snapshot x is kept", "block y is gone")


def test_damage_is_4(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """A repository whose blocks are damaged or missing is damaged, not closed, and gc frees nothing then."""
    repo("backup", tree)
    car = max((tmp_path / "repo" / "cars").rglob("*.car"), key=lambda path: path.stat().st_size)
    data = car.read_bytes()
    car.write_bytes(bytes(len(data)))
    assert "nothing was freed" in repo("gc", code=4).err
    for car in (tmp_path / "repo" / "cars").rglob("*.car"):
        car.unlink()
    assert "can be read" in repo("ls", "latest", code=4).err


def test_sigterm_is_143(repo: Cli, tmp_path: Path) -> None:
    """SIGTERM ends a run with 143 and one line."""
    fifo = tmp_path / "list"
    os.mkfifo(fifo)
    environment = dict(os.environ, PYTHONPATH=str(Path(pinfold.__file__).parent.parent))
    words = [sys.executable, "-m", "pinfold", "backup", str(tmp_path), "--files-from", str(fifo), *repo.words]
    with (
        subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as running,
        fifo.open("wb"),
    ):
        running.send_signal(signal.SIGTERM)
        assert running.stderr is not None
        told = running.stderr.read()
    assert (143, 1) == (running.returncode, told.count("\n"))
