"""Stores opened by their addresses: what was probably meant, tokens as people write them, and who is told of a wait."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from lab.liar import Liar
from lab.lies import refuses, says_json
from pinfold.config import SecretSource, load
from pinfold.errors import UsageError
from pinfold.wiring.secrets import authorization
from pinfold.wiring.stores import one_store

if TYPE_CHECKING:
    from pathlib import Path

    from lab.liar import Answer, Request


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("127.0.0.1:5001", r"was kubo\+http://127.0.0.1:5001 meant\? A folder of that name is file:///"),
        ("there/localhost:9094", r"was cluster\+http://localhost:9094 meant\?"),
        ("/ip4/127.0.0.1/tcp/5001", r"was kubo\+http://127.0.0.1:5001 meant\?"),
    ],
)
def test_a_far_store_without_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str, *, create: bool
) -> None:
    """A host with a port is no folder that is away, and none that is made: what was meant is told."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=told):
        one_store(load({}, {}, tmp_path), text, create=create)
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_looks_like_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of such a name can be made by its whole path, and opened by its name once it is there."""
    monkeypatch.chdir(tmp_path)
    settings = load({}, {}, tmp_path)
    for where, create in ((f"file://{tmp_path}/host:5001", True), ("host:5001", False)):
        with closing(one_store(settings, where, create=create)) as store:
            assert [] == list(store.pins())


def test_whoever_waits_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While a store that does not answer is tried again, a line on a logger of its own says so."""

    def starting(request: Request) -> Answer:
        is_first = len(liar.requests) == 1
        return (refuses(503, "starting") if is_first else says_json({"Version": "0.42.0"}))(request)

    with Liar() as liar:
        liar.lie("version", starting)
        liar.lie("pin/ls", says_json({"Keys": {}}))
        with closing(one_store(load({}, {}, tmp_path), f"kubo+{liar.url}", create=False)) as store:
            assert [] == list(store.pins())
    expected = f"pinfold: {liar.url} answers 503: starting; trying again for 15 s"
    assert [("pinfold.waiting", logging.WARNING, expected)] == caplog.record_tuples


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("s3cret", b"Bearer s3cret"),
        ("bearer:s3cret", b"Bearer s3cret"),
        ("Bearer s3cret\n", b"Bearer s3cret"),
        ("bearer  a:b", b"Bearer a:b"),
        ("basic:me:pass word", b"Basic bWU6cGFzcyB3b3Jk"),
        ("Basic bWU6cGFzcyB3b3Jk", b"Basic bWU6cGFzcyB3b3Jk"),
    ],
)
def test_tokens(written: str, sent: bytes) -> None:
    """A token is one word, or what the header holds, copied whole."""
    made = authorization(SecretSource("value", (written,), "PINFOLD_TOKEN"))
    assert made is not None
    assert sent == made.reveal()


@pytest.mark.parametrize("written", ["two words", "Bearer two words", "Token s3cret", "", "bearer:", "sécret"])
def test_what_is_no_token(written: str) -> None:
    """What no header can hold is refused with where it came from, and not repeated."""
    with pytest.raises(UsageError, match=r"^PINFOLD_TOKEN: is no token: one word") as refused:
        authorization(SecretSource("value", (written,), "PINFOLD_TOKEN"))
    assert "cret" not in str(refused.value)
