"""Listens, by granian in this process, and stops without cutting answers off.

The order of stopping: /readyz says 503; after `drain` seconds the doors close, and idle connections with them; running
answers have `grace` seconds; what is left then is broken off and told.  A second signal skips what is being waited for.

granian in ASGI mode, never RSGI, which feeds an unbounded queue and takes a truncated body for a whole one (2.8.7).
Its embedded server calls itself experimental: what is relied on here is held by tests/serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from granian._granian import SocketHolder  # granian.net hands it on
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server as Embedded

from pinfold.allocator import give_back
from pinfold.errors import PinfoldError, UsageError
from pinfold.serving.address import bind, told
from pinfold.serving.limits import HEAD

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pinfold.serving.address import Address
    from pinfold.serving.app import App, Application
    from pinfold.serving.limits import Limits
    from pinfold.serving.routes import Routes

# After everything was broken off, for clients to hear of it and iterators to clean up.  The connection of a client that
# reads nothing hears of it only from the end of the process.
_LAST: Final = 1.0
_BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class TLS:
    """A certificate (with its chain) and its key, as PEM files."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Raise UsageError unless both can be read and belong together."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"cannot use the certificate {self.certificate} with the key {self.key}: {reason}"
            ) from None


def _no_password() -> str:
    raise ValueError("the key is encrypted; give one that is not")


@dataclass(frozen=True, slots=True)
class Stopped:
    """How it ended.  `cut`: answers broken off; `forced`: the signal that ended the waiting, or None."""

    cut: int
    forced: signal.Signals | None


@dataclass(frozen=True, slots=True)
class Bound:
    """Sockets that listen already, though nobody answers yet.  `urls`: how they are reached."""

    sockets: list[socket.socket]
    urls: list[str]
    tls: TLS | None

    def close(self) -> None:
        """Stop listening."""
        for one in self.sockets:
            one.close()


def listen(address: Address, limits: Limits, tls: TLS | None = None) -> Bound:
    """Take an address.  Raises UsageError or PinfoldError when it cannot be had."""
    sockets = bind(address, limits.stall)
    return Bound(sockets, [told(one, "http" if tls is None else "https") for one in sockets], tls)


class Server:
    """Several addresses, each with its doors; one application behind them."""

    def __init__(self, app: App, doors: Sequence[tuple[Bound, Routes]]) -> None:
        self._app = app
        self._doors = doors
        self._limits = app.limits
        self._listeners: list[_Listener] = []
        self._signals: list[signal.Signals] = []
        self._signalled = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> Stopped:
        """Serve until SIGTERM or SIGINT; `ready` is called when requests are taken."""
        give_back()
        self._listeners = [
            _Listener(one, self._app.on(routes), self._limits, bound.tls)
            for bound, routes in self._doors
            for one in bound.sockets
        ]
        with self._signals_heard():
            tasks = [asyncio.create_task(one.serve()) for one in self._listeners]
            heard = asyncio.create_task(self._signalled.wait())
            await asyncio.sleep(0)  # what cannot start fails now
            ready()
            await asyncio.wait([*tasks, heard], return_when=asyncio.FIRST_COMPLETED)
            heard.cancel()
            if not self._signals:
                raise PinfoldError("the server ended by itself; please report this")
            return await self._stop(tasks)

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> Stopped:
        self._app.stopping = True
        if self._limits.drain:
            await self._patience([asyncio.create_task(asyncio.sleep(self._limits.drain))], None)
        for one in self._listeners:
            one.leave()
        await self._patience(tasks, self._limits.grace)
        cut = self._app.cut()
        if cut:
            await asyncio.wait(tasks, timeout=_LAST)
        await self._app.close(_LAST)
        return Stopped(cut, self._signals[1] if len(self._signals) > 1 else None)

    async def _patience(self, tasks: list[asyncio.Task[None]], seconds: float | None) -> None:
        """Wait for all of them, for so long, or until the next signal."""
        self._signalled.clear()
        if len(self._signals) > 1:
            return
        impatient = asyncio.create_task(self._signalled.wait())
        everything = asyncio.ensure_future(asyncio.wait(tasks))
        both: list[asyncio.Future[Any]] = [everything, impatient]
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        everything.cancel()
        impatient.cancel()

    @contextlib.contextmanager
    def _signals_heard(self) -> Iterator[None]:
        """Hear SIGINT and SIGTERM, on the main thread.

        Not by the loop's own add_signal_handler: it sends the signal through the same pipe that granian wakes the loop
        by, and loses it when that is full: under load 4 of 30 servers never heard that they should stop.
        """
        loop = asyncio.get_running_loop()

        def hear(number: int, _frame: object) -> None:
            loop.call_soon_threadsafe(self._hear, signal.Signals(number))

        before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: signal.Signals) -> None:
        self._signals.append(number)
        self._signalled.set()


class _Listener(Embedded):
    """granian on one socket of ours."""

    def __init__(self, bound: socket.socket, app: Application, limits: Limits, tls: TLS | None) -> None:
        self._bound = bound
        secure: dict[str, Any] = {}
        if tls is not None:
            secure = {"ssl_cert": tls.certificate, "ssl_key": tls.key, "ssl_protocol_min": SSLProtocols.tls12}
        super().__init__(
            target=app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
            backpressure=limits.connections,
            runtime_blocking_threads=2,
            http1_settings=HTTP1Settings(header_read_timeout=int(limits.idle * 1000), max_buffer_size=HEAD),
            **secure,
        )

    def _init_shared_socket(self) -> None:
        self._ssp = None
        # granian closes it; its stubs know neither this attribute nor the number of connections that may wait.
        holder: Any = SocketHolder
        self._shd = holder(self._bound.detach(), False, _BACKLOG)  # noqa: FBT003  # no Unix socket

    def leave(self) -> None:
        """Close the doors; whoever is inside may finish."""
        self.interrupt_signal = True
        self.main_loop_interrupt.set()
