"""The table for a person, and the JSON for a program."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.benchmarks.measures import Sample
from tests.benchmarks.run import Result

COSTS: Final = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "cpu_ms_each": "CPU ms each", "peak_mib": "peak MiB"}

STALL_MS: Final = 50.0


def table(results: Sequence[Result]) -> str:
    """
    Markdown: medians, ratios (more than 1: ours is better), what an operation costs each server, in the order of the
    servers, a bound for the stalls of our reactor, and whether the target is reached.
    """
    servers = list(dict.fromkeys(name for result in results for name in result.samples))
    ratios = (f"× {peer}" for peer in servers[1:])
    heads = ["scenario", "unit", *servers, *ratios, *COSTS.values(), "stall ms", "target", ""]
    lines = [heads, ["---"] * len(heads), *(_row(result, servers) for result in results)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(result: Result, servers: Sequence[str]) -> list[str]:
    scenario, target = result.scenario, str(result.scenario.target)
    if result.failure:
        return [scenario.name, scenario.unit, result.failure.replace("|", "/").replace("\n", " ")[:200]]
    medians = [result.medians.get(name) for name in servers]
    return [
        scenario.name,
        scenario.unit,
        *(_cell(sample, "value") for sample in medians),
        *(number(result.ratios.get(peer)) for peer in servers[1:]),
        *(" / ".join(_cell(sample, cost) for sample in medians if sample) for cost in COSTS),
        f"≤ {number(result.stall_ms)}" if result.stall_ms else "",
        target,
        ("met" if result.met else "**missed**") if target else "",
    ]


def stalls(results: Sequence[Result]) -> str:
    """The longest stall of our reactor in all of it, and whether that is short enough."""
    longest = max((result.stall_ms for result in results), default=0.0)
    verdict = "met" if longest <= STALL_MS else "missed"
    return f"The reactor never stood still for more than {number(longest)} ms (target ≤ {STALL_MS:g}: {verdict})."


def _cell(sample: Sample | None, field: str) -> str:
    return "" if sample is None else number(getattr(sample, field))


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(path: Path, results: Sequence[Result]) -> None:
    """Everything that was measured, and on which machine when."""
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "load": os.getloadavg(),
        "results": [result.as_json() for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
