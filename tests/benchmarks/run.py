"""A run: the servers up on one core, the client on the other, and every scenario in rounds A-B-A-B."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.benchmarks import process
from tests.benchmarks.dataset import Sizes
from tests.benchmarks.measures import Sample, Timing, longest_stall, median, ratio
from tests.benchmarks.rounds import Rounds, Work
from tests.benchmarks.scenarios import Kind, Scenario
from tests.benchmarks.servers import Server, Setting, cached_dataset


@attrs.frozen
class Result:
    """What the rounds of a scenario gave, by server, ours first; or the sentence that says why there are none."""

    scenario: Scenario
    samples: dict[str, list[Sample]]
    failure: str = ""

    @property
    def medians(self) -> dict[str, Sample]:
        return {name: median(samples) for name, samples in self.samples.items() if samples}

    @property
    def ratios(self) -> dict[str, float]:
        """How many times better ours is than each peer."""
        ours, *peers = self.medians.items()
        return {name: ratio(ours[1].value, peer.value, self.scenario.unit) for name, peer in peers}

    @property
    def stall_ms(self) -> float:
        """What no stall of our reactor exceeded in any of the rounds."""
        return max((sample.stall_ms for samples in self.samples.values() for sample in samples), default=0.0)

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        if self.failure or not self.medians:
            return False
        return self.scenario.target.met(next(iter(self.medians.values())).value, list(self.ratios.values()))

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "unit": self.scenario.unit,
            "target": str(self.scenario.target),
            "met": self.met,
            "failure": self.failure,
            "ratios": self.ratios if self.medians else {},
            "medians": {name: attrs.asdict(sample) for name, sample in self.medians.items()},
            "rounds": {name: [attrs.asdict(sample) for sample in samples] for name, samples in self.samples.items()},
        }


@attrs.frozen
class Run:
    """What is run, where, how often, and by when it has to end (`time.monotonic()`)."""

    scenarios: Sequence[Scenario]
    servers: Sequence[type[Server]]
    directory: Path
    work: Work
    rounds: int
    deadline: float

    def results(self) -> Iterator[Result]:
        """Each as soon as it is there; none once the deadline has passed."""
        if any(scenario.kind == "dataset" for scenario in self.scenarios):
            cached_dataset(self.work.sizes)
        with process.pinned(process.CLIENT_CORE):
            for kind in dict.fromkeys(scenario.kind for scenario in self.scenarios):
                yield from self._of_kind(kind)

    def _of_kind(self, kind: Kind) -> Iterator[Result]:
        scenarios = [scenario for scenario in self.scenarios if scenario.kind == kind]
        if self._over:
            yield from self._late(scenarios)
            return
        with self._running(kind) as servers:
            for scenario in scenarios:
                yield self._result(scenario, servers[:1] if scenario.alone else servers)

    @staticmethod
    def _late(scenarios: Iterable[Scenario]) -> Iterator[Result]:
        return (Result(scenario, {}, "The time of this run was over.") for scenario in scenarios)

    @property
    def _over(self) -> bool:
        return time.monotonic() > self.deadline

    @contextmanager
    def _running(self, kind: Kind) -> Iterator[list[Server]]:
        directory = self.directory / kind
        servers = [server(directory, _setting(kind, self.work.sizes)) for server in self.servers]
        started: list[Server] = []
        try:
            for server in servers:
                server.prepare()
                started.append(server)
                server.start()
            yield servers
        finally:
            for server in started:
                server.stop()

    def _result(self, scenario: Scenario, servers: Sequence[Server]) -> Result:
        samples: dict[str, list[Sample]] = {server.name: [] for server in servers}
        if self._over:
            return next(self._late([scenario]))
        try:
            prepared = [(server, scenario.rounds(server, self.work)) for server in servers]
            for _ in range(self.rounds):
                for server, rounds in prepared:
                    samples[server.name].append(measured(scenario, server, rounds))
                if self._over:
                    break
        except Exception as error:  # one scenario that fails leaves the others their say
            return Result(scenario, samples, f"{type(error).__name__}: {error}")
        return Result(scenario, samples)


def _setting(kind: Kind, sizes: Sizes) -> Setting:
    return Setting(tls=kind == "tls", sizes=sizes if kind == "dataset" else None)


def measured(scenario: Scenario, server: Server, rounds: Rounds) -> Sample:
    """One round, with what it cost."""
    before = server.pid
    load = rounds.ready()
    os.sync()  # what the other has left to be written is not this one's burden
    sample = _metered(scenario, server, before, load)
    rounds.check()
    return sample


def _metered(scenario: Scenario, server: Server, before: int, load: Callable[[], Timing]) -> Sample:
    running = Path(f"/proc/{before}").exists()
    if running:
        process.forget_peak(before)
    stalls = server.stalls() if running else {}
    spent = process.cpu_seconds(before) if running else 0.0
    began, client = time.monotonic(), _client_seconds()
    timing = load()
    wall, client = time.monotonic() - began, _client_seconds() - client
    cpu = process.cpu_seconds(server.pid) - spent
    return Sample(
        value=scenario.value(timing, server),
        p50_ms=timing.p50_ms,
        p99_ms=timing.p99_ms,
        cpu_s=cpu,
        cpu_ms_each=cpu * 1000 / timing.operations,
        client_share=client / wall,
        peak_mib=process.memory_mib(server.pid, "VmHWM"),
        stall_ms=longest_stall(stalls, server.stalls()),
    )


def _client_seconds() -> float:
    """CPU of this process and of those it has waited for."""
    return sum(os.times()[:4])
