"""
The whole installation, for superusers: its users and organizations, and taking one over.

A superuser is not thereby a reader of everybody's repositories: he takes ownership, and that is on record. Other
superusers are out of his reach: they are made and unmade by whoever runs the registry. Source: Quay's superuser API.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict, cast

from quay.config import Config
from quay.database import Transaction
from quay.model import conversion, directory, namespace, removal, renaming, session, team
from quay.model.directory import Account
from quay.model.namespace import Namespace
from quay.model.secret import fresh
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.user import check_not_reserved, hashed_anew
from quay.web.api.views import Avatar, avatar, optional_date

routes = Routes("superuser", "Superuser API.")

PASSWORD_LENGTH: Final = 32
"""Of the password that a new user is given."""
MOST: Final = 10_000
"""So many users or organizations are listed at once where nobody asks for pages."""

Email = Annotated[str, Schema(maxLength=255)]


class InstallUser(TypedDict):
    """A user as superusers see him."""

    kind: Literal["user"]
    name: str
    username: str
    email: str | None
    verified: bool
    avatar: Avatar
    super_user: bool
    enabled: bool
    last_accessed: str | None


class InstallUsers(TypedDict):
    users: list[InstallUser]
    next_page: NotRequired[str]


class InstallOrganization(TypedDict):
    """An organization as superusers see it."""

    name: str
    email: str | None
    avatar: Avatar


class InstallOrganizations(TypedDict):
    organizations: list[InstallOrganization]
    next_page: NotRequired[str]


class CreateInstallUser(TypedDict):
    """Data for creating a user."""

    username: Annotated[str, Schema(maxLength=255, description="The username of the user being created")]
    email: NotRequired[Annotated[Email | None, Schema(description="The email address of the user being created")]]


class CreatedInstallUser(TypedDict):
    """A new user, with the password that is shown once. It may be used wherever an encrypted one may."""

    username: str
    email: str | None
    password: str
    encrypted_password: str


class UpdateUser(TypedDict):
    """Description of updates for a user; what is not in it stays."""

    password: NotRequired[Annotated[str, Schema(maxLength=4096, description="The new password for the user")]]
    email: NotRequired[Annotated[Email, Schema(minLength=1, description="The new e-mail address for the user")]]
    enabled: NotRequired[Annotated[bool, Schema(description="Whether the user is enabled")]]


class UpdateOrganization(TypedDict):
    """Description of updates for an organization; what is not in it stays."""

    name: NotRequired[Annotated[str, Schema(maxLength=255, description="The new name for the organization")]]


class TakenOwnership(TypedDict):
    namespace: str


class RegistryStatus(TypedDict):
    status: Literal["ready"]


class PageQuery(TypedDict):
    limit: NotRequired[Annotated[int, Schema(minimum=1, maximum=MOST, description="Limit to the number of results")]]
    next_page: NotRequired[str]


class UserQuery(PageQuery):
    disabled: Annotated[bool, Schema(default=True, description="If false, only enabled users will be returned.")]


def _have_power(config: Config) -> bool:
    return config.super_users_allowed


@routes.get("/superuser/registrystatus", "scRegistryStatus", needs.anonymous_too, internal=True, when=_have_power)
async def registry_status(call: Call) -> RegistryStatus:
    """Returns the status of the registry: whoever reads this, it is ready."""
    return {"status": "ready"}


# --- users --------------------------------------------------------------------------------------------------------


@routes.get("/superuser/users/", "listAllUsers", needs.superuser, fresh=True, when=_have_power)
async def list_users(call: Call, query: UserQuery) -> InstallUsers:
    """Returns a list of all users in the system, in order of name."""
    enabled_only = not query["disabled"]

    def view(txn: Transaction, after: str, limit: int) -> list[Any]:
        found = directory.accounts(txn, "user", enabled_only=enabled_only, after=after, limit=limit)
        return [_user_view(call, account) for account in found]

    users, more = await _page(call, query, f"listAllUsers {enabled_only}", view)
    return cast("InstallUsers", {"users": users, **more})


@routes.post("/superuser/users/", "createInstallUser", needs.superuser, fresh=True, when=_have_power)
async def create_user(call: Call, body: CreateInstallUser) -> CreatedInstallUser:
    """Creates a new user. His password is shown in this answer only."""
    if call.means.config.authentication != "Database":
        raise BadRequest("Users are not made here: this registry asks another system who they are.")
    name, email = body["username"], body.get("email") or None
    check_not_reserved(call, name)
    password = fresh(PASSWORD_LENGTH)
    hashed = await hashed_anew(call, password)

    def make(txn: Transaction) -> None:
        time_machine_s = call.means.registry.policy.time_machine_s
        made = namespace.create_user(txn, name, email=email, password_hash=hashed, time_machine_s=time_machine_s)
        call.record(txn, "user_create", namespace=made, username=name, email=email, superuser=call.principal.name)

    await call.write(make)
    return {"username": name, "email": email, "password": password, "encrypted_password": password}


@routes.get(
    "/superuser/users/<username>", "getInstallUser", needs.superuser, fresh=True, internal=True, when=_have_power
)
async def get_user(call: Call, username: str) -> InstallUser:
    """Returns information about the specified user."""
    return await call.read(lambda txn: _user_view(call, _account(txn, "user", username)))


@routes.put(
    "/superuser/users/<username>", "changeInstallUser", needs.superuser, fresh=True, internal=True, when=_have_power
)
async def change_user(call: Call, username: str, body: UpdateUser) -> InstallUser:
    """Updates information about the specified user, who has to log in again wherever he is."""
    hashed = await hashed_anew(call, body["password"]) if "password" in body else None

    def change(txn: Transaction) -> InstallUser:
        user = _within_reach(txn, call, "user", username)
        if hashed is not None:
            namespace.set_password(txn, user.id, hashed)
            session.end_all(txn, user.id)
            _record(call, txn, "user_change_password", user)
        if "email" in body:
            namespace.set_email(txn, user.id, body["email"])
            _record(call, txn, "user_change_email", user, email=body["email"], old_email=user.email)
        if "enabled" in body and body["enabled"] != user.enabled:
            namespace.set_enabled(txn, user.id, body["enabled"])
            session.end_all(txn, user.id)  # else they would come back to life with the account
            _record(call, txn, "user_enable" if body["enabled"] else "user_disable", user)
        return _user_view(call, _account(txn, "user", username))

    return await call.write(change)


@routes.delete(
    "/superuser/users/<username>", "deleteInstallUser", needs.superuser, fresh=True, internal=True, when=_have_power
)
async def delete_user(call: Call, username: str) -> None:
    """Deletes the specified user, with his repositories and robots."""

    def remove(txn: Transaction) -> None:
        user = _within_reach(txn, call, "user", username)
        removal.begin(txn, user.id)
        _record(call, txn, "user_delete", user)

    await call.write(remove)


# --- organizations ------------------------------------------------------------------------------------------------


@routes.get(
    "/superuser/organizations/",
    "listAllOrganizations",
    needs.superuser,
    fresh=True,
    internal=True,
    when=_have_power,
)
async def list_organizations(call: Call, query: PageQuery) -> InstallOrganizations:
    """Returns a list of all organizations in the system, in order of name."""

    def view(txn: Transaction, after: str, limit: int) -> list[Any]:
        found = directory.accounts(txn, "organization", after=after, limit=limit)
        return [_organization_view(account) for account in found]

    organizations, more = await _page(call, query, "listAllOrganizations", view)
    return cast("InstallOrganizations", {"organizations": organizations, **more})


@routes.put("/superuser/organizations/<name>", "changeOrganization", needs.superuser, fresh=True, when=_have_power)
async def change_organization(call: Call, name: str, body: UpdateOrganization) -> InstallOrganization:
    """Renames the specified organization, with its repositories and robots."""

    def change(txn: Transaction) -> InstallOrganization:
        old = _within_reach(txn, call, "organization", name)
        if body.get("name", name) != name:
            check_not_reserved(call, body["name"])
        renamed = renaming.rename(txn, old, body.get("name", name))
        if renamed.name != old.name:
            names: dict[str, Any] = {"old_name": old.name, "new_name": renamed.name}
            call.record(txn, "org_change_name", namespace=renamed, superuser=call.principal.name, **names)
        return _organization_view(_account(txn, "organization", renamed.name))

    return await call.write(change)


@routes.delete("/superuser/organizations/<name>", "deleteOrganization", needs.superuser, fresh=True, when=_have_power)
async def delete_organization(call: Call, name: str) -> None:
    """Deletes the specified organization, with its repositories, teams and robots."""

    def remove(txn: Transaction) -> None:
        found = _within_reach(txn, call, "organization", name)
        removal.begin(txn, found.id)
        call.record(txn, "org_delete", namespace=found, superuser=call.principal.name)

    await call.write(remove)


@routes.post(
    "/superuser/takeownership/<namespace>",
    "takeOwnership",
    needs.superuser,
    fresh=True,
    internal=True,
    when=_have_power,
)
async def take_ownership(call: Call, namespace: str) -> TakenOwnership:
    """Takes ownership of the specified organization, or makes one of the specified user and owns that."""
    name, mine = namespace, call.principal.namespace_id
    assert mine is not None, "a superuser is somebody"

    def take(txn: Transaction) -> None:
        found = _somebody(txn, name)
        if found.kind == "user":
            _check_reach(call, found)
            conversion.to_organization(txn, found, mine)
        else:
            team.add_member(txn, _owners(txn, found), mine)
        call.record(txn, "take_ownership", namespace=found, entity_type=found.kind, superuser=call.principal.name)

    await call.write(take)
    return {"namespace": name}


def _owners(txn: Transaction, organization: Namespace) -> int:
    """A team that administers the organization: the one that Quay calls so, or another, or a new one."""
    teams = [found for found in team.of_organization(txn, organization.id) if found.role == "admin"]
    named = [found for found in teams if found.name == conversion.OWNERS]
    if named or teams:
        return (named or teams)[0].id
    return team.create(txn, organization.id, conversion.OWNERS, "admin")


# --- who and what -------------------------------------------------------------------------------------------------


def _account(txn: Transaction, kind: directory.Kind, name: str) -> Account:
    found = directory.account(txn, kind, name)
    if found is None:
        raise NotFound(f"There is no {kind} {name[:80]!r}.")
    return found


def _somebody(txn: Transaction, name: str) -> Namespace:
    found = namespace.find(txn, name)
    if found is None or found.kind not in ("user", "organization"):
        raise NotFound(f"There is no user or organization {name[:80]!r}.")
    return found


def _within_reach(txn: Transaction, call: Call, kind: directory.Kind, name: str) -> Namespace:
    """The user or organization that is to be changed."""
    found = namespace.by_id(txn, _account(txn, kind, name).id)
    assert found is not None, "it was there in this transaction"
    _check_reach(call, found)
    return found


def _check_reach(call: Call, found: Namespace) -> None:
    if _is_superuser(call, found):
        raise BadRequest(f"{found.name} is a superuser, whom nobody can change here.")


def _is_superuser(call: Call, found: Namespace | Account) -> bool:
    return call.means.config.super_users_allowed and (
        found.superuser or found.name in call.means.registry.policy.super_users
    )


def _record(call: Call, txn: Transaction, kind: str, user: Namespace, **details: Any) -> None:
    call.record(txn, kind, namespace=user, username=user.name, superuser=call.principal.name, **details)


def _user_view(call: Call, account: Account) -> InstallUser:
    return {
        "kind": "user",
        "name": account.name,
        "username": account.name,
        "email": account.email,
        "verified": account.verified,
        "avatar": avatar(account.name, "user", account.email),
        "super_user": _is_superuser(call, account),
        "enabled": account.enabled,
        "last_accessed": optional_date(account.last_accessed_ms),
    }


def _organization_view(account: Account) -> InstallOrganization:
    return {"name": account.name, "email": account.email, "avatar": avatar(account.name, "org", account.email)}


async def _page(call: Call, query: PageQuery, about: str, view: Any) -> tuple[list[Any], pages.More]:
    """One page of what `view` gives (in the thread of the database, because there may be thousands)."""
    limit = query.get("limit", MOST)
    after = pages.position(call.means.seals, query.get("next_page"), about) or ""
    found = await call.read(view, after, limit + 1)
    kept, more = pages.page(call.means.seals, about, found, limit, lambda each: each["name"])
    return list(kept), more
