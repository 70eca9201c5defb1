"""
Another Quay, which this registry succeeds: its people and their rights, its repositories, images and the history of
their tags, from its database and its storage. It may run meanwhile: its database is read as it is at one moment.

People come first, then repositories one by one. What is here already stays as it is, so it may be done again: then what
is new comes. Source: Quay's data model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from quay.database import Database, Transaction
from quay.database.predecessor import Predecessor, contents, people
from quay.database.predecessor.contents import Held
from quay.database.predecessor.people import Account, Robot
from quay.importing import Choice
from quay.importing.bringing import REFUSALS, Bringer
from quay.importing.predecessor.founder import Drafter, Estate, Founder, settings_of
from quay.importing.predecessor.history import History
from quay.importing.predecessor.images import QuayImages, Reading
from quay.importing.predecessor.outcome import Outcome
from quay.importing.predecessor.registrar import Belongings, Registrar
from quay.importing.report import Tally
from quay.model import namespace, notification
from quay.model.notification import NotificationInvalid
from quay.model.repository import Repository, RepositoryInvalid
from quay.oci.errors import RegistryError

R = TypeVar("R")


class Succession:
    """Takes over what `reading` and `images` have. With `dry`, it only looks."""

    def __init__(
        self,
        reading: Reading,
        images: QuayImages,
        bringer: Bringer,
        database: Database,
        registrar: Registrar,
        draft: Drafter,
        now_ms: int,
    ) -> None:
        self.tally = bringer.tally
        self._reading = reading
        self._images = images
        self._bringer = bringer
        self._database = database
        self._registrar = registrar
        self._founder = Founder(registrar.caller, registrar.machines.opener)
        self._draft = draft
        self._history = History(reading, bringer, database, now_ms)

    async def run(self, choice: Choice) -> Tally:
        """All people, and the repositories that are chosen. Raises `SourceError`, `NoRoom`, and what `ENDS` lists."""
        robots = _by_owner(await self._reading.ask(_all(people.robots)))
        settled = [one for one in await self._reading.ask(_all(people.accounts)) if await self._settled(one, robots)]
        for account in settled:
            for held in await self._reading.ask(_all(contents.repositories), account.id):
                name = f"{account.name}/{held.name}"
                if choice.takes(name):
                    await self._repository(account, name, held, choice)
        for account in settled:
            await self._prototypes(account)
        self.tally.doing = ""
        return self.tally

    # --- people

    async def _settled(self, account: Account, robots: dict[str, list[Robot]]) -> bool:
        """Whether the account is here, or would be."""
        self.tally.doing = account.name
        why = await self._database.read(self._registrar.judge, account)
        if why is not None:
            self.tally.problem(f"the {account.kind} {account.name} with all repositories", why)
            return False
        belongings = await self._belongings(account, robots.get(account.name, []))
        if self._bringer.dry:
            await self._count(account, belongings)
        else:
            self._tell(await self._database.write(self._registrar.settle, account, belongings))
        return True

    async def _belongings(self, account: Account, robots: Sequence[Robot]) -> Belongings:
        if account.kind == "user":
            return Belongings(robots, app_tokens=await self._reading.ask(people.app_tokens, account.id))
        return Belongings(
            robots,
            teams=await self._reading.ask(people.teams, account.id),
            applications=await self._reading.ask(people.applications, account.id),
        )

    async def _count(self, account: Account, belongings: Belongings) -> None:
        """What a dry run says of an account."""
        if await self._database.read(namespace.find, account.name) is None:
            self.tally.made[f"{account.kind}s"] += 1
        else:
            self.tally.note(f"{account.name} is here already, and would get what is this {account.kind}'s there.")
        if self._registrar.machines.opener is None and (belongings.robots or belongings.app_tokens):
            self.tally.note("The secrets of robots and programs cannot come: the DATABASE_SECRET_KEY is unknown.")
        for noun, things in (
            ("robots", belongings.robots),
            ("teams", belongings.teams),
            ("app tokens", belongings.app_tokens),
            ("applications", belongings.applications),
        ):
            self.tally.made[noun] += len(things)

    async def _prototypes(self, account: Account) -> None:
        """Default permissions come last: they would be given to the repositories that are made."""
        found = await self._reading.ask(people.prototypes, account.id) if account.kind == "organization" else []
        here = await self._database.read(namespace.find, account.name)
        if not found or here is None or self._bringer.dry:
            self.tally.made["default permissions"] += len(found)
            return
        self._tell(await self._database.write(self._registrar.prototypes, here, found))

    def _tell(self, outcome: Outcome) -> None:
        self.tally.made += outcome.made
        for line in outcome.notes:
            self.tally.note(line)
        for what, why in outcome.problems:
            self.tally.problem(what, why)

    # --- one repository

    async def _repository(self, account: Account, name: str, held: Held, choice: Choice) -> None:
        why = await self._database.read(self._founder.judge, name, held)
        if why is not None:
            self.tally.problem(name, why)
            return
        self._images.known[name] = held
        estate = await self._estate(held)
        try:
            here = None if self._bringer.dry else await self._found(name, held, estate)
            filling = await self._bringer.begun(name)
        except (*REFUSALS, RepositoryInvalid) as refused:
            self.tally.problem(name, refused)
            return
        await self._history.bring(held, filling, choice, account.time_machine_s)
        self.tally.repositories += filling.tags > 0
        if here is not None:
            await self._notifications(held, here)
            self._tell(await self._database.write(self._founder.close, here, held, estate))

    async def _estate(self, held: Held) -> Estate:
        ask = self._reading.ask
        return Estate(
            grants=await ask(contents.grants, held.id),
            stars=await ask(contents.stargazers, held.id),
            tokens=await ask(contents.access_tokens, held.id),
            mirror=await ask(contents.mirror, held.id),
        )

    async def _found(self, name: str, held: Held, estate: Estate) -> Repository:
        made, outcome = await self._database.write(self._founder.found, name, held, estate)
        self._tell(outcome)
        return made

    async def _notifications(self, held: Held, here: Repository) -> None:
        """Whom it tells, from now on: of what comes with the import, nobody hears."""
        there = await self._reading.ask(contents.notifications, held.id)
        if not there or await self._database.read(_tells_somebody, here.id):
            return
        for one in there:
            try:
                draft = await self._draft(
                    here.id,
                    event=one.event,
                    method=one.method,
                    config=settings_of(one.config),
                    event_config=settings_of(one.event_config),
                    title=one.title,
                )
                await self._database.write(draft.create, here.id)
            except (NotificationInvalid, RegistryError) as unfit:
                self.tally.problem(f"a notification of {here.name} by {one.method}", unfit)
                continue
            self.tally.made["notifications"] += 1


def _all(question: Callable[..., Iterator[R]]) -> Callable[..., list[R]]:
    """All that a question finds."""

    def ask(quay: Predecessor, *args: Any) -> list[R]:
        return list(question(quay, *args))

    return ask


def _by_owner(robots: Sequence[Robot]) -> dict[str, list[Robot]]:
    found: dict[str, list[Robot]] = {}
    for robot in robots:
        found.setdefault(robot.name.partition("+")[0], []).append(robot)
    return found


def _tells_somebody(txn: Transaction, repository_id: int) -> bool:
    return bool(notification.of_repository(txn, repository_id))
