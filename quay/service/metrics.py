"""
What the parts of a server are doing, as metrics: read from their own counters whenever somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from twisted.internet.interfaces import IReactorTime

from quay.events import Bus, Pulled, Pushed
from quay.service.core import Core
from quay.threads import Pool
from quay.watchdog import BOUNDS, Watchdog
from quay.web.connections import Connections
from quay.web.metrics import Requests, histogram
from quay.web.v2.express import Express
from quay.worker import Worker


class Metrics:
    """All metrics of one server: `registry` has them, `requests` and the parts that are shown to it give them."""

    def __init__(self, clock: IReactorTime) -> None:
        self.registry = CollectorRegistry()
        self.requests = Requests(clock)
        self.registry.register(self.requests)

    def show(self, *collectors: Collector) -> None:
        """Add what these collect."""
        for collector in collectors:
            self.registry.register(collector)


class CoreMetrics(Collector):
    """What goes on in a core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._traffic = Traffic(core.bus)

    def collect(self) -> Iterator[Metric]:
        cache = self._core.cache
        yield CounterMetricFamily("quay_pushes", "Manifests pushed.", self._traffic.pushes)
        yield CounterMetricFamily("quay_pulls", "Manifests pulled.", self._traffic.pulls)
        yield GaugeMetricFamily("quay_uploads_live", "Uploads with an open file.", self._core.registry.uploads.live)
        yield GaugeMetricFamily("quay_cache_entries", "Values in the cache.", cache.entries)
        yield GaugeMetricFamily("quay_cache_bytes", "What these weigh.", cache.weight)
        yield CounterMetricFamily("quay_cache_hits", "Values found in the cache.", cache.hits)
        yield CounterMetricFamily("quay_cache_misses", "Values that had to be read.", cache.misses)
        yield from _pools([pool for pool in self._core.threads if isinstance(pool, Pool)])


class Traffic:
    """Counts what the bus tells of."""

    def __init__(self, bus: Bus) -> None:
        self.pushes = self.pulls = 0
        bus.subscribe(Pushed, self._pushed)
        bus.subscribe(Pulled, self._pulled)

    def _pushed(self, event: Pushed) -> None:
        self.pushes += 1

    def _pulled(self, event: Pulled) -> None:
        self.pulls += 1


def _pools(pools: Iterable[Pool]) -> Iterator[Metric]:
    calls = CounterMetricFamily("quay_pool_calls", "Calls that threads of the pool have begun.", labels=["pool"])
    queue = GaugeMetricFamily("quay_pool_queue", "Calls that wait for a thread of the pool.", labels=["pool"])
    waited = CounterMetricFamily("quay_pool_wait_seconds", "How long the begun calls waited.", labels=["pool"])
    for pool in pools:
        name = str(pool.name)
        calls.add_metric([name], pool.begun)
        queue.add_metric([name], pool.asked - pool.begun)
        waited.add_metric([name], pool.waited)
    yield from (calls, queue, waited)


class ExpressMetrics(Collector):
    """The pulls that were answered before they became requests, which is why `Requests` has not seen them."""

    def __init__(self, express: Express) -> None:
        self._express = express

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "quay_http_express_requests",
            "Manifests answered from memory at once; these are not among quay_http_requests.",
            self._express.answered,
        )
        yield CounterMetricFamily("quay_http_express_sent_bytes", "Bytes of these, with heads.", self._express.sent)


class ServerMetrics(Collector):
    """What goes on around a core: its connections, its workers, its reactor."""

    def __init__(self, connections: Connections, workers: Sequence[Worker], watchdog: Watchdog) -> None:
        self._connections = connections
        self._workers = workers
        self._watchdog = watchdog

    def collect(self) -> Iterator[Metric]:
        dog = self._watchdog
        yield GaugeMetricFamily("quay_connections", "Open connections.", len(self._connections))
        yield GaugeMetricFamily("quay_reactor_longest_stall_seconds", "The longest since the start.", dog.longest)
        stalls = HistogramMetricFamily("quay_reactor_stall_seconds", "By how much the reactor was late.")
        stalls.add_metric([], histogram(BOUNDS, dog.counts), dog.total)
        yield stalls
        yield from self._of_workers()

    def _of_workers(self) -> Iterator[Metric]:
        success = GaugeMetricFamily(
            "quay_worker_last_success_timestamp_seconds", "When it last succeeded; 0 for never.", labels=["worker"]
        )
        failure = GaugeMetricFamily(
            "quay_worker_last_failure_timestamp_seconds", "When it last failed; 0 for never.", labels=["worker"]
        )
        for worker in self._workers:
            success.add_metric([str(worker.name)], worker.last_success or 0)
            failure.add_metric([str(worker.name)], worker.last_failure or 0)
        yield from (success, failure)
