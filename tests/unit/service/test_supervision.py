"""What a supervisor is told, over a real socket, under a clock that the test moves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from quay.service.supervision import Supervision, Supervisor
from tests.supervisor import Listener

STATUS = "STATUS=quay 1 serves https://0.0.0.0:443"


class Database:
    """Checks of it end when the test says so."""

    def __init__(self) -> None:
        self.checks: list[Deferred[None]] = []

    def check(self) -> Deferred[None]:
        self.checks.append(Deferred())
        return self.checks[-1]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with Listener(tmp_path / "notify") as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def supervision(listener: Listener, clock: Clock, database: Database) -> Supervision:
    made = Supervision(clock, Supervisor(str(listener.path), 30.0), database.check)
    made.startService()
    return made


def test_a_start_may_take_its_time(listener: Listener, clock: Clock, supervision: Supervision) -> None:
    """Until all runs, the supervisor is asked for more time, again and again; a database is not asked for anything."""
    clock.pump([10.0] * 3)
    assert listener.now() == ["EXTEND_TIMEOUT_USEC=30000000", "WATCHDOG=1"] * 4


def test_well(listener: Listener, clock: Clock, supervision: Supervision, database: Database) -> None:
    """Three times within his patience, he hears that all is well, once the database has answered."""
    supervision.ready("quay 1 serves https://0.0.0.0:443")
    listener.now()
    for _ in range(3):
        clock.advance(10.0)
        assert listener.now() == []
        database.checks[-1].callback(None)
        assert listener.now() == ["WATCHDOG=1", STATUS]


def test_a_database_that_is_away(
    listener: Listener, clock: Clock, supervision: Supervision, database: Database
) -> None:
    """A database that says that it is away is no reason for a new start, but the status tells of it."""
    supervision.ready("quay 1 serves https://0.0.0.0:443")
    listener.now()
    clock.advance(10.0)
    database.checks[-1].errback(ConnectionError("It is away.\nSo it is."))
    assert listener.now() == ["WATCHDOG=1", f"{STATUS}; It is away."]


def test_a_database_that_never_answers(
    listener: Listener, clock: Clock, supervision: Supervision, database: Database
) -> None:
    """As long as a check does not end, nothing is said, nor is the database asked again: the supervisor decides."""
    supervision.ready("quay 1 serves https://0.0.0.0:443")
    listener.now()
    clock.pump([10.0] * 6)
    assert listener.now() == []
    assert len(database.checks) == 1


def test_taken_up(listener: Listener, supervision: Supervision) -> None:
    """A reload begins and ends; one that comes before the start has ended is none of the supervisor's business."""
    listener.now()
    supervision.reloading()
    supervision.ready()
    assert listener.now() == []
    supervision.ready("quay 1 serves https://0.0.0.0:443")
    supervision.reloading()
    supervision.ready()
    assert listener.now() == ["READY=1", STATUS, "RELOADING=1", "READY=1", STATUS]


def test_stopping(listener: Listener, clock: Clock, supervision: Supervision) -> None:
    """A stop is announced; one for starting anew is not, for the supervisor's process goes on."""
    supervision.ready("quay 1 serves https://0.0.0.0:443")
    supervision.reloading()
    supervision.stopping()
    supervision.ready()
    supervision.stopping()
    supervision.stopService()
    clock.advance(60.0)
    assert listener.now()[-5:] == [STATUS, "RELOADING=1", "READY=1", STATUS, "STOPPING=1"]


def test_a_check_that_ends_after_the_stop(
    listener: Listener, clock: Clock, supervision: Supervision, database: Database
) -> None:
    """What is found out too late is told nobody."""
    supervision.ready("quay 1 serves https://0.0.0.0:443")
    clock.advance(10.0)
    supervision.stopService()
    listener.now()
    database.checks[-1].callback(None)
    assert listener.now() == []


def test_a_supervisor_who_is_gone(listener: Listener, tmp_path: Path) -> None:
    """Nobody there, or nobody who reads: the server does not mind."""
    Supervisor(str(tmp_path / "nowhere")).tell("READY=1")
    watched = Supervisor(str(listener.path))
    for _ in range(5000):  # far more than the socket holds
        watched.tell("WATCHDOG=1")


def test_nobody(clock: Clock, database: Database) -> None:
    """Without a supervisor, nothing is told, nothing is asked, and no clock runs."""
    alone = Supervision(clock, Supervisor(), database.check)
    alone.startService()
    alone.ready("quay 1 serves https://0.0.0.0:443")
    alone.stopping()
    assert clock.getDelayedCalls() == database.checks == []


def test_an_abstract_socket() -> None:
    """An address that begins with @ is one in the abstract namespace, as containers have it."""
    name = f"@quay-test-{os.getpid()}"
    with Listener(Path(f"\0{name[1:]}")) as listener:
        Supervisor(name).tell("READY=1")
        assert listener.now() == ["READY=1"]


@pytest.mark.parametrize(
    ("environ", "patience"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_from_the_environment(environ: dict[str, str], patience: float) -> None:
    """A watchdog that means another process is no concern of this one."""
    assert Supervisor.of({"NOTIFY_SOCKET": "/run/notify", **environ}, 7) == Supervisor("/run/notify", patience)
