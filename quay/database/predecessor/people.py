"""
Who there was: users, organizations with their teams, robots and default permissions, and the tokens of machines.

Tokens are as they are stored, encrypted: `quay.importing.predecessor` opens them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import attrs
import sqlalchemy as sa

from quay.database.predecessor import Predecessor, milliseconds


@attrs.frozen(kw_only=True)
class Account:
    """A user or an organization."""

    id: int
    name: str
    kind: Literal["user", "organization"]
    email: str | None
    password_hash: str | None = attrs.field(repr=False)
    verified: bool
    enabled: bool
    time_machine_s: int
    given_name: str | None
    family_name: str | None
    company: str | None
    location: str | None


@attrs.frozen
class Robot:
    """A robot `owner+short`."""

    name: str
    token: str | None = attrs.field(repr=False)
    description: str
    metadata: str


@attrs.frozen
class Team:
    """A team with its members, by name; `synced` if a directory fills it."""

    name: str
    role: str
    description: str
    members: Sequence[str]
    synced: bool


@attrs.frozen
class Prototype:
    """A default permission, everybody in it by name."""

    activating: str | None
    delegate: str | None
    delegate_team: str | None
    role: str


@attrs.frozen
class AppToken:
    """An app-specific token: `token` is its name, which begins the secret, and the rest of it, encrypted."""

    title: str
    name: str = attrs.field(repr=False)
    secret: str = attrs.field(repr=False)
    expires_ms: int | None


@attrs.frozen
class Application:
    """An OAuth application."""

    client_id: str
    secret: str | None = attrs.field(repr=False)
    name: str
    description: str
    application_uri: str
    redirect_uri: str
    avatar_email: str | None


def accounts(quay: Predecessor) -> Iterator[Account]:
    """Users and organizations, but for those that are being deleted: users first, since they own the others."""
    for organization in (False, True):
        user = quay.table("user")
        columns = (
            user.c.id,
            user.c.username,
            user.c.email,
            user.c.password_hash,
            user.c.verified,
            user.c.enabled,
            quay.column("user", "removed_tag_expiration_s"),
            *(quay.column("user", name) for name in ("given_name", "family_name", "company", "location")),
        )
        kind = sa.true() if organization else sa.false()
        wanted = sa.select(*columns).where(user.c.robot == sa.false(), user.c.organization == kind)
        if quay.has("deletednamespace"):
            going = quay.table("deletednamespace")
            wanted = wanted.where(user.c.id.not_in(sa.select(going.c.namespace_id)))
        for page in quay.pages(wanted, user.c.id):
            yield from (_account(row, organization) for row in page)


def _account(row: sa.Row[Any], organization: bool) -> Account:
    return Account(
        id=row.id,
        name=row.username,
        kind="organization" if organization else "user",
        email=row.email if row.email and "@" in row.email else None,
        password_hash=row.password_hash,
        verified=bool(row.verified),
        enabled=bool(row.enabled),
        time_machine_s=int(row.removed_tag_expiration_s or 0),
        given_name=row.given_name,
        family_name=row.family_name,
        company=row.company,
        location=row.location,
    )


def robots(quay: Predecessor) -> Iterator[Robot]:
    """All robots."""
    user = quay.table("user")
    columns: list[sa.ColumnElement[Any]] = []
    joined: Any = user
    if quay.has("robotaccounttoken"):
        tokens = quay.table("robotaccounttoken")
        joined = joined.outerjoin(tokens, tokens.c.robot_account_id == user.c.id)
        columns.append(tokens.c.token)
    else:
        columns.append(sa.null().label("token"))
    if quay.has("robotaccountmetadata"):
        about = quay.table("robotaccountmetadata")
        joined = joined.outerjoin(about, about.c.robot_account_id == user.c.id)
        columns += [about.c.description, about.c.unstructured_json]
    else:
        columns += [sa.null().label("description"), sa.null().label("unstructured_json")]
    wanted = sa.select(user.c.id, user.c.username, *columns).select_from(joined).where(user.c.robot == sa.true())
    for page in quay.pages(wanted, user.c.id):
        for row in page:
            yield Robot(row.username, row.token, row.description or "", row.unstructured_json or "")


def teams(quay: Predecessor, organization_id: int) -> list[Team]:
    """The teams of an organization."""
    team, role = quay.table("team"), quay.table("teamrole")
    wanted = (
        sa.select(team.c.id, team.c.name, team.c.description, role.c.name.label("role"))
        .join_from(team, role, role.c.id == team.c.role_id)
        .where(team.c.organization_id == organization_id)
        .order_by(team.c.id)
    )
    return [
        Team(row.name, row.role, row.description or "", _members(quay, row.id), _is_synced(quay, row.id))
        for row in quay.rows(wanted)
    ]


def _members(quay: Predecessor, team_id: int) -> list[str]:
    member, user = quay.table("teammember"), quay.table("user")
    wanted = sa.select(user.c.username).join_from(member, user, user.c.id == member.c.user_id)
    return [row.username for row in quay.rows(wanted.where(member.c.team_id == team_id).order_by(user.c.id))]


def _is_synced(quay: Predecessor, team_id: int) -> bool:
    if not quay.has("teamsync"):
        return False
    sync = quay.table("teamsync")
    return bool(quay.rows(sa.select(sync.c.id).where(sync.c.team_id == team_id)))


def prototypes(quay: Predecessor, organization_id: int) -> list[Prototype]:
    """The default permissions of an organization."""
    table, role, team = quay.table("permissionprototype"), quay.table("role"), quay.table("team")
    user = quay.table("user")
    activating, delegate = user.alias("activating"), user.alias("delegate")
    wanted = (
        sa.select(
            activating.c.username.label("activating"),
            delegate.c.username.label("delegate"),
            team.c.name.label("delegate_team"),
            role.c.name.label("role"),
        )
        .join_from(table, role, role.c.id == table.c.role_id)
        .outerjoin(activating, activating.c.id == table.c.activating_user_id)
        .outerjoin(delegate, delegate.c.id == table.c.delegate_user_id)
        .outerjoin(team, team.c.id == table.c.delegate_team_id)
        .where(table.c.org_id == organization_id)
        .order_by(table.c.id)
    )
    return [Prototype(**row._mapping) for row in quay.rows(wanted)]


def app_tokens(quay: Predecessor, user_id: int) -> list[AppToken]:
    """The app-specific tokens of a user."""
    if not quay.has("appspecificauthtoken"):
        return []
    token = quay.table("appspecificauthtoken")
    wanted = sa.select(token.c.title, token.c.token_name, token.c.token_secret, token.c.expiration)
    return [
        AppToken(row.title, row.token_name, row.token_secret, milliseconds(row.expiration))
        for row in quay.rows(wanted.where(token.c.user_id == user_id).order_by(token.c.id))
    ]


def applications(quay: Predecessor, organization_id: int) -> list[Application]:
    """The OAuth applications of an organization."""
    if not quay.has("oauthapplication"):
        return []
    table = quay.table("oauthapplication")
    wanted = sa.select(
        table.c.client_id,
        quay.column("oauthapplication", "secure_client_secret").label("secret"),
        table.c.name,
        table.c.description,
        table.c.application_uri,
        table.c.redirect_uri,
        quay.column("oauthapplication", "gravatar_email").label("avatar_email"),
    )
    return [
        Application(**row._mapping)
        for row in quay.rows(wanted.where(table.c.organization_id == organization_id).order_by(table.c.id))
    ]
