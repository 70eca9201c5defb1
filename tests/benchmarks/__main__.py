"""
Measure this registry beside its peers, on this machine and in the same minutes.

    make bench
    make bench BENCH="--quick --only manifest,push-tiny --peer v3"
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from tests.benchmarks import dataset, report
from tests.benchmarks.rounds import Work
from tests.benchmarks.run import Run
from tests.benchmarks.scenarios import GIB, SCENARIOS, Scenario
from tests.benchmarks.servers import CACHE, SERVERS, Ours, Peer, PeerMissing, Server
from tests.benchmarks.wire import MIB, Pool

RESULTS: Final = Path(__file__).parent / "results"


@attrs.frozen
class Pace:
    """How long a run takes: seconds of a round, rounds, minutes in all, and how much of the dataset there is."""

    seconds: float
    rounds: int
    minutes: float
    factor: float


FULL: Final = Pace(seconds=2, rounds=3, minutes=11, factor=1)
QUICK: Final = Pace(seconds=0.5, rounds=2, minutes=2.5, factor=0.1)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.strip().partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="name the scenarios and their targets, and do nothing")
    parser.add_argument("--only", metavar="NAME[,NAME]", default="", help="scenarios whose names begin so")
    peers = [name for name in SERVERS if name != Ours.name]
    parser.add_argument("--peer", action="append", choices=peers, help="beside this one (again for another); else all")
    parser.add_argument("--quick", action="store_true", help="three minutes, without what takes long")
    parser.add_argument("--rounds", type=int, help="how often each scenario is done for each server")
    parser.add_argument("--factor", type=float, help="how much of the dataset there is")
    parser.add_argument("--data", type=Path, default=CACHE, help="where the servers keep their data meanwhile")
    parser.add_argument("--json", type=Path, help="where the results go; else a file of their own in results/")
    return parser.parse_args(given)


def chosen(names: str, *, quick: bool) -> list[Scenario]:
    """The scenarios whose names begin with one of these. Raises SystemExit if a name fits none."""
    prefixes = tuple(filter(None, names.split(",")))
    for prefix in prefixes:
        if not any(scenario.name.startswith(prefix) for scenario in SCENARIOS):
            raise SystemExit(f"No scenario is named {prefix}…; --list names them.")
    if prefixes:
        return [scenario for scenario in SCENARIOS if scenario.name.startswith(prefixes)]
    return [scenario for scenario in SCENARIOS if not (quick and scenario.large)]


def servers(peers: Sequence[str]) -> list[type[Server]]:
    """Ours, and those peers that can be run here; of the others it is said why not."""
    found: list[type[Server]] = [Ours]
    for peer in (SERVERS[name] for name in peers):
        try:
            assert issubclass(peer, Peer)
            peer.program()
            found.append(peer)
        except PeerMissing as error:
            print(f"Without {peer.name}: {error}", file=sys.stderr)
    return found


def main() -> None:
    asked = arguments()
    scenarios = chosen(asked.only, quick=asked.quick)
    if asked.list:
        for scenario in scenarios:
            print(f"{scenario.name:26} {scenario.unit:7} {scenario.target}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("The run was ended."))  # not without stopping the servers
    pace = QUICK if asked.quick else FULL
    asked.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=asked.data) as directory:
        pool = Pool(Path(directory) / "pool", GIB if any(scenario.large for scenario in scenarios) else 128 * MIB)
        sizes = dataset.Sizes().scaled(pace.factor if asked.factor is None else asked.factor)
        run = Run(
            scenarios,
            servers(asked.peer or [name for name in SERVERS if name != Ours.name]),
            Path(directory),
            Work(pace.seconds, pool, sizes),
            asked.rounds or pace.rounds,
            time.monotonic() + pace.minutes * 60,
        )
        _report(run, asked.json or RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}.json")


def _report(run: Run, path: Path) -> None:
    results = []
    for result in run.results():
        results.append(result)
        medians = {name: report.number(sample.value) for name, sample in result.medians.items()}
        print(f"{result.scenario.name}: {result.failure or medians}", file=sys.stderr, flush=True)
    print(report.table(results))
    print(f"\n{report.stalls(results)}")
    report.write(path, results)
    print(f"\nEvery round: {path}")


if __name__ == "__main__":
    main()
