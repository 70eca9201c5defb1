"""
The repositories of a Quay, without what is in them: who may do what, who likes them, and whom they tell.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from quay.database import Transaction
from quay.database.predecessor.contents import Grant, Held, Token
from quay.importing.predecessor.outcome import Outcome, record
from quay.importing.predecessor.secrets import Opener, Sealed
from quay.model import credential, listing, namespace, permission, repository, team
from quay.model.notification import Notification
from quay.model.permission import GrantInvalid, Role
from quay.model.repository import Repository, RepositoryInvalid
from quay.oci.errors import NameInvalid
from quay.oci.reference import RepositoryName
from quay.registry.caller import Caller

TITLE_LIMIT: Final = 255


class Draft(Protocol):
    """A notification that can be made."""

    def create(self, txn: Transaction, repository_id: int) -> Notification: ...


class Drafter(Protocol):
    """Looks whether there can be such a notification. Raises `NotificationInvalid`."""

    def __call__(
        self,
        repository_id: int,
        *,
        event: str,
        method: str,
        config: Mapping[str, Any],
        event_config: Mapping[str, Any],
        title: str | None,
    ) -> Awaitable[Draft]: ...


@attrs.frozen
class Estate:
    """What a repository had besides images."""

    grants: Sequence[Grant] = ()
    stars: Sequence[str] = ()
    tokens: Sequence[Token] = ()
    mirror: tuple[str, str] | None = None


@attrs.frozen
class Founder:
    """Makes repositories in the name of `caller`; `opener` opens secrets, None if nobody knows the key."""

    caller: Caller
    opener: Opener | None

    def judge(self, txn: Transaction, name: str, held: Held) -> str | None:
        """Why there cannot be this repository here; None if there can be, or is."""
        if held.kind != "image":
            return "It is an application repository: it holds no images."
        try:
            here = repository.find(txn, RepositoryName.parse(name, None))
        except NameInvalid as unfit:
            return unfit.message
        return None if here is None or here.kind == "image" else "There is an application repository of this name here."

    def found(self, txn: Transaction, name: str, held: Held, estate: Estate) -> tuple[Repository, Outcome]:
        """The repository, made as it was there if it is not here. Needs `judge`. Raises `RepositoryInvalid`."""
        outcome, spelled = Outcome(), RepositoryName.parse(name, None)
        here = repository.find(txn, spelled)
        if here is None:
            here = self._made(txn, spelled, held, outcome)
        for star in estate.stars:
            user = namespace.find(txn, star)
            if user is not None and user.kind == "user":
                listing.add_star(txn, user.id, here.id)
        self._grant(txn, here, estate.grants, outcome)
        self._tokens(txn, here, estate.tokens, outcome)
        return here, outcome

    def _made(self, txn: Transaction, name: RepositoryName, held: Held, outcome: Outcome) -> Repository:
        holder = namespace.find(txn, name.namespace)
        if holder is None:
            raise RepositoryInvalid(f"The namespace {name.namespace} is not here.")
        made = repository.create(
            txn,
            name,
            namespace_id=holder.id,
            creator_id=None,
            public=held.public,
            description=held.description,
        )
        if held.trust_enabled:
            repository.set_trust(txn, made.id, True)
        outcome.made["repositories"] += 1
        record(txn, self.caller, "create_repo", made.namespace_id, made.id, repo=name.path, namespace=name.namespace)
        return made

    def _grant(self, txn: Transaction, here: Repository, grants: Sequence[Grant], outcome: Outcome) -> None:
        for one in grants:
            grantee = None if one.grantee is None else namespace.find(txn, one.grantee)
            in_team = None if one.team is None else team.find(txn, here.namespace_id, one.team)
            if grantee is None and in_team is None:
                who = one.grantee or f"the team {one.team}"
                outcome.problems.append((f"the role {one.role} of {who} on {here.name}", "Nobody is called so here."))
                continue
            try:
                permission.grant(
                    txn,
                    here.id,
                    grantee_id=None if grantee is None else grantee.id,
                    team_id=None if in_team is None else in_team.id,
                    role=Role.parse(one.role),
                )
            except GrantInvalid as unfit:
                outcome.problems.append((f"a role on {here.name}", str(unfit)))

    def _tokens(self, txn: Transaction, here: Repository, tokens: Sequence[Token], outcome: Outcome) -> None:
        for one in tokens:
            if self.opener is None:
                return  # of which the robots have told
            try:
                secret = one.name + self.opener.open(one.code)
            except Sealed as why:
                outcome.problems.append((f"an access token of {here.name}", str(why)))
                continue
            if credential.find(txn, "access", secret) is None:
                credential.create(
                    txn,
                    here.namespace_id,
                    "access",
                    title=one.title[:TITLE_LIMIT],
                    secret=secret,
                    repository_id=here.id,
                    role=Role.parse(one.role),
                )
                outcome.made["access tokens"] += 1

    def close(self, txn: Transaction, here: Repository, held: Held, estate: Estate) -> Outcome:
        """Give it the state that it was in, when its images are here."""
        outcome = Outcome()
        if held.state == "read_only":
            repository.set_state(txn, here.id, "read_only")
        if held.state == "mirror":
            robot = None if estate.mirror is None else namespace.find(txn, estate.mirror[1])
            source = "somewhere" if estate.mirror is None else estate.mirror[0]
            if robot is None:
                repository.set_state(txn, here.id, "read_only")
            else:
                repository.set_mirror(txn, here.id, robot.id)
            outcome.notes.append(f"{here.name} was filled from {source}: set its mirroring up anew.")
        return outcome


def settings_of(text: str) -> Mapping[str, Any]:
    """The JSON object in a column; an empty one, if it is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
