"""
Who is asking, and what a registry token lets its bearer do: two frozen values that cross every layer.

A `Principal` says who; what he may do follows from the permissions of `namespace_id`, narrowed by `scopes` or replaced
by `role` where the credential itself is limited. An `Access` is the other way round: the rights a token carries, asked
for and granted once, whoever bears it. Source: Docker Registry v2 token authentication, "Requesting a token".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import attrs

from quay.model.permission import Role

Kind = Literal["anonymous", "user", "robot", "app_token", "oauth_token", "access_token"]

_INCLUDED_IN: Final[Mapping[str, frozenset[str]]] = {
    "pull": frozenset({"pull", "push", "*"}),
    "push": frozenset({"push", "*"}),
    "delete": frozenset({"push", "delete", "*"}),
    "*": frozenset({"*"}),
}

ACTIONS: Final = ("push", "pull", "delete", "*")
"""Every action on a repository, in the order in which a token lists them; `delete` is the word of other registries."""


def permits(granted: frozenset[str], action: str) -> bool:
    """Whether one of the actions `granted` is `action`, or includes it."""
    return not granted.isdisjoint(_INCLUDED_IN[action])


@attrs.frozen
class Principal:
    """
    Whoever makes a request. `namespace_id` holds his permissions: the user, the robot, the user behind an app or OAuth
    token; None for nobody and for an access token, which has `role` on `repository_id` and nothing else.
    """

    kind: Kind
    name: str
    namespace_id: int | None = None
    superuser: bool = False
    credential_uuid: str | None = None
    scopes: frozenset[str] | None = None
    repository_id: int | None = None
    role: Role | None = None


ANONYMOUS: Final = Principal("anonymous", "(anonymous)")


@attrs.frozen
class Access:
    """
    What a registry token grants: to each repository, by its name as the token spells it, the actions. `repositories`
    has the numbers of those that had the names when the token was made: a name can pass to another one.
    """

    grants: Mapping[str, frozenset[str]] = attrs.field(factory=dict)
    repositories: Mapping[str, int] = attrs.field(factory=dict)

    def allows(self, repository: str, action: str) -> bool:
        """Whether `action` (of `ACTIONS`) is granted: pushing includes pulling and deleting, and `*` includes all."""
        return permits(self.grants.get(repository, frozenset()), action)

    def allows_on(self, repository_id: int, repository: str, action: str) -> bool:
        """As `allows`, on the repository with this number, which has the name now."""
        return self.repositories.get(repository) == repository_id and self.allows(repository, action)


NO_ACCESS: Final = Access()
