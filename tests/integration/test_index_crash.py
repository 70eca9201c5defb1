"""
The server dies while indexes and their children, referrers and mounted blobs are pushed: what was acknowledged can be
pulled, what is there is whole, and the client can push all of it again.

QUAY_TEST_CRASHES=N runs through N crashes.
"""

from __future__ import annotations

import json
import os
import random
import signal
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.distribution import LOST, MANIFEST, Client
from tests.faults import estate
from tests.faults.estate import INDEX, KEEP, Estate, Put
from tests.integration.test_crash import BEFORE, CALM
from tests.server import RunningQuay

pytestmark = pytest.mark.long

PASSES = {"manifest.received": 14, "manifest.stored": 14, "blob.linked": 20, "commit.before": 35, "commit.after": 35}
"""Crash points on the way, and how often a push of everything passes each at least."""

WIDE = int(os.environ.get("QUAY_TEST_CRASHES", "0"))
FEW = [("manifest.stored", 8), ("commit.before", 30)]


def every() -> list[tuple[str, int]]:
    """Each pass of each point, again and again, in an order in which neighbours have little to do with each other."""
    points = [(name, n) for name, count in PASSES.items() for n in range(1, count + 1)]
    random.Random(9).shuffle(points)
    return list(islice(cycle(points), WIDE))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with one user."""
    data = tmp_path_factory.mktemp("empty")
    with RunningQuay(data) as server:
        server.add_user("dev")
        server.stop()
    return data


def pull(client: Client, put: Put) -> None:
    """Raises AssertionError unless the manifest and all of its blobs are what was pushed."""
    headers = {"Accept": f"{MANIFEST}, {INDEX}"}
    for reference in filter(None, (put.tag, put.content.digest)):
        answer = client.call("GET", put.repository, f"manifests/{reference}", headers=headers).expect(200)
        assert answer.body == put.content.raw
    for blob in put.content.blobs:
        assert client.call("GET", put.repository, f"blobs/{estate.digest_of(blob)}").expect(200).body == blob
    subject = json.loads(put.content.raw).get("subject")
    if subject is not None:
        answer = client.call("GET", put.repository, f"referrers/{subject['digest']}").expect(200)
        assert put.content.digest in [one["digest"] for one in json.loads(answer.body)["manifests"]]


@pytest.mark.parametrize(("point", "nth"), every() or FEW)
def test_a_push_of_everything_survives_a_crash(template: Path, tmp_path: Path, point: str, nth: int) -> None:
    """Wherever the server dies, indexes, children and referrers that were acknowledged can be pulled and listed."""
    data, acknowledged = estate.copied(template, tmp_path / "data"), list[Put]()
    with RunningQuay(data, CALM | {"QUAY_CRASH_AT": f"{point}:{nth + BEFORE.get(point, 0)}"}) as server:
        client = Client(server.host, "dev")
        with pytest.raises(LOST):
            estate.push(client, acknowledged)
        assert server.wait() == -signal.SIGKILL
    Estate(data).check(acknowledged)
    with RunningQuay(data) as server:
        client = Client(server.host, "dev")
        for put in acknowledged:
            pull(client, put)
        again = list[Put]()
        estate.push(client, again)
        for put in again:
            pull(client, put)
        client.close()
    assert set(KEEP) <= set(again)
    Estate(data).check(again)
