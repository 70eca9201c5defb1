"""The scenarios by name: what is done to which kind of server, what comes out, and what that has to be."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Literal

import attrs

from tests.benchmarks.measures import Target, Timing
from tests.benchmarks.process import memory_mib
from tests.benchmarks.rounds import (
    BlobPushes,
    BlobReads,
    Deletes,
    ManifestReads,
    Pages,
    Rounds,
    Starts,
    TinyPushes,
    Work,
    first_repositories,
    first_tags,
    last_repositories,
    last_tags,
    referrers,
)
from tests.benchmarks.servers import Server
from tests.benchmarks.wire import MIB

GIB: Final = 1024 * MIB
NO_TARGET: Final = Target()
SIZES: Final = {"1MiB": MIB, "100MiB": 100 * MIB, "1GiB": GIB}

Kind = Literal["plain", "tls", "dataset"]
Value = Callable[[Timing, Server], float]


@attrs.frozen
class Scenario:
    """What is done to what kind of server, what comes out in which unit, and what that has to be."""

    name: str
    rounds: Callable[[Server, Work], Rounds]
    unit: str
    value: Value
    target: Target = NO_TARGET
    kind: Kind = "plain"
    alone: bool = False
    """Whether the peers have no such thing."""
    large: bool = False
    """Whether a quick run leaves it out."""


def _rate(timing: Timing, server: Server) -> float:
    return timing.rate


def _p50(timing: Timing, server: Server) -> float:
    return timing.p50_ms


def _p99(timing: Timing, server: Server) -> float:
    return timing.p99_ms


def _idle(timing: Timing, server: Server) -> float:
    return memory_mib(server.pid)


def _megabytes(size: int) -> Value:
    return lambda timing, server: timing.rate * size / 1e6


def _all() -> Iterator[Scenario]:
    yield Scenario("idle-memory", partial(Starts, rest_s=1.0), "MiB", _idle)
    for by, connections in itertools.product(("tag", "digest"), (1, 64)):
        rounds = partial(ManifestReads, by=by, connections=connections)
        yield Scenario(f"manifest-by-{by}-c{connections}", rounds, "req/s", _rate, Target(ratio=1.0))
    yield from _blob_reads()
    for connections in (1, 4):
        pushes = partial(TinyPushes, connections=connections)
        yield Scenario(f"push-tiny-c{connections}", pushes, "push/s", _rate, Target(ratio=2.0))
    yield from _blob_pushes()
    for name, of in (
        ("tags-first", first_tags),
        ("tags-last", last_tags),
        ("catalog-first", first_repositories),
        ("catalog-last", last_repositories),
    ):
        yield Scenario(name, partial(Pages, of=of), "ms", _p99, Target(at_most=5), "dataset")
    yield Scenario("referrers", partial(Pages, of=referrers), "ms", _p99, kind="dataset", alone=True)
    yield Scenario("delete", Deletes, "ms", _p50, Target(at_most=20), "dataset")
    yield Scenario("start", Starts, "ms", _p50, Target(at_most=1500), "dataset")


def _blob_reads() -> Iterator[Scenario]:
    plain = ("1MiB", 16), ("100MiB", 1), ("100MiB", 8), ("1GiB", 1)
    for label, connections in plain:
        yield _blob_read(f"blob-{label}-c{connections}", SIZES[label], connections, Target(ratio=1.0), "plain")
    for label, connections in (("1MiB", 4), ("100MiB", 1)):
        yield _blob_read(f"tls-blob-{label}-c{connections}", SIZES[label], connections, Target(ratio=0.8), "tls")


def _blob_read(name: str, size: int, connections: int, target: Target, kind: Kind) -> Scenario:
    rounds = partial(BlobReads, size=size, connections=connections)
    return Scenario(name, rounds, "MB/s", _megabytes(size), target, kind, large=size == GIB)


def _blob_pushes() -> Iterator[Scenario]:
    for (label, size), streamed in itertools.product(SIZES.items(), (False, True)):
        rounds = partial(BlobPushes, size=size, streamed=streamed)
        name = f"push-{label}-{'streamed' if streamed else 'monolithic'}"
        yield Scenario(name, rounds, "MB/s", _megabytes(size), Target(ratio=1.2), large=size == GIB)


KINDS: Final[tuple[Kind, ...]] = ("plain", "tls", "dataset")
SCENARIOS: Final = tuple(sorted(_all(), key=lambda scenario: KINDS.index(scenario.kind)))
