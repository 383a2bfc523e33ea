"""Addresses to listen on, as people write them, and the sockets bound to them."""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass
from typing import Final

from pinfold.errors import PinfoldError, UsageError

_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:/\s]+)):([0-9]{1,5})")
_BACKLOG: Final = 1024
_KEEP_ALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3))


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.  `port` 0: one the system chooses."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT or [IPv6]:PORT.  Raises UsageError."""
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found[3]) > 0xFFFF:
            raise UsageError(f"{text!r} is no address to listen on: give HOST:PORT, as in 127.0.0.1:8480 or [::1]:8480")
        return cls(found[1] or found[2], int(found[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def bind(address: Address, stall: float) -> list[socket.socket]:
    """Sockets that listen on every meaning of `address`; connections that nobody reads for `stall` seconds end.

    Ours and not granian's, which shares its port with whoever asks (SO_REUSEPORT): a second server would get half of
    the requests of the first instead of an error.  Raises UsageError for an unknown host, PinfoldError otherwise.
    """
    try:
        meanings = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except (OSError, UnicodeError):
        raise UsageError(f"cannot listen on {address}: {address.host} is no host of this machine") from None
    bound: list[socket.socket] = []
    try:
        bound.extend(_listen(family, where, stall) for family, where in dict.fromkeys((m[0], m[4]) for m in meanings))
    except OSError as error:
        for one in bound:
            one.close()
        raise PinfoldError(f"cannot listen on {address}: {_why(error)}") from None
    return bound


def _listen(family: int, where: tuple[object, ...], stall: float) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _watch_for_the_dead(made, stall)
        made.bind(where)
        made.listen(_BACKLOG)
        made.settimeout(0)
    except BaseException:
        made.close()
        raise
    return made


def _watch_for_the_dead(made: socket.socket, stall: float) -> None:
    """Accepted connections inherit these: who is gone without a word, or takes nothing, is dropped by the system.

    The server's own clock sees a client that takes no piece; this one sees one that asks again and again and never
    reads the short answers, which wait where no clock of ours is.
    """
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (*_KEEP_ALIVE, ("TCP_USER_TIMEOUT", int(stall * 1000))):
        if hasattr(socket, name):  # not everywhere
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def told(made: socket.socket, scheme: str) -> str:
    """The URL of a bound socket."""
    host, port = made.getsockname()[:2]
    return f"{scheme}://{Address(host, port)}"


def _why(error: OSError) -> str:
    return {
        errno.EADDRINUSE: "another program listens there; stop it, or choose another port",
        errno.EACCES: "not allowed for this user; ports below 1024 are the administrator's",
        errno.EADDRNOTAVAIL: "this machine has no such address",
    }.get(error.errno or 0, error.strerror or os.strerror(error.errno or 0))
