"""Content-defined chunking: FastCDC, minimum 128 KiB, target 512 KiB, maximum 992 KiB.

The gear is keyed: bytes pass through a secret permutation before they meet FastCDC's public table,
so an outsider cannot compute where a known file would be cut.  It does not hide the sizes of the
pieces; docs/threats.md says what that tells.
Source: Xia et al., "FastCDC", USENIX ATC 2016; sizes: docs/design.md, "Cutting".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from blake3 import blake3
from fastcdc import fastcdc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pinfold.seal.secret import Secret

MIN: Final = 128 << 10
TARGET: Final = 512 << 10
MAX: Final = 992 << 10
# Cutting needs MAX bytes of look-ahead; a window of 4 MiB keeps the copied remainder below a quarter.
WINDOW: Final = 4 << 20


class Gear:
    """The secret permutation of byte values, and the cutting that goes with it."""

    def __init__(self, key: Secret) -> None:
        self._table = _permutation(key.reveal())

    def __repr__(self) -> str:
        return "Gear(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key cannot be pickled")

    def cut(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        """Cut what `read(n)` gives (at most n bytes, empty at the end) into chunks."""
        rest = b""
        more = True
        while more:
            parts, have = [rest], len(rest)
            while have < WINDOW:
                got = read(WINDOW - have)
                if not got:
                    more = False
                    break
                parts.append(got)
                have += len(got)
            window = b"".join(parts) if len(parts) > 1 else parts[0]
            done = 0
            for chunk in fastcdc(window.translate(self._table), MIN, TARGET, MAX):
                # A chunk whose end is the window's end may go on in the next one.
                if more and have - chunk.offset < MAX:
                    break
                done = chunk.offset + chunk.length
                yield window[chunk.offset : done]
            rest = window[done:]


def _permutation(key: bytes) -> bytes:
    # Fisher-Yates; 32 bits for each draw keep the bias below 2**-24.
    stream = blake3(b"permutation", key=key).digest(length=256 * 4)
    table = list(range(256))
    for index in range(255, 0, -1):
        other = int.from_bytes(stream[index * 4 : index * 4 + 4], "little") % (index + 1)
        table[index], table[other] = table[other], table[index]
    return bytes(table)
