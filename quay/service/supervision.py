"""
What a server tells the supervisor that started it: systemd, or who else speaks its protocol.

When it is ready, takes up something new, or stops; a sentence for `systemctl status`; and as long as it is well, that
it is. A server that ceases to say so is ended and started anew: one that stands still never stays.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()

TIMES: Final = 3
"""How often a supervisor is told, within the time that he waits, that all is well."""
STARTING_S: Final = 10.0
"""So often a start says that it goes on, where nobody waits for more."""


@attrs.frozen
class Supervisor:
    """
    Who watches this process: he listens at `address`, an AF_UNIX socket ("" for nobody), and wants to hear within
    `patience` seconds, again and again, that all is well (0 if he does not care).
    """

    address: str = ""
    patience: float = 0.0

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Self:
        """The one that the environment of the process `pid` names."""
        patience = environ.get("WATCHDOG_USEC", "")
        watched = patience.isdecimal() and environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        return cls(environ.get("NOTIFY_SOCKET", ""), int(patience) / 1e6 if watched else 0.0)

    def tell(self, *assignments: str) -> None:
        """Say this, without waiting; that he is gone, or does not listen, is logged and no trouble of the server's."""
        if not self.address:
            return
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as ours:
                ours.sendto("\n".join(assignments).encode(), address)
        except OSError as error:
            log.warn("The supervisor at {address} was not told: {why}", address=self.address, why=error.strerror)


class Supervision(Service):
    """
    Tells `supervisor` how the server does. It is well if the reactor turns, without which this is never called, and if
    `check`, of the database, comes to an end: well or badly, for a database that is away comes back by itself, while
    one that never answers again is a fault of this process.
    """

    name = "supervision"

    def __init__(self, clock: IReactorTime, supervisor: Supervisor, check: Callable[[], Deferred[None]]) -> None:
        self._clock = clock
        self._supervisor = supervisor
        self._check = check
        self._period = supervisor.patience / TIMES or STARTING_S
        self._timer: IDelayedCall | None = None
        self._checking = False
        self._reloading = False
        self._status = ""

    def startService(self) -> None:
        super().startService()
        if self._supervisor.address:
            self._tick()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return succeed(None)

    def ready(self, status: str = "") -> None:
        """All of it runs, which `status` says in one line; or, without one, all that was to be taken up is."""
        self._status = status or self._status
        self._reloading = False
        if self._status:
            self._supervisor.tell("READY=1", f"STATUS={self._status}")

    def reloading(self) -> None:
        """Something is taken up: `ready` follows, though perhaps of the program that takes the place of this one."""
        if self._status:
            self._reloading = True
            self._supervisor.tell("RELOADING=1")

    def stopping(self) -> None:
        """It stops, unless that is for starting anew."""
        if not self._reloading:
            self._supervisor.tell("STOPPING=1")

    def failed(self, why: str) -> None:
        """It could not start."""
        self._supervisor.tell(f"STATUS={why.splitlines()[0]}")

    def _tick(self) -> None:
        self._timer = self._clock.callLater(self._period, self._tick)
        if not self._status:  # a migration may take its time
            self._supervisor.tell(f"EXTEND_TIMEOUT_USEC={int(self._period * TIMES * 1e6)}", "WATCHDOG=1")
        elif self._supervisor.patience and not self._checking:
            self._checking = True
            self._check().addBoth(self._checked)

    def _checked(self, outcome: Any) -> None:
        self._checking = False
        trouble = f"; {outcome.getErrorMessage()}" if isinstance(outcome, Failure) else ""
        if self.running:
            self._supervisor.tell("WATCHDOG=1", f"STATUS={self._status}{trouble.splitlines()[0] if trouble else ''}")
