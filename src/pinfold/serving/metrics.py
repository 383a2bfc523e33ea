"""Metrics for Prometheus.  Labels take few values, whatever clients send.

Source: https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily

from pinfold import __version__
from pinfold.door import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pinfold.door import Request
    from pinfold.serving.app import Outcome

_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 600.0)
# Why an answer was broken off, by the beginning of the text in the log.
_CUTS: Final = {
    "the client went": "left",
    "the client took": "stalled",
    "the server": "stopped",
    "the door": "failed",
}


class Metrics:
    """Counts outcomes; `door` answers with all figures."""

    def __init__(self, running: Callable[[], int]) -> None:
        """`running`: how many requests are under way."""
        disable_created_metrics()  # a second line for each counter, that nobody asks for
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        Info("pinfold_build", "The version that runs.", registry=self._registry).info({"version": __version__})
        gauge = Gauge("pinfold_requests_in_flight", "Requests under way.", registry=self._registry)
        gauge.set_function(running)
        self._requests = Counter(
            "pinfold_requests", "Requests that ended.", ["door", "method", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "pinfold_request_seconds",
            "Time until the last piece was handed on.",
            ["door"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._sent = Counter("pinfold_sent_bytes", "Bytes of bodies sent.", ["door"], registry=self._registry)
        self._cut = Counter(
            "pinfold_answers_cut", "Answers that are not whole, and why.", ["door", "reason"], registry=self._registry
        )

    def observe(self, outcome: Outcome) -> None:
        """Count one request that has ended."""
        method = outcome.method if outcome.method in _METHODS else "other"
        self._requests.labels(outcome.door, method, str(outcome.status)).inc()
        self._seconds.labels(outcome.door).observe(outcome.seconds)
        self._sent.labels(outcome.door).inc(outcome.sent)
        if outcome.cut:
            reason = next((word for text, word in _CUTS.items() if outcome.cut.startswith(text)), "failed")
            self._cut.labels(outcome.door, reason).inc()

    def watch_store(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Show what is counted elsewhere: name of a counter -> its value."""
        self._registry.register(_Counts(counts))

    def door(self, request: Request) -> Response:
        """All figures in Prometheus's text format."""
        del request
        headers = [("Content-Type", _TYPE), ("Cache-Control", "no-store")]
        return Response(200, headers, generate_latest(self._registry))


class _Counts:
    """Counters kept by somebody else, as `pinfold_store_NAME_total`."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        for name, value in sorted(self._counts().items()):
            yield CounterMetricFamily(f"pinfold_store_{name}", f"Of the store: {name}.", value=value)
