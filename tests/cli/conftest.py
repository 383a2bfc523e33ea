"""A command line to call in this process, and repositories to call it on."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyrage
import pytest

from pinfold.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PASSPHRASE = "correct horse battery staple"  # noqa: S105  # of these tests alone


@dataclass(frozen=True)
class Ran:
    """How a call ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401  # JSON
        """The one JSON object on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:  # noqa: ANN401  # JSON
        """The error on stderr, as --json writes it."""
        return json.loads(self.err)["error"]


class Cli:
    """Runs commands with some words before each."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        self._capsys = capsys
        self.words = words

    def __call__(self, *words: object, code: int = 0) -> Ran:
        """Run and compare the exit code."""
        self._capsys.readouterr()
        ended = main([*map(str, words), *self.words])
        said = self._capsys.readouterr()
        assert code == ended, said
        return Ran(ended, said.out, said.err)

    def with_words(self, *words: object) -> Cli:
        """One that says other words each time."""
        return Cli(self._capsys, *map(str, words))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The bare command line, in an empty folder."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return Cli(capsys)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree: text, an empty file, a folder within, a symlink, a large file, an odd name."""
    root = tmp_path / "tree"
    (root / "etc" / "ssh").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("root:x:0:0\n")
    (root / "etc" / "ssh" / "config").write_text("Host *\n")
    (root / "etc" / "empty").touch()
    (root / "link").symlink_to("etc/passwd")
    (root / "large.bin").write_bytes(random.Random(1).randbytes(3 << 20))
    (root / "etc" / "od\x1bd\n").write_text("odd")
    return root


@pytest.fixture
def repo(cli: Cli, tmp_path: Path) -> Cli:
    """The command line on a repository that a passphrase opens; stretching is cheap."""
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    secret.chmod(0o600)
    made = cli.with_words("-r", tmp_path / "repo", "--passphrase-file", secret)
    made("init", "--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000")
    return made


@pytest.fixture
def keyless(repo: Cli, tmp_path: Path) -> Cli:
    """The same repository without its passphrase."""
    return repo.with_words("-r", tmp_path / "repo")


@pytest.fixture
def identity(tmp_path: Path) -> tuple[str, Path]:
    """A recipient, and the file of its identity."""
    made = pyrage.x25519.Identity.generate()
    path = tmp_path / "identity.txt"
    path.write_text(f"# created: never\n{made}\n")
    path.chmod(0o600)
    return str(made.to_public()), path


@pytest.fixture
def damage(tmp_path: Path) -> Callable[[], None]:
    """Turn bytes over in the middle of the largest car."""

    def flip() -> None:
        car = max((tmp_path / "repo" / "cars").glob("*.car"), key=lambda path: path.stat().st_size)
        data = bytearray(car.read_bytes())
        for at in range(len(data) // 4, len(data), len(data) // 4):
            data[at] ^= 0xFF
        car.write_bytes(data)

    return flip
