"""
The people of a Quay: users, organizations, teams and robots, made here as they were there, or found if they are here.

Who has the same name here is taken for the same: nothing that he has here changes, and what was his there becomes his.
Passwords are kept as their hashes, and the tokens of robots and of programs as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from quay.database import Transaction
from quay.database.predecessor.people import Account, Application, AppToken, Prototype, Robot, Team
from quay.importing.predecessor.machines import Machines
from quay.importing.predecessor.outcome import Outcome, record
from quay.model import namespace, profile, prototype, team
from quay.model.namespace import Namespace, NamespaceInvalid
from quay.model.permission import GrantInvalid, Role
from quay.model.team import TeamInvalid, TeamRole, TeamTaken
from quay.registry.caller import Caller

OWNERS: Final = "owners"
TITLE_LIMIT: Final = 255

_TEAM_ROLES: Final[Mapping[str, TeamRole]] = {"admin": "admin", "creator": "creator", "member": "member"}


@attrs.frozen
class Belongings:
    """What an account brings along."""

    robots: Sequence[Robot] = ()
    teams: Sequence[Team] = ()
    app_tokens: Sequence[AppToken] = ()
    applications: Sequence[Application] = ()


@attrs.frozen
class Registrar:
    """Makes accounts in the name of `caller`, and what belongs to them; `superusers` administer."""

    caller: Caller
    machines: Machines
    superusers: frozenset[str]

    def judge(self, txn: Transaction, account: Account) -> str | None:
        """Why there cannot be this account here; None if there can be, or is."""
        try:
            namespace.check_name(account.name)
        except NamespaceInvalid as unfit:
            return str(unfit)
        found = namespace.find(txn, account.name)
        if found is not None and found.kind != account.kind:
            return f"There is a {found.kind} of this name here."
        return None

    def settle(self, txn: Transaction, account: Account, belongings: Belongings) -> Outcome:
        """Make the account, and what belongs to it, as far as it is not here. Needs `judge`."""
        outcome = Outcome()
        found = namespace.find(txn, account.name)
        new = found is None
        if found is None:
            found = self._made(txn, account, belongings, outcome)
        else:
            outcome.notes.append(f"{account.name} is here already, and gets what was this {account.kind}'s there.")
        self.machines.robots(txn, found, belongings.robots, outcome)
        if account.kind == "organization":
            self._teams(txn, found, belongings.teams, outcome, new=new)
            self.machines.applications(txn, found, belongings.applications, outcome)
        self.machines.app_tokens(txn, found, belongings.app_tokens, outcome)
        if new and not account.enabled:
            namespace.set_enabled(txn, found.id, False)
        return outcome

    # --- accounts

    def _made(self, txn: Transaction, account: Account, belongings: Belongings, outcome: Outcome) -> Namespace:
        email = account.email
        if email is not None and not _is_free(txn, email):
            outcome.notes.append(f"{account.name} comes without an e-mail address: it belongs to another account here.")
            email = None
        if account.kind == "user":
            made = namespace.create_user(
                txn,
                account.name,
                email=email,
                password_hash=account.password_hash,
                superuser=account.name in self.superusers,
                time_machine_s=account.time_machine_s,
                verified=account.verified,
            )
            self._describe(txn, made, account)
            if account.password_hash is None:
                outcome.notes.append(f"{account.name} comes without a password: he logged in elsewhere.")
        else:
            made = self._organization(txn, account, email, belongings.teams, outcome)
        outcome.made[f"{account.kind}s"] += 1
        if account.kind == "user":
            record(txn, self.caller, "user_create", made.id, username=account.name)
        else:
            record(txn, self.caller, "org_create", made.id, namespace=account.name)
        return made

    def _describe(self, txn: Transaction, made: Namespace, account: Account) -> None:
        told: dict[str, Any] = {
            name: getattr(account, name)
            for name in ("given_name", "family_name", "company", "location")
            if getattr(account, name)
        }
        profile.update(txn, made.id, **told)

    def _organization(
        self, txn: Transaction, account: Account, email: str | None, teams: Sequence[Team], outcome: Outcome
    ) -> Namespace:
        """An organization with a team of owners, in whom somebody is: later, the teams are what they were."""
        owner = next((found.id for found in self._administrators(txn, teams)), None)
        if owner is None:
            outcome.notes.append(f"Nobody administered {account.name}: now {self.caller.principal.name} does.")
            owner = self.caller.principal.namespace_id
            assert owner is not None, "whoever imports is a user"
        return namespace.create_organization(
            txn, account.name, owner_id=owner, email=email, time_machine_s=account.time_machine_s
        )

    def _administrators(self, txn: Transaction, teams: Sequence[Team]) -> Iterable[Namespace]:
        ranked = sorted((one for one in teams if one.role == "admin"), key=lambda one: one.name != OWNERS)
        found = (namespace.find(txn, name) for one in ranked for name in one.members)
        return (one for one in found if one is not None and one.kind == "user" and one.enabled)

    # --- teams

    def _teams(
        self, txn: Transaction, organization: Namespace, teams: Sequence[Team], outcome: Outcome, *, new: bool
    ) -> None:
        for one in teams:
            try:
                self._team(txn, organization, one, outcome, new=new)
            except (TeamInvalid, TeamTaken) as unfit:
                outcome.problems.append((f"the team {one.name} of {organization.name}", str(unfit)))
        if new:
            self._end_owners(txn, organization, teams)

    def _team(self, txn: Transaction, organization: Namespace, one: Team, outcome: Outcome, *, new: bool) -> None:
        found = team.find(txn, organization.id, one.name)
        if found is None:
            role = _TEAM_ROLES.get(one.role, "member")
            team_id = team.create(txn, organization.id, one.name, role, description=one.description)
        else:
            team_id = found.id
            if new:  # the owners, with whom every organization begins
                team.describe(txn, team_id, one.description)
        outcome.made["teams"] += found is None or new
        if one.synced:
            outcome.notes.append(f"The team {one.name} of {organization.name} is no longer filled by a directory.")
        for name in one.members:
            member = namespace.find(txn, name)
            try:
                if member is None:
                    raise TeamInvalid("He is not here.")
                team.add_member(txn, team_id, member.id)
            except TeamInvalid as unfit:
                outcome.problems.append((f"{name} in the team {one.name} of {organization.name}", str(unfit)))

    def _end_owners(self, txn: Transaction, organization: Namespace, teams: Sequence[Team]) -> None:
        """The team that every organization begins with goes, where there was none, and others administer."""
        made = team.find(txn, organization.id, OWNERS)
        others = any(one.role == "admin" and one.name != OWNERS and one.members for one in teams)
        if made is not None and others and not any(one.name == OWNERS for one in teams) and not made.repositories:
            try:
                with txn.savepoint():
                    team.delete(txn, made.id)
            except TeamInvalid:
                return  # without it nobody would administer

    def prototypes(self, txn: Transaction, organization: Namespace, prototypes: Sequence[Prototype]) -> Outcome:
        """The default permissions of an organization, unless it has some; after its repositories have come."""
        outcome = Outcome()
        if prototype.of_organization(txn, organization.id):
            return outcome
        for one in prototypes:
            try:
                self._prototype(txn, organization, one)
            except (GrantInvalid, LookupError) as unfit:
                outcome.problems.append((f"a default permission of {organization.name}", str(unfit)))
                continue
            outcome.made["default permissions"] += 1
        return outcome

    def _prototype(self, txn: Transaction, organization: Namespace, one: Prototype) -> None:
        delegate_team = None if one.delegate_team is None else team.find(txn, organization.id, one.delegate_team)
        prototype.create(
            txn,
            organization.id,
            activating_id=_id(txn, one.activating),
            delegate_id=_id(txn, one.delegate),
            delegate_team_id=None if delegate_team is None else delegate_team.id,
            role=Role.parse(one.role),
        )


def _is_free(txn: Transaction, email: str) -> bool:
    return namespace.find_by_email(txn, email) is None


def _id(txn: Transaction, name: str | None) -> int | None:
    """The number of somebody. Raises `LookupError` if he is not here."""
    if name is None:
        return None
    found = namespace.find(txn, name)
    if found is None:
        raise LookupError(f"{name} is not here.")
    return found.id
