"""
OAuth applications of organizations, their tokens, and what users have authorized.

A secret is shown once, by the call that makes it: the registry keeps its hash. A token that is made here acts for
whoever makes it, and cannot be used for more than the credentials he makes it with. Source: Quay's OAuth applications
and its organization application tokens.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, NotRequired, TypedDict
from urllib.parse import urlsplit

from quay.auth import scopes
from quay.auth.scopes import SCOPES, ScopeInvalid
from quay.database import Transaction
from quay.model import application as applications
from quay.model import authorization, credential
from quay.model.application import Application
from quay.model.authorization import TOKEN_LIFETIME_S, Authorization
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, Forbidden, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import Avatar, avatar, http_date, optional_date

routes = Routes("applications", "Manage the OAuth applications of organizations, and what users authorized.")

PAGE: Final = 50
_OF: Final = "/organization/<orgname>/applications"

Uri = Annotated[str, Schema(maxLength=2048)]
Name = Annotated[str, Schema(minLength=1, maxLength=255)]


class ApplicationView(TypedDict):
    """An OAuth application; `client_secret` only where it has just been made."""

    name: str
    description: str
    application_uri: str
    client_id: str
    client_secret: str | None
    redirect_uri: str | None
    avatar_email: str | None


class ApplicationViews(TypedDict):
    applications: list[ApplicationView]


class NewApp(TypedDict):
    """Describes a new organization application."""

    name: Annotated[Name, Schema(description="The name of the application")]
    redirect_uri: NotRequired[Annotated[Uri, Schema(description="The URI for the application's OAuth redirect")]]
    application_uri: NotRequired[Annotated[Uri, Schema(description="The URI for the application's homepage")]]
    description: NotRequired[Annotated[str, Schema(maxLength=4096)]]
    avatar_email: NotRequired[Annotated[str, Schema(maxLength=255)] | None]


class UpdateApp(TypedDict):
    """Updates an organization application."""

    name: Name
    redirect_uri: Uri
    application_uri: Uri
    description: NotRequired[Annotated[str, Schema(maxLength=4096)]]
    avatar_email: NotRequired[Annotated[str, Schema(maxLength=255)] | None]


@routes.get(_OF, "getOrganizationApplications", needs.organization())
async def list_applications(call: Call) -> ApplicationViews:
    """List the applications for the specified organization."""
    found = await call.read(applications.all_of, call.organization.id)
    return {"applications": [_view(each) for each in found]}


@routes.post(_OF, "createOrganizationApplication", needs.organization())
async def create(call: Call, body: NewApp) -> ApplicationView:
    """Create a new application under this organization. Its client_secret is shown in this answer only."""
    fields = _checked(dict(body))

    def make(txn: Transaction) -> tuple[Application, str]:
        made, secret = applications.create(txn, call.organization.id, **fields)
        call.record(txn, "create_application", application_name=made.name, client_id=made.client_id)
        return made, secret

    return _view(*await call.write(make))


@routes.get(f"{_OF}/<client_id>", "getOrganizationApplication", needs.organization())
async def get(call: Call, client_id: str) -> ApplicationView:
    """Retrieve the application with the specified client_id under the specified organization."""
    return _view(await call.read(_one, call, client_id))


@routes.put(f"{_OF}/<client_id>", "updateOrganizationApplication", needs.organization())
async def update(call: Call, client_id: str, body: UpdateApp) -> ApplicationView:
    """Update an application under this organization."""
    fields = _checked(dict(body))

    def change(txn: Transaction) -> Application:
        found = _one(txn, call, client_id)
        applications.change(txn, found.id, **fields)
        call.record(txn, "update_application", application_name=fields["name"], client_id=client_id)
        return _one(txn, call, client_id)

    return _view(await call.write(change))


@routes.delete(f"{_OF}/<client_id>", "deleteOrganizationApplication", needs.organization())
async def delete(call: Call, client_id: str) -> None:
    """Delete the application under this organization; its tokens are worthless at once."""

    def remove(txn: Transaction) -> None:
        found = _one(txn, call, client_id)
        applications.delete(txn, found.id)
        call.record(txn, "delete_application", application_name=found.name, client_id=client_id)

    await call.write(remove)


@routes.post(
    f"{_OF}/<client_id>/resetclientsecret",
    "resetOrganizationApplicationClientSecret",
    needs.organization(),
    internal=True,
)
async def reset_secret(call: Call, client_id: str) -> ApplicationView:
    """Reset the client secret of the application. The new one is shown in this answer only."""

    def reset(txn: Transaction) -> tuple[Application, str]:
        found = _one(txn, call, client_id)
        secret = applications.reset_secret(txn, found.id)
        call.record(txn, "reset_application_client_secret", application_name=found.name, client_id=client_id)
        return found, secret

    return _view(*await call.write(reset))


def _one(txn: Transaction, call: Call, client_id: str) -> Application:
    found = applications.of_organization(txn, call.organization.id, client_id)
    if found is None:
        raise NotFound(f"The organization {call.organization.name} has no application with this client id.")
    return found


def _view(found: Application, secret: str | None = None) -> ApplicationView:
    return {
        "name": found.name,
        "description": found.description,
        "application_uri": found.application_uri,
        "client_id": found.client_id,
        "client_secret": secret,
        "redirect_uri": found.redirect_uri,
        "avatar_email": found.avatar_email,
    }


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of an application, if its addresses are such. Raises `BadRequest`."""
    for key in ("redirect_uri", "application_uri"):
        if fields.get(key) and not is_web_address(fields[key]):
            raise BadRequest(f"{key!r} must be an address such as https://example.com/callback, without a fragment.")
    if not fields["name"].strip():
        raise BadRequest("'name' is empty.")
    return fields


def is_web_address(text: str) -> bool:
    """Whether browsers can be sent to `text`: an absolute http or https URL without user, fragment or control."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and not set(text) & set(" \"'<>\\^`{|}")
    return plain and parts.scheme in ("http", "https") and bool(host) and "@" not in parts.netloc and "#" not in text


# --- the tokens of an application ---------------------------------------------------------------------------------


class NewToken(TypedDict):
    """A token with which scripts act for you, through this application."""

    name: Annotated[Name, Schema(description="What the token is for")]
    scope: Annotated[str, Schema(maxLength=255, description="The scopes of the token, separated by spaces")]
    expiration: NotRequired[
        Annotated[int | None, Schema(minimum=1, maximum=TOKEN_LIFETIME_S, description="Seconds until it expires")]
    ]


class TokenView(TypedDict):
    """A token; `token` only where it has just been made."""

    uuid: str
    name: str
    scope: str
    expires_at: str | None
    created: str
    created_by: str
    last_accessed: str | None
    token: NotRequired[str]


class TokenPage(TypedDict):
    tokens: list[TokenView]
    next_page: NotRequired[str]


class PageQuery(TypedDict):
    next_page: NotRequired[str]


@routes.get(f"{_OF}/<client_id>/tokens", "listOrganizationApplicationTokens", needs.organization())
async def list_tokens(call: Call, client_id: str, query: PageQuery) -> TokenPage:
    """List the tokens of the application, the latest first."""
    about = f"listOrganizationApplicationTokens {client_id}"
    before = pages.position(call.means.seals, query.get("next_page"), about)

    def read(txn: Transaction) -> list[Authorization]:
        found = _one(txn, call, client_id)
        return authorization.of_application(txn, found.id, before_id=before, limit=PAGE + 1)

    found, more = pages.page(call.means.seals, about, await call.read(read), PAGE, lambda one: one.id)
    answer: TokenPage = {"tokens": [_token_view(one) for one in found]}
    return {**answer, **more}


@routes.post(
    f"{_OF}/<client_id>/tokens", "createOrganizationApplicationToken", needs.organization(), fresh=True, status=201
)
async def create_token(call: Call, client_id: str, body: NewToken) -> TokenView:
    """Create a token that acts for you within its scopes, and does not outlive the one that you call with."""
    scope = _scope_within(call, body["scope"])
    user_id = _person(call)
    lifetime_s = body.get("expiration") or TOKEN_LIFETIME_S

    def make(txn: Transaction) -> tuple[Authorization, str]:
        found = _one(txn, call, client_id)
        life_s = min(lifetime_s, _left_s(txn, call))
        made, secret = authorization.issue_token(
            txn, found, user_id, scope, title=body["name"], lifetime_s=life_s, creator_id=user_id
        )
        call.record(
            txn, "create_oauth_api_token", application_name=found.name, client_id=client_id, token_uuid=made.uuid,
            token_name=body["name"], scope=scope,
        )  # fmt: skip
        return authorization.of_user(txn, user_id, uuid=made.uuid)[0], secret

    made, secret = await call.write(make)
    return {**_token_view(made), "token": secret}


@routes.delete(
    f"{_OF}/<client_id>/tokens/<token_uuid>", "deleteOrganizationApplicationToken", needs.organization(), fresh=True
)
async def delete_token(call: Call, client_id: str, token_uuid: str) -> None:
    """Revoke a token of the application."""

    def remove(txn: Transaction) -> None:
        found = _one(txn, call, client_id)
        if not authorization.revoke(txn, found.id, token_uuid):
            raise NotFound(f"The application {found.name} has no token with this uuid.")
        call.record(
            txn, "revoke_oauth_api_token", application_name=found.name, client_id=client_id, token_uuid=token_uuid
        )

    await call.write(remove)


def _left_s(txn: Transaction, call: Call) -> int:
    """How many seconds the token of the caller is good for; as many as there can be where it is none, or for ever."""
    shown = call.principal.credential_uuid
    ends_ms = None if shown is None else credential.expiry(txn, shown)
    return TOKEN_LIFETIME_S if ends_ms is None else max(1, (ends_ms - txn.now_ms) // 1000)


def _scope_within(call: Call, text: str) -> str:
    """The scopes that `text` names, if the caller's credentials have them all. Raises `BadRequest`, `Forbidden`."""
    try:
        wanted = scopes.parse(text)
    except ScopeInvalid as error:
        raise BadRequest(str(error)) from error
    if not wanted:
        raise BadRequest("'scope' names no scope: a token without one can do nothing.")
    beyond = wanted - scopes.held(call.principal)
    if beyond:
        raise Forbidden(f"Your own credentials do not have the scope {', '.join(sorted(beyond))}: no token can get it.")
    return " ".join(sorted(wanted))


def _person(call: Call) -> int:
    """The number of the user who calls. Raises `Forbidden` for a robot: a token acts for a person."""
    principal = call.principal
    if principal.kind not in ("user", "oauth_token") or principal.namespace_id is None:
        raise Forbidden(f"{principal.name} cannot make tokens: only users can, with their password or an OAuth token.")
    return principal.namespace_id


def _token_view(one: Authorization) -> TokenView:
    return {
        "uuid": one.uuid,
        "name": one.title,
        "scope": one.scope,
        "expires_at": optional_date(one.expires_ms),
        "created": http_date(one.created_ms),
        "created_by": one.creator,
        "last_accessed": optional_date(one.last_used_ms),
    }


# --- what users see -----------------------------------------------------------------------------------------------


class OrganizationOf(TypedDict):
    name: str
    avatar: Avatar


class ApplicationInformation(TypedDict):
    """What anybody may know of an application."""

    name: str
    description: str
    uri: str
    avatar: Avatar
    organization: OrganizationOf


@routes.get("/app/<client_id>", "getApplicationInformation", needs.anybody)
async def information(call: Call, client_id: str) -> ApplicationInformation:
    """Get information on the specified application."""
    found = await call.read(applications.find, client_id)
    if found is None:
        raise NotFound("There is no application with this client id.")
    return {
        "name": found.name,
        "description": found.description,
        "uri": found.application_uri,
        "avatar": _avatar_of(found),
        "organization": {"name": found.organization, "avatar": avatar(found.organization, "org")},
    }


def _avatar_of(found: Application) -> Avatar:
    return avatar(found.name, "app", found.avatar_email or found.name)


class AuthorizedApplication(TypedDict):
    name: str
    clientId: str
    description: str
    url: str
    avatar: Avatar
    organization: OrganizationOf


class ScopeView(TypedDict):
    scope: str
    title: str
    description: str
    icon: str
    dangerous: bool


class AuthorizationView(TypedDict):
    """An application that may act for you, and within which scopes."""

    uuid: str
    title: str
    created: str
    expiration: str | None
    last_accessed: str | None
    application: AuthorizedApplication
    scopes: list[ScopeView]


class AuthorizationViews(TypedDict):
    authorizations: list[AuthorizationView]


@routes.get("/user/authorizations", "listUserAuthorizations", needs.account(), internal=True)
async def list_authorizations(call: Call) -> AuthorizationViews:
    """List the applications that may act for you."""
    return {"authorizations": await call.read(_authorized, call.user.id)}


@routes.get("/user/authorizations/<access_token_uuid>", "getUserAuthorization", needs.account(), internal=True)
async def get_authorization(call: Call, access_token_uuid: str) -> AuthorizationView:
    """Get one of the authorizations that you gave."""
    found = await call.read(_authorized, call.user.id, access_token_uuid)
    if not found:
        raise NotFound("You have given no authorization with this uuid.")
    return found[0]


@routes.delete("/user/authorizations/<access_token_uuid>", "deleteUserAuthorization", needs.account(), internal=True)
async def delete_authorization(call: Call, access_token_uuid: str) -> None:
    """Take back an authorization that you gave."""

    def remove(txn: Transaction) -> None:
        given = authorization.of_user(txn, call.user.id, uuid=access_token_uuid)
        if not given:
            raise NotFound("You have given no authorization with this uuid.")
        authorization.revoke(txn, given[0].application_id, access_token_uuid)
        application = applications.by_ids(txn, [given[0].application_id])[given[0].application_id]
        call.record(txn, "oauth_token_revoked", namespace=call.user, oauth_token_application=application.name)

    await call.write(remove)


def _authorized(txn: Transaction, user_id: int, uuid: str | None = None) -> list[AuthorizationView]:
    given = authorization.of_user(txn, user_id, uuid=uuid)
    known = applications.by_ids(txn, {one.application_id for one in given})
    return [_authorization_view(one, known[one.application_id]) for one in given]


def _authorization_view(one: Authorization, application: Application) -> AuthorizationView:
    return {
        "uuid": one.uuid,
        "title": one.title,
        "created": http_date(one.created_ms),
        "expiration": optional_date(one.expires_ms),
        "last_accessed": optional_date(one.last_used_ms),
        "application": {
            "name": application.name,
            "clientId": application.client_id,
            "description": application.description,
            "url": application.application_uri,
            "avatar": _avatar_of(application),
            "organization": {"name": application.organization, "avatar": avatar(application.organization, "org")},
        },
        "scopes": scope_views(one.scope),
    }


def scope_views(text: str) -> list[ScopeView]:
    """What a person reads about the scopes that `text` names."""
    return [
        {
            "scope": each.scope,
            "title": each.title,
            "description": each.description,
            "icon": each.icon,
            "dangerous": each.dangerous,
        }
        for each in (SCOPES[name] for name in text.replace(",", " ").split() if name in SCOPES)
    ]
