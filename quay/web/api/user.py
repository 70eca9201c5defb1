"""Users: one's own account, and what everybody may know of others. Source: Quay's `/user`."""

from __future__ import annotations

from typing import Annotated, Any, Final, NotRequired, TypedDict

from quay.auth.passwords import check_new
from quay.database import Transaction
from quay.model import account, conversion, namespace, profile, removal, renaming, session, team
from quay.model.namespace import Namespace
from quay.model.profile import Profile
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, Forbidden, InvalidToken, NotFound
from quay.web.api.route import Routes
from quay.web.api.second_factor import in_person
from quay.web.api.session import session_id
from quay.web.api.shapes import Schema
from quay.web.api.signin import Code, Password, prove
from quay.web.api.views import DONE, Avatar, Success, avatar

routes = Routes("user", "Manage the current user.")

Username = Annotated[str, Schema(maxLength=255, description="The user's username")]
Email = Annotated[str, Schema(maxLength=255, description="The user's email address")]
Text = Annotated[str, Schema(maxLength=profile.LIMIT)]

_PROFILE: Final = ("given_name", "family_name", "company", "location")
_INVOICING: Final = ("invoice_email", "invoice_email_address")


# --- what is shown ------------------------------------------------------------------------------------------------


class Organization(TypedDict):
    """An organization that the user belongs to."""

    name: str
    avatar: Avatar
    can_create_repo: bool
    public: bool
    is_org_admin: NotRequired[bool]
    preferred_namespace: NotRequired[bool]


class UserView(TypedDict):
    """A user. What follows `avatar` only he himself is shown, as far as his credentials are good for it."""

    anonymous: bool
    username: str
    avatar: Avatar
    can_create_repo: NotRequired[bool]
    is_me: NotRequired[bool]
    verified: NotRequired[bool]
    email: NotRequired[str | None]
    logins: NotRequired[list[dict[str, Any]]]
    invoice_email: NotRequired[bool]
    invoice_email_address: NotRequired[str | None]
    preferred_namespace: NotRequired[bool]
    tag_expiration_s: NotRequired[int]
    prompts: NotRequired[list[str]]
    company: NotRequired[str | None]
    family_name: NotRequired[str | None]
    given_name: NotRequired[str | None]
    location: NotRequired[str | None]
    is_free_account: NotRequired[bool]
    has_password_set: NotRequired[bool]
    organizations: NotRequired[list[Organization]]
    super_user: NotRequired[bool]


def _view(txn: Transaction, call: Call, user: Namespace) -> UserView:
    """What the caller may see of the user."""
    himself = call.principal.namespace_id == user.id
    view = public_view(user)
    if himself and call.permits("user:admin"):
        show_account(txn, user, view)
    if himself and call.permits("user:read"):
        _show_organizations(txn, user, view, admin=call.permits("user:admin"))
        view["super_user"] = call.principal.superuser
    return view


def public_view(user: Namespace) -> UserView:
    """What everybody sees."""
    return {"anonymous": False, "username": user.name, "avatar": avatar(user.name, "user")}


def show_account(txn: Transaction, user: Namespace, view: UserView) -> None:
    """What only the user himself sees."""
    known, standing = profile.get(txn, user.id), account.standing(txn, user.id)
    view.update(
        {
            "can_create_repo": True,
            "is_me": True,
            "verified": standing.verified,
            "email": user.email,
            "logins": [],
            "invoice_email": known.invoice_email,
            "invoice_email_address": known.invoice_email_address,
            "preferred_namespace": False,
            "tag_expiration_s": user.time_machine_s,
            "prompts": [],
            "company": known.company,
            "family_name": known.family_name,
            "given_name": known.given_name,
            "location": known.location,
            "is_free_account": True,
            "has_password_set": standing.has_password,
        }
    )


def _show_organizations(txn: Transaction, user: Namespace, view: UserView, *, admin: bool) -> None:
    shown: list[Organization] = []
    for each in account.organizations(txn, user.id):
        organization: Organization = {
            "name": each.name,
            "avatar": avatar(each.name, "org"),
            "can_create_repo": each.may_create,
            "public": False,
        }
        if admin:
            organization |= {"is_org_admin": each.administers, "preferred_namespace": False}
        shown.append(organization)
    view["organizations"] = shown


@routes.get("/user/", "getLoggedInUser", needs.any_of(needs.account("user:read"), needs.anonymous_too))
async def get(call: Call) -> UserView:
    """Get user information for the authenticated user."""
    user = call.found.user
    if user is None:
        raise InvalidToken("Requires authentication", session_required=False)
    return await call.read(_view, call, user)


@routes.get("/users/<username>", "getUserInformation", needs.anybody)
async def get_other(call: Call, username: str) -> UserView:
    """Get user information for the specified user."""

    def look(txn: Transaction) -> UserView:
        found = namespace.find(txn, username)
        if found is None or found.kind != "user":
            raise NotFound(f"There is no user {username[:80]!r}.")
        return _view(txn, call, found)

    return await call.read(look)


# --- what is changed ----------------------------------------------------------------------------------------------


class UpdateUser(TypedDict):
    """Fields which can be updated in a user; what is not in it stays."""

    password: NotRequired[Password]
    invoice_email: NotRequired[Annotated[bool, Schema(description="Whether the user desires to receive invoices")]]
    email: NotRequired[Email]
    tag_expiration_s: NotRequired[
        Annotated[int, Schema(minimum=0, description="How long a deleted tag can be restored: one of the options")]
    ]
    username: NotRequired[Username]
    invoice_email_address: NotRequired[Email | None]
    given_name: NotRequired[Text | None]
    family_name: NotRequired[Text | None]
    company: NotRequired[Text | None]
    location: NotRequired[Text | None]


@routes.put("/user/", "changeUserDetails", needs.account("user:admin"), fresh=True, internal=True)
async def change(call: Call, body: UpdateUser) -> UserView:
    """Update a users details such as password or email. A new password ends all other sessions of the user."""
    if {"password", "email", "username"} & body.keys():
        in_person(call)
    _check_tag_expiration(call, body)
    hashed = await hashed_anew(call, body["password"]) if "password" in body else None

    def work(txn: Transaction) -> UserView:
        if hashed is not None:
            _change_password(txn, call, hashed)
        _change_email(txn, call, body)
        _change_profile(txn, call, body)
        _change_tag_expiration(txn, call, body)
        _change_name(txn, call, body)
        return _view(txn, call, _current(txn, call))

    return await call.write(work)


def _current(txn: Transaction, call: Call) -> Namespace:
    """The caller as he is in this transaction. Raises `InvalidToken` if he was removed meanwhile."""
    found = namespace.by_id(txn, call.user.id)
    if found is None or found.kind != "user":
        raise InvalidToken("Your account has just been removed.")
    return found


async def hashed_anew(call: Call, password: str) -> str:
    """What is kept of a new password. Raises `InvalidRequest` if it may not be one."""
    check_new(password)
    return await call.means.passwords.hash(password)


def _change_password(txn: Transaction, call: Call, hashed: str) -> None:
    namespace.set_password(txn, call.user.id, hashed)
    session.end_all(txn, call.user.id, but=session_id(call))
    call.record(txn, "account_change_password")


def _change_email(txn: Transaction, call: Call, body: UpdateUser) -> None:
    old = _current(txn, call).email or ""
    new = body.get("email", old)
    if new.lower() != old:
        namespace.set_email(txn, call.user.id, new or None)
        call.record(txn, "user_change_email", email=new, old_email=old)


def _change_profile(txn: Transaction, call: Call, body: UpdateUser) -> None:
    known = profile.get(txn, call.user.id)
    personal, invoicing = _differing(known, body, _PROFILE), _differing(known, body, _INVOICING)
    profile.update(txn, call.user.id, **personal, **invoicing)
    if personal:
        call.record(txn, "user_change_metadata", **personal)
    for key, value in invoicing.items():
        call.record(txn, "user_change_invoicing", **{key: value})


def _differing(known: Profile, body: UpdateUser, keys: tuple[str, ...]) -> Any:
    wanted: dict[str, Any] = {**body}
    return {key: wanted[key] for key in keys if key in wanted and wanted[key] != getattr(known, key)}


def _check_tag_expiration(call: Call, body: UpdateUser) -> None:
    config = call.means.config
    if body.get("tag_expiration_s", call.user.time_machine_s) == call.user.time_machine_s:
        return
    if not config.change_tag_expiration:
        raise BadRequest("This registry does not let users choose how long deleted tags can be restored.")
    if body["tag_expiration_s"] not in config.tag_expiration_options:
        options = ", ".join(f"{int(each)} ({each})" for each in config.tag_expiration_options)
        raise BadRequest(f"'tag_expiration_s' must be one of {options}.")


def _change_tag_expiration(txn: Transaction, call: Call, body: UpdateUser) -> None:
    seconds = body.get("tag_expiration_s", call.user.time_machine_s)
    if seconds != call.user.time_machine_s:
        namespace.set_time_machine(txn, call.user.id, seconds)
        call.record(txn, "user_change_tag_expiration", tag_expiration=seconds)


def _change_name(txn: Transaction, call: Call, body: UpdateUser) -> None:
    old, new = call.user.name, body.get("username", call.user.name)
    if new == old:
        return
    if not call.means.config.user_rename:
        raise BadRequest(
            "User names cannot be changed in this registry: what is pulled from it is named by them. Its administrator "
            "can set FEATURE_USER_RENAME."
        )
    check_not_reserved(call, new)
    renaming.rename(txn, _current(txn, call), new)
    call.record(txn, "user_change_name", old_username=old, new_username=new)


def check_not_reserved(call: Call, name: str) -> None:
    """Nobody makes himself an administrator by taking a name that the configuration says is one's."""
    if name in call.means.registry.policy.super_users:
        raise BadRequest(
            f"The name {name!r} is reserved for an administrator of this registry: `quay user create` on its machine "
            "makes this account."
        )


# --- the end of an account ----------------------------------------------------------------------------------------


@routes.delete("/user/", "deleteCurrentUser", needs.account("user:admin"), fresh=True, internal=True)
async def delete(call: Call) -> None:
    """Deletes the current user, with all that is his. Organizations that only he administers have to go before."""
    in_person(call)

    def remove(txn: Transaction) -> None:
        user = _current(txn, call)
        sole = removal.solely_administered(txn, user.id)
        if sole:
            raise BadRequest(
                f"You are the only one who administers {', '.join(sole)}: let somebody else do so, or delete it first."
            )
        for organization in account.organizations(txn, user.id):
            left = namespace.find(txn, organization.name)
            if left is not None:
                team.remove_from_all(txn, left.id, user.id)  # refuses if the other administrator is just leaving
        removal.begin(txn, user.id)
        call.record(txn, "user_delete", username=user.name)

    await call.write(remove)


class ConvertUser(TypedDict):
    """Information required to convert a user to an organization."""

    adminUser: Annotated[str, Schema(maxLength=255, description="The user who will administer the organization")]
    adminPassword: Password
    adminTotp: NotRequired[Code]
    plan: NotRequired[Annotated[str, Schema(maxLength=255, description="Not looked at")]]


@routes.post("/user/convert", "convertUserToOrganization", needs.account("user:admin"), fresh=True, internal=True)
async def convert(call: Call, body: ConvertUser) -> Success:
    """Convert the user to an organization, and sign in who administers it."""
    in_person(call)
    administrator = await _administrator(call, body)

    def work(txn: Transaction) -> None:
        conversion.to_organization(txn, _current(txn, call), administrator.id)
        call.record(txn, "account_convert", username=call.user.name, admin=administrator.name)

    await call.write(work)
    await call.means.sign_in.enter(call.request, administrator)
    return DONE


async def _administrator(call: Call, body: ConvertUser) -> Namespace:
    try:
        found = await prove(call, body["adminUser"], body["adminPassword"], body.get("adminTotp"))
    except Forbidden as refused:
        raise BadRequest("The admin user credentials are not valid", reason="invaliduser") from refused
    if found.id == call.user.id:
        raise BadRequest("The admin user is not valid: it is the one who is to be converted.", reason="invaliduser")
    return found


@routes.post("/detachexternal/<service_id>", "detachExternalLogin", needs.account("user:admin"), internal=True)
async def detach(call: Call, service_id: str) -> Success:
    """Request that the current user be detached from the external login service. Nobody is attached to one here."""
    return DONE
