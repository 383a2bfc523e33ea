"""The only type that secret bytes live in: it cannot be printed, pickled, or compared by time."""

from __future__ import annotations

import hmac
from typing import NoReturn, Self


class Secret:
    """Secret bytes.  `reveal()` is the one way out, and easy to search for."""

    __slots__ = ("_bytes",)

    def __init__(self, data: bytes) -> None:
        self._bytes = bytes(data)

    def reveal(self) -> bytes:
        """The bytes themselves, to be handed to a cipher or a sealed file and nowhere else."""
        return self._bytes

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]  # a hash would be a way to compare by time

    def __len__(self) -> int:
        return len(self._bytes)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self
