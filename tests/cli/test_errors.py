"""What goes wrong ends with its exit code and one line that says what, where, and what to do."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli.conftest import PASSPHRASE
from pinfold.cli import main
from sources.target_tree import NOBODY, as_nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.conftest import Cli


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["snapshots"], 2, "no repository given: use -r REPO"),
        (["snapshots", "-r", "nowhere"], 2, "is the disk mounted?"),
        (["snapshots", "-r", "kubo+ftp://host"], 2, "kubo+http://HOST:PORT or kubo+https://HOST"),
        (["snapshots", "-r", "kubo+http://me:secret@host"], 2, "an address holds no name and password"),
        (["snapshots", "-r", "kubo+http://host?netwrok=3"], 2, "there is no option 'netwrok'"),
        (["snapshots", "-r", "s3://bucket"], 2, "s3:// is no kind of store"),
        (["bakcup", "x"], 2, "did you mean backup?"),
        (["backup", "--exlude", "x"], 2, "--exclude"),
        (["backup"], 2, "give a PATH, the NAME of a source, or --all"),
        (["backup", "--all"], 2, "there is no source in pinfold.toml"),
        (["backup", "nothing"], 2, "'nothing' is neither there nor a source"),
        (["backup", ".", "--interval", "fortnight"], 2, "is no duration"),
        (["backup", ".", "--exclude-larger-than", "big"], 2, "is no size"),
        (["init", "x", "--recipient", "age1nonsense"], 2, "age1nonsense"),
        (["init", "x", "--recipient-file", "gone"], 2, "--recipient-file gone: cannot be read"),
        (["init", "x"], 2, "no terminal to ask for passphrase"),
        (["init", "x", "--kdf", "pbkdf2-sha256", "--kdf-memory", "1"], 2, "--kdf-memory is for argon2id"),
        (["init", "x", "--kdf-iterations", "65"], 2, "out of bounds"),
        (["key", "shwo"], 2, "did you mean show?"),
        (["key", "add"], 2, "give one RECIPIENT, or --passphrase"),
        (["forget", "abcd", "--keep-last", "1"], 2, "not both"),
        (["restore", "latest", "x", "--delete", "--include", "y"], 2, "--delete would remove"),
        (["find", "[", "-r", "x"], 2, "pinfold: pattern '['"),
        (["import", "gone.car", "-r", "x"], 2, "cannot read gone.car"),
        (["snapshots", "--config", "gone.toml"], 2, "gone.toml: cannot be read"),
        (["completion", "tcsh"], 2, "tcsh"),
    ],
)
def test_usage(cli: Cli, words: list[str], code: int, told: str) -> None:
    """Words that make no sense end with 2 and say which."""
    ran = cli(*words, code=code)
    assert told in ran.err
    assert "" == ran.out
    assert "Traceback" not in ran.err


def test_usage_with_a_repository(repo: Cli, tree: Path) -> None:
    """Snapshots, sources and paths that are not there are told, with what was probably meant."""
    assert "no snapshot" in repo("ls", "latest", code=2).err
    repo("backup", tree, "--name", "website")
    assert "did you mean latest:website?" in repo("ls", "latest:websiet", code=2).err
    assert "did you mean website?" in repo("snapshots", "--source", "websiet", code=2).err
    assert "there is no 'nope' in snapshot" in repo("ls", "latest", "nope", code=2).err
    assert "no snapshot 'abcdefgh'" in repo("restore", "abcdefgh", "x", code=2).err
    assert "this policy keeps nothing" in repo("forget", code=2).err
    assert "is there already" in repo("export", "latest", tree / "link", code=2).err
    assert "there is no slot and no agent 'x'" in repo("key", "remove", "x", code=2).err
    assert "last slot cannot be removed" in repo("key", "remove", "passphrase", code=2).err
    repo("init", code=1)


def test_keys(repo: Cli, keyless: Cli, tree: Path, tmp_path: Path, identity: tuple[str, Path]) -> None:
    """A wrong passphrase, a stranger's identity and no key at all are 5, and say how a key is given."""
    repo("backup", tree, "--name", "tree")
    (tmp_path / "wrong").write_text("wrong")
    where = ("-r", tmp_path / "repo")
    assert (
        "opens no slot" in repo.with_words(*where, "--passphrase-file", tmp_path / "wrong")("ls", "latest", code=5).err
    )
    assert "opens no slot" in repo.with_words(*where, "--identity", identity[1])("ls", "latest", code=5).err
    for words in (["ls", "latest"], ["backup", str(tree)], ["key", "rotate"], ["verify", "--decrypt", "5"]):
        assert "--passphrase-file FILE" in keyless(*words, code=5).err
    keyless("export", "latest:tree", tmp_path / "x.car", code=5)
    keyless("export", "latest", tmp_path / "x.car")
    assert "--source NAME needs" in keyless("snapshots", "--source", "tree", code=5).err
    assert "--tag needs" in keyless("snapshots", "--tag", "x", code=5).err
    both = repo.with_words(*where, "--identity", identity[1], "--passphrase-file", tmp_path / "passphrase")
    both("ls", "latest")


def test_damage(repo: Cli, keyless: Cli, tree: Path, tmp_path: Path, damage: Callable[[], None]) -> None:
    """Damage is 4: verify names blocks and files, restore names files and writes the others."""
    repo("backup", tree, "--name", "tree")
    damage()
    told = keyless("verify", "--read", "--json", code=4).document
    assert told["damage_count"] == len(told["damage"]) > 0
    assert "damage" in keyless("verify", "--read", code=4).err
    assert "damaged in" in keyless("verify", "--at-rest", code=4).out
    assert [] != repo("verify", "--read", "--json", code=4).document["files"]
    done = repo("restore", "latest", tmp_path / "back", "--json", code=4).document
    assert done["damaged_count"] == len(done["damaged"]) > 0
    named = {one["path"] for one in done["damaged"]}
    for path in tree.rglob("*"):
        restored = tmp_path / "back" / path.relative_to(tree)
        if path.is_file() and str(path.relative_to(tree)) not in named:
            assert path.read_bytes() == restored.read_bytes()
    assert "damaged in the store" in repo("restore", "latest", tmp_path / "again", code=4).err


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that a stranger may enter: pytest's own are closed to others."""
    made = Path(tempfile.mkdtemp(prefix="pinfold-test-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def test_what_cannot_be_read_is_3(repo: Cli, open_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is named and makes the exit code 3; the others are saved."""
    tree = open_place / "tree"
    tree.mkdir()
    (tree / "mine").write_text("mine")
    (tree / "yours").write_text("yours")
    (tree / "yours").chmod(0)
    secret = open_place / "passphrase"
    secret.write_text(PASSPHRASE)
    words = ("-r", open_place / "repo", "--passphrase-file", secret, "--cache", open_place / "cache")
    there = repo.with_words(*words)
    there("init", "--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000")
    there("backup", tree / "mine", "--json")
    if os.geteuid() == 0:
        for path in [open_place, *open_place.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    monkeypatch.chdir(open_place)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(open_place))

    def save() -> tuple[int, str]:
        with contextlib.redirect_stderr(io.StringIO()) as told:
            return main(["backup", str(tree), "--name", "tree", *map(str, words)]), told.getvalue()

    code, told = as_nobody(save)
    assert 3 == code
    assert "pinfold: tree: 1 problem:\npinfold:   yours: " in told
    assert "mine\n" == there("ls", "latest:tree").out
    assert 1 == there("snapshots", "--source", "tree", "--json").document["snapshots"][0]["problem_count"]


def test_no_secret_is_ever_said(repo: Cli, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither passphrases nor identities appear in what is printed, or in what is stored."""
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "the-secret-word")
    elsewhere = repo.with_words("-r", tmp_path / "second")
    said = []
    for words in (["init", "--kdf-memory", "8"], ["backup", str(tree)], ["ls", "latest"], ["key", "show"], ["verify"]):
        for more in ([], ["--json"], ["-v", "--debug"]):
            if words[0] == "init" and more:
                continue
            ran = elsewhere(*words, *more)
            said.append(ran.out + ran.err)
    monkeypatch.setenv("PINFOLD_PASSPHRASE", "another-secret-word")
    ran = elsewhere("ls", "latest", "--debug", code=5)
    said.append(ran.out + ran.err)
    assert "Traceback" in ran.err
    assert [] == [text for text in said if "secret-word" in text]
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file() and b"secret-word" in path.read_bytes()]


def test_an_unexpected_error_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect ends with 1, one line, and the way to its trace."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("never")

    monkeypatch.setattr("pinfold.config.load", broken)
    ran = cli("snapshots", code=1)
    assert "pinfold: internal error (ZeroDivisionError): never; run again with --debug for the trace\n" == ran.err
    assert "Traceback" in cli("snapshots", "--debug", code=1).err
