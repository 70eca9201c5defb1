"""What a round measured, and what many rounds say together: medians, and ratios in which more is always better."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

SMALLER_IS_BETTER: Final = frozenset({"ms", "MiB"})


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that is not below `share` of them (0.99: the 99th percentile)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@attrs.frozen
class Timing:
    """What the client saw: how many operations in how many seconds, and how long one took, in milliseconds."""

    operations: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, latencies_s: Sequence[float], seconds: float) -> Timing:
        ms = [latency * 1000 for latency in latencies_s]
        return cls(len(ms), seconds, quantile(ms, 0.5), quantile(ms, 0.99))

    @property
    def rate(self) -> float:
        return self.operations / self.seconds


@attrs.frozen
class Sample:
    """
    One round of one scenario: `value` in the scenario's unit, latencies in milliseconds, CPU of the server in seconds
    and, per operation, in milliseconds, of the client as a share of its core, the server's largest memory in MiB, and a
    bound for the longest stall of its reactor in milliseconds, 0 where there is none.
    """

    value: float
    p50_ms: float
    p99_ms: float
    cpu_s: float
    cpu_ms_each: float
    client_share: float
    peak_mib: float
    stall_ms: float = 0.0


def longest_stall(before: Mapping[float, int], after: Mapping[float, int]) -> float:
    """
    What no stall in between exceeded, in milliseconds, by a histogram of seconds with what is below each bound counted
    in; `before` is empty for a process that has begun meanwhile.
    """
    counts = [after[bound] - before.get(bound, 0) for bound in sorted(after)]
    within = [bound for bound, count in zip(sorted(after), counts, strict=True) if count == counts[-1]]
    return within[0] * 1000 if counts and counts[-1] else 0.0


def median(samples: Sequence[Sample]) -> Sample:
    """Field by field."""
    columns = zip(*map(attrs.astuple, samples), strict=True)
    return Sample(*(statistics.median(column) for column in columns))


def ratio(ours: float, theirs: float, unit: str) -> float:
    """How many times better ours is; less than 1 where it is worse."""
    better, worse = (theirs, ours) if unit in SMALLER_IS_BETTER else (ours, theirs)
    return better / worse if worse else math.inf


@attrs.frozen
class Target:
    """What a scenario has to reach: so many times the peer, or at most so many of its unit."""

    ratio: float | None = None
    at_most: float | None = None

    def met(self, value: float, against: Sequence[float]) -> bool:
        """Whether `value`, and every one of the ratios `against` the peers, is good enough."""
        if self.at_most is not None:
            return value <= self.at_most
        return self.ratio is None or all(one >= self.ratio for one in against)

    def __str__(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.ratio is None else f"≥ {self.ratio:g}×"
