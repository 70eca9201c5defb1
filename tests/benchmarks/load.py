"""
Load: the same request over many connections with wrk, or with a loop of our own where wrk is not installed; and any
operation, again and again, from one or several threads.
"""

from __future__ import annotations

import itertools
import re
import selectors
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from tests.benchmarks.measures import Timing
from tests.benchmarks.servers import Server
from tests.benchmarks.wire import Connection, Refused

_SCALE: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_LATENCY: Final = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\s*$", re.MULTILINE)
_TOTAL: Final = re.compile(r"(\d+) requests in ([\d.]+)(ms|s|m)")
_TROUBLE: Final = re.compile(r"Non-2xx.*|Socket errors.*")

Operation = Callable[[], object]


def hammer(server: Server, path: str, headers: Mapping[str, str], connections: int, seconds: float) -> Timing:
    """GET `path` as often as `server` answers. Raises `Refused` if one answer is no success."""
    if shutil.which("wrk") is None:
        return _hammer_alone(server, path, headers, connections, seconds)
    given = [part for header in headers.items() for part in ("-H", ": ".join(header))]
    url = f"{'https' if server.setting.tls else 'http'}://127.0.0.1:{server.port}{path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", *given, url]
    return timing_of(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def timing_of(report: str) -> Timing:
    """What wrk says with `--latency`. Raises `Refused` if it met errors."""
    trouble, total = _TROUBLE.search(report), _TOTAL.search(report)
    if trouble or total is None:
        raise Refused(f"wrk met trouble: {trouble[0] if trouble else report}")
    at = {share: float(number) * _SCALE[unit] for share, number, unit in _LATENCY.findall(report)}
    return Timing(int(total[1]), float(total[2]) * _SCALE[total[3]] / 1000, at["50"], at["99"])


def _hammer_alone(server: Server, path: str, headers: Mapping[str, str], connections: int, seconds: float) -> Timing:
    """With one thread that waits for all connections at once."""
    latencies: list[float] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        opened = [stack.enter_context(server.connect()) for _ in range(connections)]
        asked = opened[0].head("GET", path, headers)
        began = time.perf_counter()
        for connection in opened:
            connection.say(asked)
            selector.register(connection, selectors.EVENT_READ, began)
        while (now := time.perf_counter()) < began + seconds:
            for key, _ in selector.select(1):
                connection = key.fileobj
                assert isinstance(connection, Connection)
                connection.answer().expect(200)
                latencies.append(time.perf_counter() - key.data)
                connection.say(asked)
                selector.modify(connection, selectors.EVENT_READ, time.perf_counter())
        return Timing.of(latencies, now - began)


def repeat(workers: Sequence[Iterator[Operation]], seconds: float) -> Timing:
    """
    Let every worker, in its own thread, do its operations for so long, one at least. What a worker does to have the
    next operation at hand is not counted, nor is its time if it is alone.
    """
    latencies: list[list[float]] = [[] for _ in workers]
    failures: list[Exception] = []
    end = time.perf_counter() + seconds

    def work(operations: Iterator[Operation], took: list[float]) -> None:
        try:
            for operation in operations:
                began = time.perf_counter()
                operation()
                took.append((now := time.perf_counter()) - began)
                if now > end:
                    return
        except Exception as error:
            failures.append(error)

    began = time.perf_counter()
    threads = [threading.Thread(target=work, args=pair) for pair in zip(workers, latencies, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    if failures:
        raise failures[0]
    return Timing.of(list(itertools.chain(*latencies)), sum(latencies[0]) if len(workers) == 1 else wall)
