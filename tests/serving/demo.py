"""A server of demo doors as a program of its own: `demo.py LIMITS-AS-JSON`; prints its URLs when it is ready.

It ends with 0, or 9 when a second signal made it hurry; with how many answers were cut as the last line on stdout.
"""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pinfold.door import BadRequest, Request, Response, text
from pinfold.errors import Missing, PinfoldError, Unavailable
from pinfold.serving import Address, App, Limits, Route, Routes
from pinfold.serving.health import Health
from pinfold.serving.logs import Log
from pinfold.serving.metrics import Metrics
from pinfold.serving.own import Readiness, alive, front, reading
from pinfold.serving.server import TLS, Server, listen

CLOSED: list[str] = []
LOOPS: list[asyncio.AbstractEventLoop] = []
LET_GO = threading.Event()


def stream(request: Request) -> Response:
    """As many bytes as `size`, in pieces of `piece`, no length told; each piece is its own memory."""
    size, piece = int(request.option("size") or 0), int(request.option("piece") or 65536)

    def body() -> Iterator[bytes]:
        try:
            for at in range(0, size, piece):
                yield b"x" * min(piece, size - at)
        finally:
            CLOSED.append(request.path)

    headers = [("Content-Length", request.option("length") or "")] if request.option("length") else []
    return Response(200, headers, body(), {"size": size})


def boom(request: Request) -> Response:
    """Breaks: at once, by one of pinfold's errors, before the first piece, or after some."""
    after = request.option("after")

    def body(pieces: int) -> Iterator[bytes]:
        for _ in range(pieces):
            yield b"x" * 1000
        raise Missing("bafy-one", "a-secret-store")

    if after is not None:
        return Response(200, [], body(int(after)))
    raise {
        "missing": Missing("bafy-one", "a-secret-store"),
        "unavailable": Unavailable("http://secret:5001 does not answer"),
        "bad": BadRequest(418, "no coffee"),
        "other": ValueError("a secret"),
    }[request.option("how") or "other"]


def echo(request: Request) -> Response:
    """What was asked, as JSON."""
    told = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": dict(request.headers),
        "body": request.body.decode("latin-1"),
        "client": request.client,
    }
    return Response(200, [("Content-Type", "application/json")], json.dumps(told).encode())


def slow(request: Request) -> Response:
    """Answers after `seconds`, or when /letgo is asked."""
    LET_GO.wait(float(request.option("seconds") or 60))
    return text(200, "at last")


def let_go(request: Request) -> Response:
    """Lets everybody go who waits at /slow."""
    del request
    LET_GO.set()
    return text(200, "gone")


def storm(request: Request) -> Response:
    """SIGTERM comes while the pipe that wakes the event loop is full, as many answers at once make it."""

    def fill() -> None:
        for _ in range(5000):
            LOOPS[0].call_soon_threadsafe(int)
        os.kill(os.getpid(), signal.SIGTERM)

    LOOPS[0].call_soon_threadsafe(fill)
    return text(200, request.path)


def closed(request: Request) -> Response:
    """How many iterators were closed, and the threads there are."""
    del request
    return Response(200, [], json.dumps([len(CLOSED), threading.active_count()]).encode())


def odd(request: Request) -> Response:
    """Answers no door should give."""
    return {
        "header": Response(200, [("X-A", "b\r\nX-C: d")], b""),
        "nothing": Response(204, [], b""),
        "unchanged": Response(304, [("ETag", '"a"')], b"never sent"),
        "large": Response(200, [], b"x" * (1 << 20)),
    }[request.option("how") or ""]


def check() -> None:
    """The store is ill while the file is there; it hangs while it says so."""
    ill = Path(SETTINGS.get("ill", "/nonexistent"))
    if ill.exists():
        if ill.read_text() == "hangs":
            time.sleep(600)
        raise PinfoldError("ill")


def say(line: str) -> None:
    """Tell whoever started this."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


SETTINGS = json.loads(sys.argv[1])


async def main() -> int:
    """Serve until told to stop."""
    LOOPS.append(asyncio.get_running_loop())
    limits = Limits(**SETTINGS.get("limits", {}))
    log = Log(as_json=SETTINGS.get("json", True), level=SETTINGS.get("level", "info"))
    log.take_over()
    observers = [log.observe]
    app = App(limits, observers)
    metrics = Metrics(lambda: app.running)
    observers.append(metrics.observe)
    ready = Readiness(Health(check, seconds=0.2, patience=1.0), lambda: app.stopping)
    routes = Routes(
        [
            Route("/", reading(front(["pinfold", "demo"])), "own", exact=True, own=True),
            Route("/healthz", reading(alive), "own", exact=True, own=True),
            Route("/readyz", reading(ready.door), "own", exact=True, own=True),
            Route("/metrics", reading(metrics.door), "own", exact=True, own=True),
            Route("/letgo", let_go, "own", exact=True, own=True),
            Route("/storm", storm, "own", exact=True, own=True),
            Route("/closed", closed, "own", exact=True, own=True),
            Route("/stream", stream, "stream"),
            Route("/boom", boom, "boom"),
            Route("/echo/", echo, "echo"),
            Route("/slow", slow, "slow"),
            Route("/odd", odd, "odd"),
        ]
    )
    tls = TLS(*map(Path, SETTINGS["tls"])) if "tls" in SETTINGS else None
    if tls:
        tls.check()
    bound = [listen(Address.parse(at), limits, tls) for at in SETTINGS.get("listen", ["127.0.0.1:0"])]
    urls = [url for one in bound for url in one.urls]
    server = Server(app, [(one, routes) for one in bound])
    stopped = await server.run(lambda: say(json.dumps(urls)))
    say(str(stopped.cut))
    return 9 if stopped.forced else 0


os._exit(asyncio.run(main()))  # as `pinfold serve` does
