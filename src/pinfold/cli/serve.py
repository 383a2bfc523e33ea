"""`pinfold serve`."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from pinfold.cli.options import SECONDS, command

if TYPE_CHECKING:
    from pinfold.cli.call import Call
    from pinfold.serving import Address, Limits
    from pinfold.serving.logs import Log
    from pinfold.wiring.serving import Doors, Places

_DEFAULT: Final = "127.0.0.1:8480"
_LEVELS: Final = ("debug", "info", "warning", "error")
_EXTRA: Final = ("granian", "prometheus_client", "structlog")
# Files that are open beside connections: the store's, the logs', what doors read.
_OTHER_FILES: Final = 256
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_COUNT: Final = click.IntRange(min=1)


@command(
    "serve",
    examples=[
        "pinfold serve -r /srv/backups",
        "pinfold serve --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem --trustless-only",
        "pinfold serve --pinning-service /var/lib/pinfold/pins --public-url https://pins.example.com",
    ],
    returns=(
        "one line when requests are taken: listening: list of URLs, metrics: list of URLs if --metrics is given. The"
        " log on stderr has one JSON object a line: time, level, event, and for requests client, method, path, status,"
        " bytes, seconds, door; cut if the answer is not whole"
    ),
)
@click.option("--listen", metavar="HOST:PORT", multiple=True, help=f"Where, repeatable; port 0: any. [{_DEFAULT}]")
@click.option("--metrics", metavar="HOST:PORT", help="/metrics here, without TLS, and not beside the doors.")
@click.option("--gateway/--no-gateway", default=True, help="Serve /ipfs/ and /ipns/. [on]")
@click.option("--trustless-only", is_flag=True, help="Only what clients can verify: blocks, CARs, IPNS records.")
@click.option("--ipns-records", metavar="DIR", type=_FOLDER, help="Signed records, NAME.ipns-record each.")
@click.option("--refuse", metavar="FILE", type=_FILE, help="CIDs never to serve (410), one a line.")
@click.option(
    "--pinning-service", metavar="DIR", type=click.Path(path_type=Path), help="Serve /pins; its data are in DIR."
)
@click.option("--public-url", metavar="URL", help="Where clients reach /pins. [the first address]")
@click.option("--origin", metavar="URL", multiple=True, help="A gateway to ask for every pin. Repeatable.")
@click.option("--private-origins", is_flag=True, help="Let clients of /pins name private addresses to fetch from.")
@click.option("--tls-cert", metavar="FILE", type=_FILE, help="Speak TLS with this certificate and its chain (PEM).")
@click.option("--tls-key", metavar="FILE", type=_FILE, help="Its key, not encrypted (PEM).")
@click.option("--requests", metavar="N", type=_COUNT, default=256, help="Under way at once; beyond: 503. [256]")
@click.option("--connections", metavar="N", type=_COUNT, default=4096, help="Open at once on each address. [4096]")
@click.option(
    "--stall", metavar="DURATION", type=SECONDS, default="60s", help="A client may take nothing so long. [60s]"
)
@click.option("--grace", metavar="DURATION", type=SECONDS, default="30s", help="To finish answers at the end. [30s]")
@click.option("--drain", metavar="DURATION", type=SECONDS, help="At the end: not ready so long, then closed. [none]")
@click.option("--log-level", type=click.Choice(_LEVELS), help="The least that is logged. [info]")
def serve(call: Call, **options: Any) -> int:  # noqa: ANN401  # as click gives them
    """Serve the store over HTTP: an IPFS gateway, and a pinning service where its folder is given.

    Any store will do, and no key is needed: what is sealed is served as it is, sealed. /healthz says that the server
    lives, /readyz that its store answers, /metrics how it fares (Prometheus).

    SIGTERM or Ctrl-C stops it: nobody new is let in, running answers are finished, and the exit code is 0. A second one
    cuts them off, and the exit code is 143 or 130.
    """
    if not options["gateway"] and options["pinning_service"] is None:
        raise click.UsageError("there is nothing to serve: with --no-gateway, give --pinning-service DIR")
    if (options["tls_cert"] is None) != (options["tls_key"] is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    settings = call.settings()
    try:
        from pinfold.serving.logs import Log  # noqa: PLC0415
        from pinfold.wiring import serving  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _uninstalled(error) from error
    log = Log(as_json=call.out.as_json or not sys.stderr.isatty(), level=_level(call, options["log_level"]))
    log.take_over()
    doors, places = _doors(options), _places(options)
    limits = _limits(options, log)

    def ready(urls: list[str], metrics: list[str]) -> None:
        _tell(call, log, urls, metrics)
        if doors.pinning is not None and places.tls is None and not all(map(_is_own, places.doors)):
            log.say("warning", "tokens of the pinning service travel in clear: put TLS before it")

    stopped = serving.run(settings, doors, places, limits, log, ready)
    log.say("info" if not stopped.cut else "warning", "stopped", cut=stopped.cut)
    _leave(0 if stopped.forced is None else 128 + stopped.forced)


def _leave(code: int) -> NoReturn:
    """End the process without Python's own end, when everything is closed and written.

    granian's threads may outlive its server by a moment, and doors that hang outlive all patience: when the interpreter
    ended beneath them, 2 of 12 servers that were stopped under load ended in SIGABRT.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _uninstalled(error: ModuleNotFoundError) -> Exception:
    """What to do about a missing package, where it is one of those that only this command needs."""
    from pinfold.errors import PinfoldError  # noqa: PLC0415

    missing = (error.name or "").partition(".")[0]
    if missing not in _EXTRA:
        return error
    return PinfoldError(f"pinfold serve needs {missing}, which is not installed: pip install 'pinfold[serve]'")


def _level(call: Call, wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    if call.out.quiet:
        return "warning"
    return "debug" if call.out.verbose else "info"


def _doors(options: dict[str, Any]) -> Doors:
    from pinfold.wiring.serving import Doors  # noqa: PLC0415

    return Doors(
        gateway=options["gateway"],
        trustless_only=options["trustless_only"],
        records=options["ipns_records"],
        refuse=options["refuse"],
        pinning=options["pinning_service"],
        public_url=options["public_url"] or "",
        origins=options["origin"],
        private_origins=options["private_origins"],
    )


def _places(options: dict[str, Any]) -> Places:
    from pinfold.serving import Address  # noqa: PLC0415
    from pinfold.serving.server import TLS  # noqa: PLC0415
    from pinfold.wiring.serving import Places  # noqa: PLC0415

    tls = None
    if options["tls_cert"] is not None:
        tls = TLS(options["tls_cert"], options["tls_key"])
        tls.check()
    apart = None if options["metrics"] is None else Address.parse(options["metrics"])
    return Places(tuple(map(Address.parse, options["listen"] or (_DEFAULT,))), tls, apart)


def _limits(options: dict[str, Any], log: Log) -> Limits:
    from pinfold.serving import Limits  # noqa: PLC0415

    most = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES)
    connections = min(options["connections"], most)
    if connections < options["connections"]:
        log.say(
            "warning", "fewer connections than wanted: this process may open no more files", connections=connections
        )
    return Limits(
        requests=options["requests"],
        connections=connections,
        stall=options["stall"],
        grace=options["grace"],
        drain=options["drain"] or 0,
    )


def _is_own(address: Address) -> bool:
    """Whether only this machine reaches it."""
    return address.host in {"localhost", "::1"} or address.host.startswith("127.")


def _tell(call: Call, log: Log, urls: list[str], metrics: list[str]) -> None:
    """Say where, on stdout for whoever started this, and in the log."""
    document = {"listening": urls} | ({"metrics": metrics} if metrics else {})
    if call.out.as_json:
        call.out.document(document)
    else:
        call.out.say("listening on " + ", ".join(urls) + (f"; metrics on {', '.join(metrics)}" if metrics else ""))
    sys.stdout.flush()
    log.say("info", "listening", **document)
