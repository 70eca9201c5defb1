"""
The server dies in the middle of its upkeep (tags expire, manifests, links and blobs are collected, uploads reaped), at
every step of it and at any time: nothing that must be kept is lost or wrong, and the next one finishes the work, to the
last row and byte.

QUAY_TEST_CRASHES=N runs through N crashes at named points, and as many more at random times as are a third of that.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from threading import Timer

import pytest

from tests.distribution import Client
from tests.faults import estate, upkeep
from tests.faults.estate import DROP, Estate
from tests.server import PATIENCE, RunningQuay

pytestmark = pytest.mark.long

MONTH, GRACE = 30 * 24, 2
"""Hours: the first is more than the time machine, the second more than the links of a collected manifest are kept."""
MOMENTS = [MONTH, MONTH + GRACE, 2 * MONTH, 2 * MONTH + GRACE]
"""Tags that expire at the first moment can be restored until the third."""
LATER = [3 * MONTH, 3 * MONTH + GRACE, 4 * MONTH, 4 * MONTH + GRACE, 5 * MONTH]
"""The same again; claims of whoever died have run out, and at last the tombstones are forgotten."""

PASSES = {
    "gc.tags-removed": 1,
    "gc.manifests-removed": 2,
    "gc.row-deleted": 4,
    "gc.blob-removed": 13,
    "gc.bytes-deleted": 4,
    "gc.gone": 4,
    "gc.taken-over": 4,
    "gc.finished": 4,
    "upload.discarded": 2,
    "commit.before": 28,
    "commit.after": 28,
}
"""Every crash point on the way, and how often one upkeep at these moments passes it at least."""

WIDE = int(os.environ.get("QUAY_TEST_CRASHES", "0"))
LONGEST_UPKEEP = 0.9
"""Seconds that an upkeep takes here, roughly, from the start of its process."""

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.faults.upkeep"])


def every() -> list[tuple[str, int]]:
    """Each pass of each point, again and again, in an order in which neighbours have little to do with each other."""
    points = [(name, n) for name, count in PASSES.items() for n in range(1, count + 1)]
    random.Random(8).shuffle(points)
    return list(islice(cycle(points), WIDE))


def few() -> list[tuple[str, int]]:
    """Each of the collector's own points once, somewhere in the middle."""
    return [(name, (count + 1) // 2) for name, count in PASSES.items() if not name.startswith("commit")]


class Process:
    """The upkeep of a data directory, in a process of its own."""

    def __init__(self, data: Path, moments_h: Sequence[float], crash_at: str = "") -> None:
        environ = {"QUAY_DATA": str(data), "QUAY_CRASH_AT": crash_at}
        self._process = processes.Process(target=upkeep.main, args=(environ, moments_h))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None
        return self._process.exitcode


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with everything in it, from which a client has deleted what it wanted to delete."""
    data = tmp_path_factory.mktemp("estate")
    with RunningQuay(data) as server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        estate.push(client)
        for deletion in estate.DELETIONS:
            assert deletion.do(client)
        client.close()
        server.stop()
    Estate(data).check()
    return data


@pytest.fixture
def data(template: Path, tmp_path: Path) -> Path:
    return estate.copied(template, tmp_path / "data")


def check_recovery(data: Path) -> None:
    """Raise AssertionError unless all is well after the crash, and the next upkeep finishes the work."""
    Estate(data).check()
    assert Process(data, LATER).wait() == 0
    Estate(data).check()
    Estate(data).check_swept()


def test_an_upkeep_without_a_crash(data: Path) -> None:
    """What the other tests expect in the end is what an upkeep that nobody disturbs makes of it."""
    assert Process(data, MOMENTS).wait() == 0
    Estate(data).check()
    assert Process(data, LATER).wait() == 0
    Estate(data).check_swept()


def test_an_upkeep_spares_what_can_be_restored(data: Path) -> None:
    """To the last day of the time machine, all that was deleted or has expired can be brought back, whole."""
    fortnight = estate.TIME_MACHINE_S / 3600
    assert Process(data, [0, 1, 50, fortnight - 24, fortnight - 1]).wait() == 0
    Estate(data).check(ahead_h=fortnight - 1)
    Estate(data).check_restorable(DROP)
    assert Process(data, [fortnight + 1]).wait() == 0
    with pytest.raises(AssertionError, match="is lost"):
        Estate(data).check_restorable(DROP)


@pytest.mark.parametrize(("point", "nth"), every() or few())
def test_an_upkeep_survives_a_crash_at_a_named_point(data: Path, point: str, nth: int) -> None:
    """Wherever in its upkeep the server dies, nothing is lost or wrong, and the next one finishes the work."""
    assert Process(data, MOMENTS, f"{point}:{nth}").wait() == -signal.SIGKILL
    check_recovery(data)


@pytest.mark.parametrize("seed", range(WIDE // 3 or 4))
def test_an_upkeep_survives_a_crash_at_any_time(data: Path, seed: int) -> None:
    """As above, for a server that is killed at a random time."""
    process = Process(data, MOMENTS)
    killer = Timer(random.Random(seed).uniform(0.0, LONGEST_UPKEEP), os.kill, (process.pid, signal.SIGKILL))
    killer.start()
    status = process.wait()
    killer.cancel()
    killer.join()
    assert status in (0, -signal.SIGKILL)
    check_recovery(data)


def test_what_was_collected_can_be_pushed_again(data: Path) -> None:
    """After a crash between rows and bytes, the server takes every blob again that was being removed."""
    assert Process(data, MOMENTS, "gc.blob-removed:3").wait() == -signal.SIGKILL
    assert Process(data, [MONTH + 2 * GRACE]).wait() == 0  # the tombstones are still there
    with RunningQuay(data) as server:
        client = Client(server.host, "dev")
        for put in DROP:
            put.do(client)
            for blob in put.content.blobs:
                assert client.call("GET", put.repository, f"blobs/{estate.digest_of(blob)}").expect(200).body == blob
        client.close()
        assert "0 problems" in server.command("fsck")
    Estate(data).check()
