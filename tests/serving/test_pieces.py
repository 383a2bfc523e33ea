"""Bodies piece by piece, and what errors mean: no server needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinfold.door import BadRequest
from pinfold.errors import (
    ConfigError,
    Corrupt,
    Full,
    Incomplete,
    KeyFailure,
    Malformed,
    Missing,
    PinfoldError,
    Refused,
    Unavailable,
)
from pinfold.serving import Route, Routes, failing
from pinfold.serving.pieces import Pieces

SIZES = st.one_of(st.integers(0, 64), st.sampled_from([16383, 16384, 16385, 65535, 65536, 200_000]))


@given(st.lists(SIZES, max_size=40))
def test_nothing_is_lost_or_moved(sizes: list[int]) -> None:
    """Whatever an iterator yields arrives in order; large pieces are handed on uncopied; no piece is empty."""
    made = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    pieces = Pieces(iter(made))
    found: list[bytes] = []
    while taken := pieces.take():
        assert all(taken)
        found += taken
    assert b"".join(made) == b"".join(found)
    assert [] == pieces.take()
    large = {id(piece) for piece in made if len(piece) >= 16384}
    assert large <= {id(piece) for piece in found}


def test_the_first_piece_comes_alone() -> None:
    """The beginning does not wait for what comes after it."""

    def body() -> object:
        yield b"first"
        raise AssertionError("asked too early")

    assert [b"first"] == Pieces(body()).take()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequest(418, "x"), 418),
        (Missing("x"), 404),
        (Corrupt("x"), 500),
        (Incomplete("x", []), 409),
        (Malformed("x", "y"), 422),
        (Full("x"), 507),
        (Unavailable("x"), 503),
        (Refused("x"), 403),
        (ConfigError(["x"]), 400),
        (KeyFailure("x"), 500),
        (PinfoldError("x"), 500),
        (ZeroDivisionError("x"), 500),
    ],
)
def test_every_error_has_a_status(error: Exception, status: int) -> None:
    """Each kind of error has its status, one line of text, and is never kept by a cache."""
    response, body = failing.answer(error)
    assert (status, 1) == (response.status, body.count(b"\n"))
    assert ("Cache-Control", "no-store") in response.headers
    assert isinstance(error, PinfoldError) == failing.is_expected(error)


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "page"), ("/x", "none"), ("/pins", "pins"), ("/pins/a", "pins"), ("/pinsa", "none"), ("/ipfs/", "ipfs"),
     ("/ipfs", "none"), ("/ipfs/a/pins", "ipfs"), ("/ipfs/own/a", "within"), ("//ipfs/a", "none")],
)  # fmt: skip
def test_the_longest_prefix_wins(path: str, name: str) -> None:
    """A path goes to the door with the longest prefix that it has, whole names only."""

    def door(_: object) -> object:
        raise AssertionError

    routes = Routes(
        [
            Route("/", door, "page", exact=True),  # type: ignore[arg-type]
            Route("/ipfs/", door, "ipfs"),  # type: ignore[arg-type]
            Route("/ipfs/own/", door, "within"),  # type: ignore[arg-type]
            Route("/pins", door, "pins"),  # type: ignore[arg-type]
        ]
    )
    assert name == routes.find(path).name
