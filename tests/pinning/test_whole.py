"""A repository mirrored to a friend's pinning service, by the commands alone, and restored from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pinfold.pinning import Database, Tokens
from pinfold.store import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).resolve().parent.parent.parent / "src"
COMMAND = [sys.executable, "-m", "pinfold"]
CHEAP = ("--kdf", "pbkdf2-sha256", "--kdf-iterations", "10000")


class Home:
    """Where commands run: a folder of their own, and a passphrase."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = {"HOME": str(folder), "PYTHONPATH": str(SOURCE), "PINFOLD_PASSPHRASE": "words"}
        self.environment = {**os.environ, **own}

    def run(self, *words: object, **variables: str) -> str:
        """A command that ends well, and what it prints."""
        environment = {**self.environment, **variables}
        command = [*COMMAND, *map(str, words)]
        done = subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def serving(self, *words: object) -> Iterator[str]:
        """`pinfold serve` on a port of its own; gives its URL."""
        command = [*COMMAND, "serve", "--listen", "127.0.0.1:0", "--json", *map(str, words)]
        with ExitStack() as stack:
            log = stack.enter_context((self.folder / "serve.log").open("ab"))
            process = stack.enter_context(
                subprocess.Popen(
                    command, env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=log, text=True
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["listening"][0]

    def token(self, service: Path) -> str:
        """A token for the service whose data are there, also in the file `token`."""
        with closing(Database(service)) as database:
            text = Tokens(database).add("mine")[1].reveal().decode()
        file = self.folder / "token"
        file.touch(0o600)
        file.write_text(text)
        return text


def contents(folder: Path) -> dict[str, bytes]:
    """Names and bytes of the files in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_friend_keeps_a_copy(tmp_path: Path) -> None:
    """Snapshots are fetched by his service as they are made, are dropped as they are, and restored from him alone."""
    home, documents, mine, his = Home(tmp_path), tmp_path / "documents", tmp_path / "mine", tmp_path / "his"
    documents.mkdir()
    (documents / "large").write_bytes(os.urandom(5 << 20))
    for place in (mine, his):
        home.run("init", place, *CHEAP)
    token = home.token(tmp_path / "pins")
    with ExitStack() as stack:
        origin = stack.enter_context(home.serving("-r", mine))
        service = stack.enter_context(
            home.serving("-r", his, "--pinning-service", tmp_path / "pins", "--private-origins")
        )
        copy = f"psa+{service}?origins={origin}&gateway={service}&wait=60"
        (tmp_path / "pinfold.toml").write_text(
            f'repository = "{mine}"\nmirrors = ["{copy}"]\nmin_copies = 2\n[stores."{copy}"]\ntoken_file = "token"\n'
        )
        for text in ("one", "two"):
            (documents / "small").write_text(text)
            home.run("backup", documents)
        assert 4 == home.run("status", "--all").count(" pinned ")
        home.run("forget", "--keep-last", "1")
        (tmp_path / "pinfold.toml").unlink()
        there = f"psa+{service}?gateway={service}"
        home.run("restore", "latest", tmp_path / "restored", "-r", there, PINFOLD_TOKEN=token)
    assert contents(documents) == contents(tmp_path / "restored")
    kept = FolderStore(his)
    snapshots = [pin.name for pin in kept.pins() if "/full/" in pin.name]
    kept.close()
    assert 1 == len(snapshots)
