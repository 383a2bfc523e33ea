"""What a server gives to one client and to all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pinfold.door import MOST_BODY

# Six pieces stand behind each slow reader, in granian and on their way to it: 200 slow readers took 164 MB with pieces
# of 32 KiB and 73 MB with these.  Larger ones cost less: 1 GB takes 2.1 CPU seconds in pieces of 16 KiB, 1.5 of 64 KiB.
# So they grow once more went out quickly than the system's buffers take, and shrink when one was not taken quickly.
PIECE: Final = 16 << 10
LARGE_PIECE: Final = 64 << 10
QUICKLY: Final = 0.1
PROVEN: Final = 16 << 20
# A body that is at hand stays in memory until its last byte is taken, however it is cut: a block goes out in one piece.
AT_HAND: Final = 2 << 20
# The head of a request, and what is buffered for one connection.
HEAD: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server.  Times in seconds, sizes in bytes.

    `requests`: under way at once, beyond them 503; `connections`: open at once on each address, beyond them nobody is
    let in until one leaves; `threads`: doors running at once; `body`: of a request; `url`: path and query;
    `headers`: all names and values together; `idle`: until a connection must have sent a whole head, also the next
    one; `sending`: for the whole body of a request; `stall`: in which a client must take a piece of an answer;
    `grace`: for running answers when the server is stopped; `drain`: between being told to stop and closing the doors.
    """

    requests: int = 256
    connections: int = 4096
    threads: int = 32
    body: int = MOST_BODY
    url: int = 8 << 10
    headers: int = 32 << 10
    idle: float = 30.0
    sending: float = 60.0
    stall: float = 60.0
    grace: float = 30.0
    drain: float = 0.0
