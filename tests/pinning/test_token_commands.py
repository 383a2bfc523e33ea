"""`pinfold token`: made, shown and taken away while a service runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest

from pinfold.cli.token import token
from pinfold.errors import UsageError
from pinfold.pinning import Options
from pinfold.store import MemoryStore
from pinning.served import Client, running

if TYPE_CHECKING:
    from pathlib import Path


class Said:
    """Runs `pinfold token` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._folder = folder

    def __call__(self, *words: str) -> str:
        """What it prints."""
        token.main([*words, "--pinning-service", str(self._folder)], standalone_mode=False)
        return self._capsys.readouterr().out


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Said:
    """The commands over an empty folder."""
    return Said(capsys, tmp_path / "service")


def test_a_token_opens_a_running_service(said: Said, tmp_path: Path) -> None:
    """What is printed is the token; when it is removed the service knows it no more."""
    with running(MemoryStore(), tmp_path / "service", Options()) as (_, client):
        text = said("add", "laptop").strip()
        other = Client(client.url, text)
        assert 200 == other.list().status
        assert text not in said("list")
        said("remove", text.split("_")[1])
        assert 401 == other.list().status


def test_what_a_token_may_do_is_shown(said: Said) -> None:
    """Label, tenant, scopes and end, as they were given."""
    made = json.loads(said("add", "agent", "--scope", "add", "--tenant", "alice", "--expires", "2d", "--json"))
    shown = json.loads(said("list", "--json"))["tokens"]
    assert [{key: value for key, value in made.items() if key != "token"}] == shown
    assert ("agent", "alice", ["add"]) == (made["label"], made["tenant"], made["scopes"])
    assert made["created"] < made["expires"]
    assert "alice" in said("list")


def test_mistakes_are_told(said: Said) -> None:
    """A folder without a service, a scope or an id that is none."""
    with pytest.raises(UsageError, match="no pinning service"):
        said("list")
    with pytest.raises(UsageError, match="write"):
        said("add", "x", "--scope", "write")
    with pytest.raises(UsageError, match="nothing was removed"):
        said("remove", "none")
    with pytest.raises(click.UsageError):
        said("remove")
