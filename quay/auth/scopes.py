"""
OAuth scopes: what a token may be used for, whatever the user behind it may do.

Whoever shows his password or has a session may do all that he may; a robot and an app-specific token are confined as if
they had scopes. Source: Quay's scopes, with their names, titles and descriptions in spirit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from quay.auth.principal import Principal

_SEPARATOR: Final = re.compile(r"[ ,]+")


class ScopeInvalid(Exception):
    """A text that names a scope which there is not."""


@attrs.frozen
class Scope:
    """What a person who is asked for it reads. `dangerous`: it lets more be done than to one's repositories."""

    scope: str
    title: str
    description: str
    icon: str
    dangerous: bool = False
    includes: frozenset[str] = frozenset()


_ALL: Final = (
    Scope("repo:read", "View all visible repositories", "Pull from the repositories that you can see.", "fa-hdd-o"),
    Scope(
        "repo:write",
        "Read/Write to any accessible repositories",
        "Pull from and push to the repositories to which you can push.",
        "fa-hdd-o",
        includes=frozenset({"repo:read"}),
    ),
    Scope(
        "repo:admin",
        "Administer Repositories",
        "Administer the repositories that you administer: permissions, notifications, deletion.",
        "fa-hdd-o",
        includes=frozenset({"repo:read", "repo:write", "repo:create"}),
    ),
    Scope("repo:create", "Create Repositories", "Create repositories where you can create them.", "fa-plus"),
    Scope("user:read", "Read User Information", "Read your user name, e-mail address and the like.", "fa-user"),
    Scope(
        "user:admin",
        "Administer User",
        "Administer your account: robots, logs, tokens and what else is yours.",
        "fa-user",
        dangerous=True,
        includes=frozenset({"user:read"}),
    ),
    Scope(
        "org:admin",
        "Administer Organization",
        "Administer your organizations: members, teams, robots and settings.",
        "fa-gear",
        dangerous=True,
    ),
    Scope(
        "super:user",
        "Super User Access",
        "Administer this installation of the registry, if you are a superuser of it.",
        "fa-street-view",
        dangerous=True,
    ),
)
SCOPES: Final[Mapping[str, Scope]] = {scope.scope: scope for scope in _ALL}

APP_TOKEN: Final = frozenset({"repo:read", "repo:write", "repo:admin", "repo:create", "user:read"})
_CONFINED: Final[Mapping[str, frozenset[str]]] = {
    "robot": frozenset({"repo:read", "repo:write", "repo:admin", "repo:create", "org:admin"}),
    "app_token": APP_TOKEN,
}
"""What a robot's token and an app-specific token may be used for: they lie about on machines."""


def parse(text: str) -> frozenset[str]:
    """The scopes that `text` names, with spaces or commas between them. Raises `ScopeInvalid`."""
    named = [scope for scope in _SEPARATOR.split(text) if scope]
    unknown = [scope for scope in named if scope not in SCOPES]
    if unknown:
        raise ScopeInvalid(f"There is no scope {unknown[0][:80]!r}; there are {', '.join(SCOPES)}.")
    return frozenset(named)


def held(principal: Principal) -> frozenset[str]:
    """The scopes that the credentials of `principal` have, with those that they include."""
    if principal.kind == "user":
        return frozenset(SCOPES)
    if principal.kind == "oauth_token":
        given = (principal.scopes or frozenset()) & SCOPES.keys()
        return given.union(*(SCOPES[scope].includes for scope in given))
    return _CONFINED.get(principal.kind, frozenset())


def permits(principal: Principal, scope: str) -> bool:
    """Whether the credentials of `principal` may be used for what takes `scope`."""
    return scope in held(principal)
