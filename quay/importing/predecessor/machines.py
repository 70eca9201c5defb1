"""
The machines of a Quay: robots, programs and applications, with the secrets that they had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from quay.database import Transaction
from quay.database.predecessor.people import Application, AppToken, Robot
from quay.importing.predecessor.outcome import Outcome, record
from quay.importing.predecessor.secrets import Opener, Sealed
from quay.model import application, credential, namespace, profile
from quay.model.credential import CredentialInvalid
from quay.model.namespace import Namespace, NamespaceInvalid, NamespaceTaken
from quay.registry.caller import Caller

TITLE_LIMIT: Final = 255


@attrs.frozen
class Machines:
    """Makes them in the name of `caller`; `opener` opens their secrets, None if nobody knows the key."""

    caller: Caller
    opener: Opener | None

    def robots(self, txn: Transaction, owner: Namespace, robots: Sequence[Robot], outcome: Outcome) -> None:
        """The robots of a user or organization."""
        for robot in robots:
            try:
                self._robot(txn, owner, robot, outcome)
            except (NamespaceInvalid, NamespaceTaken) as unfit:
                outcome.problems.append((robot.name, str(unfit)))

    def _robot(self, txn: Transaction, owner: Namespace, robot: Robot, outcome: Outcome) -> None:
        token = self._opened(robot.token, robot.name, outcome)
        if namespace.find(txn, robot.name) is not None:
            if token is not None and credential.find(txn, "robot", token) is None:
                outcome.notes.append(f"The robot {robot.name} is here already, and keeps the token that it has here.")
            return
        made = namespace.create_robot(txn, owner.id, robot.name.partition("+")[2], description=robot.description)
        metadata = _object(robot.metadata)
        if metadata:
            profile.update(txn, made.id, metadata=metadata)
        if token is not None and credential.find(txn, "robot", token) is not None:
            outcome.problems.append((f"the token of {robot.name}", "Another robot has it here: make a new one."))
        elif token is not None:
            credential.replace_robot_token(txn, made.id, token)
        outcome.made["robots"] += 1
        record(txn, self.caller, "create_robot", owner.id, robot=robot.name)

    def applications(
        self, txn: Transaction, organization: Namespace, applications: Sequence[Application], outcome: Outcome
    ) -> None:
        """The OAuth applications of an organization."""
        for one in applications:
            if application.is_taken(txn, one.client_id):
                continue
            secret = self._opened(one.secret, f"the application {one.name}", outcome)
            if secret is None:
                continue
            told = attrs.asdict(one, filter=attrs.filters.exclude("secret", "name"))
            application.create(txn, organization.id, one.name[:TITLE_LIMIT], secret=secret, **told)
            outcome.made["applications"] += 1
            outcome.notes.append("OAuth tokens do not come: Quay keeps them as hashes of another kind. Authorize anew.")

    def app_tokens(self, txn: Transaction, user: Namespace, tokens: Sequence[AppToken], outcome: Outcome) -> None:
        """The app-specific tokens of a user, as far as they are good."""
        for one in tokens:
            rest = self._opened(one.secret, f"the token {one.title!r} of {user.name}", outcome)
            secret = None if rest is None else one.name + rest
            if secret is None or credential.find(txn, "app", secret) is not None:
                continue
            if one.expires_ms is not None and one.expires_ms <= txn.now_ms:
                continue
            try:
                title = one.title[:TITLE_LIMIT]
                credential.create(txn, user.id, "app", title=title, secret=secret, expires_ms=one.expires_ms)
            except CredentialInvalid as unfit:
                outcome.problems.append((f"the token {one.title!r} of {user.name}", str(unfit)))
                continue
            outcome.made["app tokens"] += 1

    def _opened(self, sealed: str | None, whose: str, outcome: Outcome) -> str | None:
        """A secret as it was; None if it cannot be had, which is told."""
        if sealed is None:
            outcome.notes.append(f"{whose} comes without its secret: the other Quay has none. Make a new one.")
            return None
        if self.opener is None:
            outcome.notes.append("The secrets of robots and programs do not come: the DATABASE_SECRET_KEY is unknown.")
            return None
        try:
            return self.opener.open(sealed)
        except Sealed as why:
            outcome.problems.append((f"the secret of {whose}", str(why)))
            return None


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
