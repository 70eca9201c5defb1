"""
The composition root: from a configuration to a running registry.

Nothing outside this package imports the reactor, reads the environment or names a concrete driver. `core` makes the
parts, `appliance` is the server; here is how a process becomes one: `quay serve`, `twistd quay`, or a command that
works with the same parts for a moment.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from twisted.application.service import IServiceMaker
from twisted.internet.defer import Deferred
from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, textFileLogObserver
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions
from zope.interface import implementer

from quay import faults
from quay.auth.passwords import Passwords
from quay.config import Config, ConfigError, settle
from quay.config.surroundings import Surroundings
from quay.database import Transaction, once
from quay.service.appliance import Appliance
from quay.service.core import Core, core_of
from quay.threads import ImmediatePool

P = ParamSpec("P")
R = TypeVar("R")


class Options(UsageOptions):
    """What `twistd quay` takes."""

    optParameters = [["config", "c", None, "The configuration file; else quay.yaml in the data directory."]]  # noqa: RUF012


@implementer(IServiceMaker, IPlugin)
class QuayMaker:
    """Makes the server for `twistd`."""

    tapname = "quay"
    description = "A container registry with namespaces, teams, robots and a tag time machine."
    options = Options

    def makeService(self, options: Options) -> Appliance:
        from twisted.internet import reactor

        file = Path(options["config"]) if options["config"] else None
        try:
            config = settle(Surroundings.of(file, os.environ))
        except ConfigError as error:
            raise SystemExit(str(error)) from None
        return Appliance(reactor, config)


quay = QuayMaker()


def serve(config: Config) -> int:
    """Run a server in the foreground until it is told to stop; returns the exit status of the process."""
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([_console(config.log_level)], redirectStandardIO=False)
    _arm(os.environ.get("QUAY_CRASH_AT", ""))
    _open_many_files()
    appliance = Appliance(reactor, config)
    reactor.callWhenRunning(appliance.startService)
    reactor.addSystemEventTrigger("before", "shutdown", appliance.stopService)
    reactor.run()
    return 1 if appliance.failed else 0


def run(config: Config, work: Callable[[Core], Awaitable[R]]) -> R:
    """Do `work` with a core of its own, beside a running server or without one. What it raises is raised here."""
    from twisted.internet import task

    outcome: list[R | Failure] = []
    with suppress(SystemExit):  # the way in which `react` ends
        task.react(lambda reactor: Deferred.fromCoroutine(_worked(reactor, config, work)).addBoth(outcome.append))
    if not outcome:
        raise KeyboardInterrupt
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


async def _worked(reactor: Any, config: Config, work: Callable[[Core], Awaitable[R]]) -> R:
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    core = core_of(reactor, config)
    try:
        await core.start()
        return await work(core)
    finally:
        await core.stop()


def transact(config: Config, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """One transaction of a command, which may be the first to use the data directory. Raises `DatabaseUnavailable`."""
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return once(config.database_url, work, *args, **kwargs)


def hashed(password: str) -> str:
    """A password hash, made at once: for commands, which have no reactor to keep from blocking."""
    done: Deferred[str] = Passwords(ImmediatePool()).hash(password)
    return str(done.result)


def _console(level: str) -> FilteringLogObserver:
    """Log lines on standard error, from `level` upwards."""
    predicate = LogLevelFilterPredicate(LogLevel.levelWithName(level))
    return FilteringLogObserver(textFileLogObserver(sys.stderr), [predicate])


def _open_many_files() -> None:
    """Connections, uploads and downloads are open files: take as many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _arm(points: str) -> None:
    """`name:count[,name:count…]`: where a test wants this process to die."""
    for point in filter(None, points.split(",")):
        name, _, count = point.partition(":")
        faults.arm(name, int(count or 1))
