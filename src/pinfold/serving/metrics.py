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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pinfold import __version__
from pinfold.door import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

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
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for each counter, that nobody needs
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

    def watch(self, name: str, text: str, counts: Callable[[], Mapping[str, float]], label: str = "") -> None:
        """Show what somebody else counts: with `label` a gauge of a value each, else a counter `name`_KEY each."""
        self._registry.register(_Watched(name, text, counts, label))

    def door(self, request: Request) -> Response:
        """All figures in Prometheus's text format."""
        del request
        headers = [("Content-Type", _TYPE), ("Cache-Control", "no-store")]
        return Response(200, headers, generate_latest(self._registry))


class _Watched:
    """Figures kept by somebody else; asked for when they are wanted."""

    def __init__(self, name: str, text: str, counts: Callable[[], Mapping[str, float]], label: str) -> None:
        self._name = name
        self._text = text
        self._counts = counts
        self._label = label

    def describe(self) -> Iterable[Metric]:
        """Nothing yet: the registry would otherwise ask for the figures at once."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The figures as they are."""
        found = sorted(self._counts().items())
        if not self._label:
            yield from (CounterMetricFamily(f"{self._name}_{key}", self._text, value=value) for key, value in found)
            return
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for key, value in found:
            family.add_metric([key], value)
        yield family
