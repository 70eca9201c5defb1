"""
The composition root: from a configuration to a running registry.

Nothing outside this package imports the reactor, reads the environment or names a concrete driver. `core` makes the
parts, `appliance` is the server; here is how a process becomes one: `quay serve`, `twistd quay`, or a command that
works with the same parts for a moment.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, NoReturn, ParamSpec, TypeVar

from twisted.application.service import IServiceMaker
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import FilteringLogObserver, Logger, LogLevel, LogLevelFilterPredicate, textFileLogObserver
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from twisted.python.usage import Options as UsageOptions
from zope.interface import implementer

from quay import faults
from quay.config import Config, ConfigError, settle
from quay.config.surroundings import Surroundings
from quay.database import Transaction, once
from quay.lock import prepare
from quay.service.journal import is_journal, journal_observer
from quay.threads import ImmediatePool

if TYPE_CHECKING:
    from quay.registry.garbage import Collected
    from quay.registry.logbook import Format
    from quay.service.appliance import Appliance
    from quay.service.core import Core

# The server takes a second to import, which a command with one transaction does without: whoever needs it, imports it.

log = Logger()

P = ParamSpec("P")
R = TypeVar("R")

ANSWERED_S: Final = 0.5
"""So long the answer that announces a restart has to be on its way."""


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

        from quay.service.appliance import Appliance
        from quay.service.founding import Restarts
        from quay.service.supervision import Supervisor

        file = Path(options["config"]) if options["config"] else None
        surroundings = Surroundings.of(file, os.environ)
        try:
            config = settle(surroundings)
        except ConfigError as error:
            raise SystemExit(str(error)) from None
        for warning in config.warnings:
            log.warn("{warning}", warning=warning)
        return Appliance(reactor, config, Restarts(surroundings), Supervisor.of(os.environ, os.getpid()))


quay = QuayMaker()


def serve(config: Config, surroundings: Surroundings) -> int:
    """
    Run a server in the foreground until it is told to stop; returns the exit status of the process. The server that its
    setup starts anew is the same process, with the same command and environment.
    """
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    from quay.service.appliance import Appliance
    from quay.service.founding import Restarts
    from quay.service.supervision import Supervisor

    globalLogBeginner.beginLoggingTo([_console(config.log_level)], redirectStandardIO=False)
    _arm(os.environ.get("QUAY_CRASH_AT", ""))
    _open_many_files()
    anew: list[bool] = []

    def again() -> None:
        anew.append(True)
        appliance.supervision.reloading()
        reactor.callLater(ANSWERED_S, reactor.stop)

    supervisor = Supervisor.of(os.environ, os.getpid())
    appliance = Appliance(reactor, config, Restarts(surroundings, again), supervisor)
    reactor.callWhenRunning(appliance.startService)
    reactor.callWhenRunning(_reload_on_hangup, reactor, appliance)
    reactor.addSystemEventTrigger("before", "shutdown", _hurry)
    reactor.addSystemEventTrigger("before", "shutdown", appliance.stopService)
    reactor.run()
    if anew and not appliance.failed:
        _become_anew()
    return 1 if appliance.failed else 0


def run(config: Config, work: Callable[[Core], Awaitable[R]]) -> R:
    """Do `work` with a core of its own, beside a running server or without one. What it raises is raised here."""
    prepare(config.data)
    return react(lambda reactor: _worked(reactor, config, work))


def react(work: Callable[[Any], Coroutine[Any, Any, R]]) -> R:
    """Do `work` with the reactor. Whoever interrupts it cancels it, and waits until it has cleared up."""
    from twisted.internet import task

    _arm(os.environ.get("QUAY_CRASH_AT", ""))
    outcome: list[R | Failure] = []

    def begin(reactor: Any) -> Deferred[None]:
        working = Deferred.fromCoroutine(work(reactor)).addBoth(outcome.append)
        reactor.addSystemEventTrigger("before", "shutdown", _cleared_up, working)
        return working

    with suppress(SystemExit):  # the way in which `react` ends
        task.react(begin)
    if not outcome or (isinstance(outcome[0], Failure) and outcome[0].check(CancelledError)):
        raise KeyboardInterrupt
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def _cleared_up(working: Deferred[None]) -> Deferred[None]:
    if working.called:
        return succeed(None)
    cleared: Deferred[None] = Deferred()
    working.addBoth(lambda _: cleared.callback(None))
    working.cancel()
    return cleared


async def _worked(reactor: Any, config: Config, work: Callable[[Core], Awaitable[R]]) -> R:
    from quay.service.core import core_of

    core = core_of(reactor, config)
    try:
        await core.start()
        return await work(core)
    finally:
        await core.stop()


def transact(config: Config, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """
    One transaction of a command, which may be the first to use the data directory. Raises `DatabaseUnavailable`,
    `DataUnusable`.
    """
    prepare(config.data)
    return once(config.database_url, work, *args, **kwargs)


def change(config: Config, work: Callable[Concatenate[Transaction, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """As `transact`, and running servers forget what they have cached: at once with Redis, else in a short while."""
    if config.events_redis is not None:
        return run(config, lambda core: core.database.write(work, *args, **kwargs))

    from quay.service import upkeep

    def marked(txn: Transaction) -> R:
        upkeep.ask_to_forget(txn)
        return work(txn, *args, **kwargs)

    return transact(config, marked)


def collect(config: Config, say: Callable[[str], object]) -> Collected:
    """Collect all garbage now: see `quay.service.upkeep`."""
    from twisted.internet import reactor

    from quay.service import upkeep

    return run(config, lambda core: upkeep.collect(reactor, core, say))


def check(config: Config, say: Callable[[str], object], *, repair: bool) -> int:
    """Compare rows and bytes; returns how many problems remain: see `quay.registry.fsck`."""
    from twisted.internet import reactor

    from quay.service import upkeep

    return run(config, lambda core: upkeep.check(reactor, core, say, repair))


def scrub(config: Config, say: Callable[[str], object], *, rate: float) -> int:
    """Read all blobs again; returns how many had rotted: see `quay.registry.scrub`."""
    from twisted.internet import reactor

    from quay.service import upkeep

    return run(config, lambda core: upkeep.scrub(reactor, core, say, rate))


def verify_log(config: Config, say: Callable[[str], object], noted: str | None) -> int:
    """Verify the audit log; returns how many problems there are: see `quay.registry.sealing`."""
    from quay.service import logbook

    return run(config, lambda core: logbook.verify(core, say, noted))


def export_log(
    config: Config,
    write: Callable[[str], object],
    name: str | None,
    start_ms: int | None,
    end_ms: int | None,
    form: Format,
) -> int:
    """Write a part of the audit log; returns how many entries it has: see `quay.service.logbook`."""
    from quay.service import logbook

    return run(config, lambda core: logbook.export(core, write, name, start_ms, end_ms, form))


def hashed(password: str) -> str:
    """A password hash, made at once: for commands, which have no reactor to keep from blocking."""
    from quay.auth.passwords import Passwords

    done: Deferred[str] = Passwords(ImmediatePool()).hash(password)
    return str(done.result)


def _console(level: str) -> FilteringLogObserver:
    """Log lines on standard error, from `level` upwards."""
    threshold = LogLevel.levelWithName(level)
    predicate = LogLevelFilterPredicate(threshold)
    if threshold is LogLevel.info:  # what Twisted says of ports and its loop, our own lines say better
        for namespace in ("twisted", "log_legacy"):
            predicate.setLogLevelForNamespace(namespace, LogLevel.warn)
    journal = is_journal(sys.stderr, os.environ)
    observer = journal_observer(sys.stderr) if journal else textFileLogObserver(sys.stderr)
    return FilteringLogObserver(observer, [predicate])


def _hurry() -> None:
    """While it stops, being told so again changes nothing, except that a second Ctrl-C ends it at once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _reload_on_hangup(reactor: Any, appliance: Appliance) -> None:
    """SIGHUP means that certificates on the disk were replaced."""

    def reload() -> None:
        Deferred.fromCoroutine(appliance.reload())

    signal.signal(signal.SIGHUP, lambda number, frame: reactor.callFromThread(reload))


def _become_anew() -> NoReturn:
    """Be the same program from its beginning, with the same arguments: what is open is closed by that."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # while it stopped, it would not be hurried; see `_hurry`
    frozen = getattr(sys, "frozen", False)
    os.execv(sys.executable, [sys.executable, *(sys.argv if frozen else sys.orig_argv)[1:]])  # noqa: S606


def _open_many_files() -> None:
    """Connections, uploads and downloads are open files: take as many as this process may have."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now != most:  # where it has them all, it may be forbidden to ask
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _arm(points: str) -> None:
    """`name:count[,name:count…]`: where a test wants this process to die."""
    for point in filter(None, points.split(",")):
        name, _, count = point.partition(":")
        faults.arm(name, int(count or 1))
