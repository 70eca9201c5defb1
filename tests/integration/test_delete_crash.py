"""
The server dies in the middle of a deletion (of a tag, an index, a manifest, a blob): what was acknowledged as deleted
stays deleted, all else is as it was, and the client can delete what is left.

QUAY_TEST_CRASHES=N runs through N crashes.
"""

from __future__ import annotations

import os
import signal
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.distribution import LOST, Client
from tests.faults import estate
from tests.faults.estate import DELETIONS, Deletion, Estate
from tests.integration.test_crash import BEFORE, CALM
from tests.integration.test_upkeep_crash import LATER, MOMENTS, Process
from tests.server import RunningQuay

pytestmark = pytest.mark.long

PASSES = {"commit.before": 4, "commit.after": 4, "manifest.deleted": 3, "blob.unlinked": 1}
"""Every crash point on the way, and how often a client who deletes everything passes it."""

WIDE = int(os.environ.get("QUAY_TEST_CRASHES", "0"))
FEW = [("commit.before", 1), ("manifest.deleted", 3), ("commit.after", 4)]


def every() -> list[tuple[str, int]]:
    """Each pass of each point, again and again."""
    return list(islice(cycle((name, n) for name, count in PASSES.items() for n in range(1, count + 1)), WIDE))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with everything in it, and nothing deleted."""
    data = tmp_path_factory.mktemp("estate")
    with RunningQuay(data) as server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        estate.push(client)
        client.close()
        server.stop()
    return data


@pytest.mark.parametrize(("point", "nth"), every() or FEW)
def test_a_deletion_survives_a_crash(template: Path, tmp_path: Path, point: str, nth: int) -> None:
    """Wherever in a deletion the server dies, it is whole or has not begun, and those before it are done."""
    data = estate.copied(template, tmp_path / "data")
    acknowledged: list[Deletion] = []
    with RunningQuay(data, CALM | {"QUAY_CRASH_AT": f"{point}:{nth + BEFORE.get(point, 0)}"}) as server:
        client = Client(server.host, "dev")
        client.login(estate.APP)
        with pytest.raises(LOST):
            for deletion in DELETIONS:
                assert deletion.do(client)
                acknowledged.append(deletion)
        assert server.wait() == -signal.SIGKILL
    Estate(data).check()
    with RunningQuay(data) as server:
        client = Client(server.host, "dev")
        done = [deletion.done(client) for deletion in DELETIONS]
        met = len(acknowledged)  # the one that met the crash
        assert done == [True] * met + [point != "commit.before"] + [False] * (len(DELETIONS) - met - 1)
        for deletion in DELETIONS:
            deletion.do(client)
            assert deletion.done(client)
        client.close()
    Estate(data).check()
    for moments in (MOMENTS, LATER):
        assert Process(data, moments).wait() == 0
    Estate(data).check_swept()
