"""One question about many things, asked as many at a time as a crew has hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pinfold.store.crew import Crew

_T = TypeVar("_T")
_U = TypeVar("_U")


def together(crew: Crew, question: Callable[[_T], _U], things: Iterable[_T]) -> list[_U]:
    """The answers, in the order of `things`.  Raises what the first question raised that did."""
    asked = [crew.submit(question, thing) for thing in things]
    return [future.result() for future in asked]
