"""
The power fails while a backup is made or restored, and what was not synced is gone, or half of it: what bears the name
of a backup is one, and what can be served has been restored whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from quay.backups import Folder, Verification
from quay.lock import RESTORING
from quay.threads import ImmediatePool
from tests.distribution import Client
from tests.faults import estate
from tests.faults.estate import Estate
from tests.faults.journal import Medium, records
from tests.faults.test_power_cut_of_garbage import keeping
from tests.server import PATIENCE, REPOSITORY, RunningQuay

pytestmark = pytest.mark.long

JUDGED = int(os.environ.get("QUAY_TEST_CRASHES", "0")) or 20
TELLING = {"rename", "unlink", "sync directory"}
"""Around the last of these, each moment is judged."""


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory on another file system than the data: blobs are copied to it, and not linked."""
    path = Path(tempfile.mkdtemp(prefix="quay-backup-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def served(tmp_path: Path) -> RunningQuay:
    """A registry with everything in it, that does not run any more."""
    server = RunningQuay(tmp_path / "data")
    with server:
        server.add_user("dev")
        client = Client(server.host, "dev")
        estate.push(client)
        client.close()
        server.stop()
    return server


def run(data: Path, environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "quay", *arguments]
    env = {"PATH": os.environ["PATH"], "QUAY_DATA": str(data), **environment}
    subprocess.run(command, cwd=REPOSITORY, env=env, check=True, timeout=PATIENCE, capture_output=True)


def cuts(medium: Medium, journal: Path, left: Path) -> Iterator[bool]:
    """Make `left` what each moment leaves, first without what was not synced, then by the dice; True at the end."""
    found = list(records(journal))
    step = max(1, len(found) // JUDGED)
    for number, record in enumerate(found):
        medium.play(record)
        late = record.op in TELLING and number > len(found) - JUDGED
        if number % step == 0 or late or number == len(found) - 1:
            for dice in (None, Random(number)):
                left.mkdir()
                medium.cut(left, dice)
                yield number == len(found) - 1
                shutil.rmtree(left)


def problems(backup: Path) -> list[str]:
    said: list[str] = []
    verification = Verification(backup, ImmediatePool(), Clock(), said.append)
    outcome: list[object] = []
    Deferred.fromCoroutine(verification.run()).addBoth(outcome.append)
    return said if verification.problems or said else [] if outcome else ["it waits"]


def test_a_backup_is_whole(served: RunningQuay, elsewhere: Path, library: Path, tmp_path: Path) -> None:
    """Whenever the power fails, a directory with the name of a backup is a good one; in the end there is one."""
    medium, journal = Medium(elsewhere), tmp_path / "journal"
    run(served.data, keeping(elsewhere, library, journal), "backup", str(elsewhere))
    complete = judged = 0
    for at_end in cuts(medium, journal, tmp_path / "left"):
        backups = Folder(tmp_path / "left").complete()
        for backup in backups:
            assert problems(backup) == []
        complete += len(backups)
        judged += 1
        assert backups or not at_end
    assert judged > JUDGED and 0 < complete < judged


def test_a_restoration_is_whole(served: RunningQuay, elsewhere: Path, library: Path, tmp_path: Path) -> None:
    """Whenever the power fails, what nobody is kept from serving is either nothing yet, or all of it."""
    run(served.data, {}, "backup", str(tmp_path / "backups"))
    [backup] = Folder(tmp_path / "backups").complete()
    medium, journal = Medium(elsewhere), tmp_path / "journal"
    run(elsewhere, keeping(elsewhere, library, journal), "restore", str(backup))
    whole = judged = 0
    for at_end in cuts(medium, journal, tmp_path / "left"):
        left = tmp_path / "left"
        judged += 1
        if (left / RESTORING).exists():
            assert not at_end
            continue
        if (left / "quay.db").exists():
            (left / "blobs" / "uploads").mkdir(exist_ok=True)
            Estate(left).check()
            whole += 1
        assert (left / "quay.db").exists() or not any(left.glob("blobs/blobs/*/*/*"))
    assert judged > JUDGED and 0 < whole < judged
