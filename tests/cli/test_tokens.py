"""`pinfold token add` at the command line: how long a token is good."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Cli


def test_the_end_of_a_token_is_told(cli: Cli, tmp_path: Path) -> None:
    """Who makes a token reads till when it is good, beside the token: a bare 5 is five seconds."""
    made = cli("token", "add", "a", "--pinning-service", tmp_path / "pins", "--expires", "5")
    shown = cli("token", "list", "--pinning-service", tmp_path / "pins", "--json").document["tokens"]
    assert f"It is good until {shown[0]['expires']}." in made.err
    made = cli("token", "add", "b", "--pinning-service", tmp_path / "pins")
    assert "It is good until it is removed." in made.err
    assert 1 == made.out.count("\n")
