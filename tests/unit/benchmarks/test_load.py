"""The load of the benchmarks: what wrk says, the loop that stands in for it, operations that are repeated."""

import itertools
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import pytest

from tests.benchmarks import load
from tests.benchmarks.measures import Timing
from tests.benchmarks.wire import Connection, Refused

REPORT = """Running 3s test @ http://127.0.0.1:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.03ms    2.15ms  40.12ms   83.00%
    Req/Sec    10.60k     1.21k   12.35k    70.00%
  Latency Distribution
     50%  850.00us
     75%    7.02ms
     90%    8.10ms
     99%    1.20s
  31620 requests in 3.01s, 25.10MB read
Requests/sec:  10504.98
"""


class Greeting(BaseHTTPRequestHandler):
    """Answers every GET with a greeting, but /absent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(404 if self.path == "/absent" else 200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *args):
        pass


class Greeter:
    """As much of a server as the load needs."""

    def __init__(self, port):
        self.port = port

    def connect(self):
        return Connection(self.port)


@pytest.fixture
def greeter(serve):
    return Greeter(serve(Greeting))


def test_a_report_of_wrk_is_understood_in_all_its_units():
    """Requests, seconds and both percentiles are read from what wrk prints."""
    assert load.timing_of(REPORT) == Timing(31620, 3.01, 0.85, 1200.0)


@pytest.mark.parametrize("trouble", ["  Non-2xx or 3xx responses: 12", "  Socket errors: connect 0, read 3"])
def test_errors_that_wrk_met_are_not_taken_for_speed(trouble):
    """A server that refuses fast is not fast."""
    with pytest.raises(Refused, match=trouble.split(":", maxsplit=1)[0].strip()):
        load.timing_of(REPORT + trouble + "\n")


@pytest.fixture
def without_wrk(monkeypatch):
    """There is none; and time goes on by a millisecond with each look at the clock, however busy the machine is."""
    monkeypatch.setattr(load.shutil, "which", lambda name: None)
    looks = itertools.count()
    monkeypatch.setattr(load, "time", SimpleNamespace(perf_counter=lambda: next(looks) / 1000))


def test_without_wrk_all_connections_are_kept_busy(greeter, without_wrk):
    """Where wrk is not installed, one thread drives several connections."""
    timing = load.hammer(greeter, "/", {}, connections=4, seconds=0.1)
    assert timing.operations > 4
    assert 0 < timing.p50_ms <= timing.p99_ms


def test_without_wrk_an_error_is_an_error(greeter, without_wrk):
    """The loop does not count answers that are no success."""
    with pytest.raises(Refused, match="404"):
        load.hammer(greeter, "/absent", {}, connections=2, seconds=0.1)


def test_an_operation_that_takes_longer_than_the_round_is_done_once():
    """A round has one operation at least."""
    done = []
    assert load.repeat([itertools.repeat(lambda: done.append(1))], 0).operations == 1
    assert done == [1]


def test_all_workers_work():
    """Every worker does operations of its own, and all are counted."""
    done: list[list[int]] = [[], [], []]
    workers = [itertools.repeat(lambda own=own: own.append(1)) for own in done]
    timing = load.repeat(workers, 0.01)
    assert timing.operations == sum(map(len, done))
    assert all(done)


def test_a_worker_that_fails_ends_the_round():
    """What an operation raises is raised to the caller."""

    def fail():
        raise Refused("no")

    with pytest.raises(Refused, match="no"):
        load.repeat([itertools.repeat(fail)], 10)
