"""CAR files through pipes, lists of paths, and stores of several repositories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pinfold

if TYPE_CHECKING:
    from cli.conftest import Cli


def test_export_into_a_pipe(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """`pinfold export SNAPSHOT -` writes the CAR to stdout and nothing else; words go to stderr."""
    root = repo("backup", tree, "--json").document["sources"][0]["root"]
    repo("export", "latest", tmp_path / "file.car")
    words = [sys.executable, "-m", "pinfold", "export", "latest", "-", *repo.words]
    ran = subprocess.run(
        words, capture_output=True, check=True, env={"PYTHONPATH": str(Path(pinfold.__file__).parent.parent)}
    )
    assert (tmp_path / "file.car").read_bytes() == ran.stdout
    assert f"its root is {root}" in ran.stderr.decode()
    assert "both want stdout" in repo("export", "latest", "-", "--json", code=2).err


def test_listed_paths_that_do_not_exist(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """A listed path that is not there is a problem and 3; an empty list is refused."""
    (tmp_path / "list").write_text("etc/passwd\netc/nothing\n")
    for more in (["--dry-run"], []):
        ran = repo("backup", tree, "--name", "part", "--files-from", tmp_path / "list", *more, code=3)
        assert "etc/nothing: does not exist" in ran.err
    assert "passwd" in repo("ls", "-R", "latest:part").out
    (tmp_path / "list").write_text("\n")
    assert "the list is empty" in repo("backup", tree, "--files-from", tmp_path / "list", code=2).err


def test_another_repository_into_a_store(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """Import refuses another repository's snapshot, says what to do, and does it when told."""
    repo("backup", tree)
    other = repo.with_words("-r", tmp_path / "other", "--passphrase-file", tmp_path / "passphrase")
    made = other("init", "--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000", "--json").document["repository"]
    other("backup", tree)
    other("export", "latest", tmp_path / "other.car")
    assert f"--repository-id {made}" in repo("import", tmp_path / "other.car", code=2).err
    repo("snapshots")
    repo("import", tmp_path / "other.car", "--foreign")
    repo("ls", "latest", "--repository-id", made)


def test_the_cars_of_a_store(repo: Cli, tree: Path, tmp_path: Path) -> None:
    """A car of a folder store holds no snapshot as its root; its blocks are taken with --blocks-only."""
    repo("backup", tree)
    there = repo.with_words("-r", tmp_path / "there")
    first = next((tmp_path / "repo" / "cars").rglob("*.car"))
    assert "--blocks-only" in there("import", first, "--create", code=2).err
    assert 0 < there("import", first, "--blocks-only", "--json").document["new_bytes"] + 1
