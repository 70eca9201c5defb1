"""
All checks at once: each in a thread of its own, and each with its time. What a check has found when its time is over
counts, and it is said that it did not end.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Semaphore, Thread
from typing import Final

import attrs

from appliance.doctor.patient import Check, Patient
from quay.condition import Finding, State, unseen, wrong

AT_ONCE: Final = 6
"""Checks that run side by side."""


@attrs.define
class Examined:
    """A check, and what it has found, in its order."""

    check: Check
    findings: list[Finding] = attrs.Factory(list)
    ended: bool = False


@attrs.frozen
class Progress:
    """How far an examination is: the names of the checks that are not done."""

    remaining: tuple[str, ...]
    done: int
    of: int


def examine(
    patient: Patient, checks: Sequence[Check], tell: Callable[[Progress], object] = lambda progress: None
) -> list[Examined]:
    """What the checks find, in their order; `tell` hears whenever one of them has ended."""
    examined = [Examined(check) for check in checks]
    _Run(patient, examined).run(tell)
    return examined


def failed(examined: Sequence[Examined]) -> bool:
    """Whether anything is wrong."""
    return any(finding.state is State.WRONG for one in examined for finding in one.findings)


class _Run:
    """One examination. Threads that do not end in time are left behind: they end with the process."""

    def __init__(self, patient: Patient, examined: list[Examined]) -> None:
        self._patient = patient
        self._examined = examined
        self._slots = Semaphore(AT_ONCE)
        self._said: Queue[tuple[Examined, Finding | None]] = Queue()
        self._until: dict[str, float] = {}

    def run(self, tell: Callable[[Progress], object]) -> None:
        tell(self._progress())
        for one in self._examined:
            Thread(target=self._look, args=(one,), name=f"doctor-{one.check.name}", daemon=True).start()
        while any(not one.ended for one in self._examined):
            self._hear(tell)
            self._end_late(tell)

    def _hear(self, tell: Callable[[Progress], object]) -> None:
        try:
            one, finding = self._said.get(timeout=0.1)
        except Empty:
            return
        if one.ended:
            return  # it was given up
        if finding is not None:
            one.findings.append(finding)
            return
        one.ended = True
        tell(self._progress())

    def _end_late(self, tell: Callable[[Progress], object]) -> None:
        now = time.monotonic()
        for one in self._examined:
            if not one.ended and now > self._until.get(one.check.name, now):
                one.findings.append(unseen(f"This did not end within {one.check.seconds:.0f} seconds."))
                one.ended = True
                self._slots.release()
                tell(self._progress())

    def _progress(self) -> Progress:
        remaining = tuple(one.check.name for one in self._examined if not one.ended)
        return Progress(remaining, len(self._examined) - len(remaining), len(self._examined))

    # --- in the thread of a check

    def _look(self, one: Examined) -> None:
        with self._slots:
            self._until[one.check.name] = time.monotonic() + one.check.seconds
            try:
                if self._patient.broken and not one.check.machine:
                    self._said.put((one, unseen("This needs the configuration, which cannot be used.")))
                    return
                for finding in one.check.look(self._patient):
                    self._said.put((one, finding))
            except OSError as error:
                self._said.put((one, _kept_out(error)))
            except Exception as error:  # a doctor who faints helps nobody: the others go on
                self._said.put((one, _fainted(error)))
            finally:
                self._said.put((one, None))


def _kept_out(error: OSError) -> Finding:
    """The operating system did not let a check look at something."""
    what = error.filename if isinstance(error.filename, str) else "Something"
    if isinstance(error, PermissionError):
        return unseen(f"{what} may not be looked at by this user: try as root, or as the server's user.")
    return wrong(f"{what} cannot be looked at: {error.strerror or error}.")


def _fainted(error: Exception) -> Finding:
    """What nobody foresaw: where it was, without its words, in which there may be a secret."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return wrong(f"This check failed itself: {type(error).__name__} in {Path(at.filename).name}, line {at.lineno}.")
