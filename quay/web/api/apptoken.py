"""
App-specific tokens: what a user gives to docker, podman and scripts instead of his password.

The code of a token is in the answer that makes it, and in no other: the registry keeps its hash. Source: Quay's
app-specific tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Final, NotRequired, TypedDict

from quay.auth import scopes
from quay.config import Config
from quay.database import Transaction
from quay.model import apptoken
from quay.model.apptoken import AppToken
from quay.web.api import needs, pages
from quay.web.api.call import Call
from quay.web.api.errors import Forbidden, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import http_date, optional_date

routes = Routes("appspecifictokens", "Manages app specific tokens for the current user.")

PAGE: Final = 500
SOON: Final = 0.1
"""A token expires soon when it has so much of its life left."""
USUAL_LIFETIME_S: Final = 28 * 86400
"""What that is a part of where tokens do not expire by themselves."""


class AppTokenView(TypedDict):
    """An app-specific token; `token_code` only where it has just been made, `user` only for superusers."""

    uuid: str
    title: str
    last_accessed: str | None
    created: str
    expiration: str | None
    token_code: NotRequired[str]
    user: NotRequired[str]


class AppTokenViews(TypedDict):
    tokens: list[AppTokenView]
    only_expiring: bool
    next_page: NotRequired[str]


class OneAppToken(TypedDict):
    token: AppTokenView


class NewToken(TypedDict):
    """The token to make."""

    title: Annotated[str, Schema(minLength=1, maxLength=255, description="The user-defined title for the token")]


class TokenQuery(TypedDict):
    expiring: Annotated[bool, Schema(default=False, description="If true, only those that expire soon")]
    next_page: NotRequired[str]


def _are_possible(config: Config) -> bool:
    return config.app_specific_tokens


@routes.get("/user/apptoken", "listAppTokens", needs.account("user:admin"), when=_are_possible)
async def list_tokens(call: Call, query: TokenQuery) -> AppTokenViews:
    """List the app specific tokens for the user."""
    return await page_of_tokens(call, query, "listAppTokens", call.user.id)


@routes.post("/user/apptoken", "createAppToken", needs.account("user:admin"), fresh=True, when=_are_possible)
async def create(call: Call, body: NewToken) -> OneAppToken:
    """Create a new app specific token for user. Its token_code is shown in this answer only."""
    beyond = scopes.APP_TOKEN - scopes.held(call.principal)
    if beyond:
        raise Forbidden(f"Your own credentials do not have the scope {', '.join(sorted(beyond))}: no token can get it.")
    lifetime = call.means.config.app_specific_token_expiration

    def make(txn: Transaction) -> tuple[AppToken, str]:
        expires_ms = None if lifetime is None else txn.now_ms + lifetime * 1000
        made, secret = apptoken.create(txn, call.user.id, body["title"], expires_ms=expires_ms)
        _record(call, txn, "create_app_specific_token", made)
        return made, secret

    made, secret = await call.write(make)
    return {"token": _view(made) | {"token_code": secret}}


@routes.get("/user/apptoken/<token_uuid>", "getAppToken", needs.account("user:admin"), fresh=True, when=_are_possible)
async def get(call: Call, token_uuid: str) -> OneAppToken:
    """Return a specific app token for the user, without its code."""
    found = await call.read(apptoken.find, call.user.id, token_uuid)
    if found is None:
        raise _unknown()
    return {"token": _view(found)}


@routes.delete(
    "/user/apptoken/<token_uuid>", "revokeAppToken", needs.account("user:admin"), fresh=True, when=_are_possible
)
async def revoke(call: Call, token_uuid: str) -> None:
    """Revoke a specific app token for the user."""

    def remove(txn: Transaction) -> None:
        found = apptoken.find(txn, call.user.id, token_uuid)
        if found is None:
            raise _unknown()
        apptoken.revoke(txn, call.user.id, found)
        _record(call, txn, "revoke_app_specific_token", found)

    await call.write(remove)


@routes.get(
    "/superuser/apptokens",
    "listAllAppTokens",
    needs.superuser,
    fresh=True,
    when=lambda config: config.app_specific_tokens and config.super_users_allowed,
)
async def list_all_tokens(call: Call, query: TokenQuery) -> AppTokenViews:
    """List the app specific tokens of all users, without their codes."""
    return await page_of_tokens(call, query, "listAllAppTokens", None)


async def page_of_tokens(call: Call, query: TokenQuery, about: str, user_id: int | None) -> AppTokenViews:
    """The tokens of one user, or of everybody with their users' names."""
    about = f"{about} {user_id} {query['expiring']}"
    after = pages.position(call.means.seals, query.get("next_page"), about) or 0

    def look(txn: Transaction) -> Sequence[AppToken]:
        by = txn.now_ms + _soon_s(call.means.config) * 1000 if query["expiring"] else None
        return apptoken.tokens(txn, user_id, expires_by_ms=by, after=after, limit=PAGE + 1)

    found, more = pages.page(call.means.seals, about, await call.read(look), PAGE, lambda token: token.id)
    views = [_view(token) if user_id is not None else _view(token) | {"user": token.holder} for token in found]
    return {"tokens": views, "only_expiring": query["expiring"], **more}


def _soon_s(config: Config) -> int:
    lifetime = config.app_specific_token_expiration
    return math.ceil(SOON * (USUAL_LIFETIME_S if lifetime is None else lifetime)) or 1


def _view(token: AppToken) -> AppTokenView:
    return {
        "uuid": token.uuid,
        "title": token.title,
        "last_accessed": optional_date(token.last_used_ms),
        "created": http_date(token.created_ms),
        "expiration": optional_date(token.expires_ms),
    }


def _record(call: Call, txn: Transaction, kind: str, token: AppToken) -> None:
    call.record(txn, kind, app_specific_token_title=token.title, app_specific_token=token.uuid)


def _unknown() -> NotFound:
    return NotFound("You have no app-specific token with this uuid.")
