"""Tokens: made, found, forgotten; never readable in the database."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pinfold.errors import Refused, UsageError
from pinfold.pinning import Database, Token, Tokens
from pinfold.pinning.database import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 21, tzinfo=UTC)
        self.drawn = 0

    def now(self) -> datetime:
        """As it was set."""
        return self.time

    def monotonic(self) -> float:
        """Never used here."""
        return 0.0

    def random(self, size: int) -> bytes:
        """The next of a row."""
        self.drawn += 1
        return self.drawn.to_bytes(size, "big")


@pytest.fixture
def clock() -> Hands:
    """Time stands still unless it is set."""
    return Hands()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty one."""
    made = Database(tmp_path / "service")
    yield made
    made.close()


def test_a_token_is_found_by_itself_alone(database: Database, clock: Hands) -> None:
    """Whoever presents the whole token is known; with one letter less or more, or of another, nobody is."""
    tokens = Tokens(database, clock)
    made, secret = tokens.add("laptop", tenant="alice", scopes=["read", "add"])
    _, other = tokens.add("phone")
    text = secret.reveal().decode()
    assert made == tokens.find(text)
    assert Token(made.id, "laptop", "alice", frozenset({"read", "add"}), made.created) == made
    wrong = [text[:-1], text + "x", text.upper(), f"pinfold_{made.id}_{other.reveal().decode()[-43:]}"]
    wrong += ["", "_", "__", "pinfold_", f"pinfold_{made.id}_", "pinfold_%_x", "\0", "\udcff", "é" * 200]
    assert [None] * len(wrong) == [tokens.find(one) for one in wrong]


def test_a_token_ends_with_its_time(database: Database, clock: Hands) -> None:
    """It is good until the moment it was given, and not at it."""
    tokens = Tokens(database, clock)
    made, secret = tokens.add("guest", seconds=60)
    clock.time += timedelta(seconds=59.999)
    assert made == tokens.find(secret.reveal().decode())
    clock.time += timedelta(seconds=0.001)
    assert None is tokens.find(secret.reveal().decode())
    assert [made] == tokens.list()


def test_a_token_that_was_removed_is_none(database: Database, clock: Hands) -> None:
    """Removing takes one away and leaves the others."""
    tokens = Tokens(database, clock)
    first, secret = tokens.add("one")
    second, _ = tokens.add("two")
    assert tokens.remove(first.id)
    assert not tokens.remove(first.id)
    assert None is tokens.find(secret.reveal().decode())
    assert [second] == tokens.list()


def test_the_database_holds_no_token(database: Database, clock: Hands, tmp_path: Path) -> None:
    """Who reads the files cannot use what he finds, and nobody else may read them."""
    _, secret = Tokens(database, clock).add("one")
    tail = secret.reveal()[-43:]
    files = list((tmp_path / "service").iterdir())
    assert files
    assert not [file.name for file in files if tail in file.read_bytes()]
    assert {0o600} == {file.stat().st_mode & 0o777 for file in files if file.name == NAME}
    assert 0o700 == (tmp_path / "service").stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("label", "tenant", "scopes"),
    [("", "a", ["read"]), ("a" * 65, "a", ["read"]), ("a", "b c", ["read"]), ("a", "a", []), ("a", "a", ["write"])],
)
def test_words_that_make_no_sense(database: Database, label: str, tenant: str, scopes: list[str]) -> None:
    """Labels and tenants are words, and scopes are known ones."""
    with pytest.raises(UsageError):
        Tokens(database).add(label, tenant=tenant, scopes=scopes)


def test_a_database_that_is_none_is_told(tmp_path: Path) -> None:
    """Neither garbage, nor the database of another version, nor a folder that cannot be made is taken."""
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / NAME).write_bytes(b"this is no database, whatever its name may say" * 100)
    (tmp_path / "later").mkdir()
    later = sqlite3.connect(tmp_path / "later" / NAME)
    later.execute("PRAGMA user_version = 99")
    later.close()
    (tmp_path / "file").write_bytes(b"")
    for name in ("garbage", "later", "file"):
        with pytest.raises(Refused, match=name):
            Database(tmp_path / name)
