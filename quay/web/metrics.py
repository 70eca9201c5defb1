"""
`/metrics`: what happens here, in the text format of Prometheus, for whoever is near enough to be shown it.

Requests are counted in plain integers of the reactor's thread, and become metrics when they are asked for: what a
request pays for being counted is about a microsecond. Labels are from closed lists, whatever clients send.
Source: Prometheus, "Exposition formats" (0.0.4) and "Metric and label naming".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from quay.oci.errors import RegistryError
from quay.web.addresses import Addresses, Network
from quay.web.request import RegistryRequest
from quay.web.respond import send_error

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""Seconds; blobs may take the longest of them."""

METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")}
ABORTED: Final = 0
STATUSES: Final = ("aborted", "1xx", "2xx", "3xx", "4xx", "5xx")
"""By the first digit of the status; of a client that hung up nobody knows what it would have been."""

_KINDS: Final = {b"manifests": "manifest", b"blobs": "blob", b"uploads": "upload", b"tags": "tags"}


def kind_of(path: bytes) -> str:
    """What an address is of: manifest, blob, upload, tags, token or other. Read from its end, as the routes are."""
    parts = path.rsplit(b"/", 2)
    if len(parts) < 3 or not path.startswith(b"/v2/"):
        return "other"
    if parts[2] == b"uploads" and parts[1] == b"blobs":
        return "upload"
    return "token" if path == b"/v2/auth" else _KINDS.get(parts[1], "other")


@attrs.define(eq=False)
class Tally:
    """Requests of one method, kind and outcome."""

    count: int = 0
    seconds: float = 0.0
    received: int = 0
    sent: int = 0
    buckets: list[int] = attrs.field(factory=lambda: [0] * (len(BOUNDS) + 1))


def histogram(bounds: Sequence[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """The buckets of a histogram as Prometheus wants them: each with all that are below it."""
    return list(zip([*map(str, bounds), "+Inf"], accumulate(counts), strict=True))


class Requests(Collector):
    """Every request that ended; `observe` is the observer of a `RegistrySite`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._tallies: dict[tuple[str, str, int], Tally] = {}

    def observe(self, request: RegistryRequest) -> None:
        """Count `request`."""
        outcome = ABORTED if request.disconnected else request.code // 100
        key = (METHODS.get(request.method, "other"), kind_of(request.path), outcome)
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = Tally()
        seconds = self._clock.seconds() - request.began
        tally.count += 1
        tally.seconds += seconds
        tally.received += request.body.received
        tally.sent += request.sentLength
        tally.buckets[bisect_left(BOUNDS, seconds)] += 1

    def collect(self) -> Iterator[Metric]:
        labels = ["method", "kind", "status"]
        ended = CounterMetricFamily("quay_http_requests", "Requests that ended.", labels=labels)
        received = CounterMetricFamily("quay_http_received_bytes", "Bytes of bodies received.", labels=["kind"])
        sent = CounterMetricFamily("quay_http_sent_bytes", "Bytes of bodies sent.", labels=["kind"])
        seconds = HistogramMetricFamily(
            "quay_http_request_seconds", "From the end of a head to the end of its answer.", labels=["kind"]
        )
        for (method, kind, outcome), tally in self._tallies.items():
            ended.add_metric([method, kind, STATUSES[outcome]], tally.count)
        for kind, whole in self._by_kind():
            received.add_metric([kind], whole.received)
            sent.add_metric([kind], whole.sent)
            seconds.add_metric([kind], histogram(BOUNDS, whole.buckets), whole.seconds)
        yield from (ended, received, sent, seconds)

    def _by_kind(self) -> Iterator[tuple[str, Tally]]:
        for kind in sorted({kind for _, kind, _ in self._tallies}):
            yield kind, _sum(tally for (_, its_kind, _), tally in self._tallies.items() if its_kind == kind)


def _sum(tallies: Iterable[Tally]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.seconds += tally.seconds
        whole.received += tally.received
        whole.sent += tally.sent
        whole.buckets = [a + b for a, b in zip(whole.buckets, tally.buckets, strict=True)]
    return whole


class Closed(RegistryError):
    """Whoever asks for the metrics is not near enough."""

    code, status = "DENIED", 403


class MetricsPage(Resource):
    """`/metrics`, for clients in `networks`."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry, addresses: Addresses, networks: Sequence[Network]) -> None:
        super().__init__()
        self._registry = registry
        self._addresses = addresses
        self._networks = networks

    def render_GET(self, request: RegistryRequest) -> bytes | int:
        if not self._addresses.are_within(request, self._networks):
            send_error(request, self._closed(request))
            return NOT_DONE_YET
        request.setHeader("Content-Type", CONTENT_TYPE_LATEST)
        return generate_latest(self._registry)

    def _closed(self, request: RegistryRequest) -> Closed:
        return Closed(
            f"The metrics of this registry are not shown to {self._addresses.client_address(request)}.",
            advice="Ask from the machine itself, or have your network added to METRICS_NETWORKS; behind a proxy, "
            "TRUSTED_PROXIES must name the proxy too.",
        )
