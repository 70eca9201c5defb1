"""New users: who makes an account for himself, and the very first one, who needs no browser. Source: Quay's `/user`."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from quay.auth import scopes
from quay.config import Config
from quay.database import Transaction
from quay.model import account, credential, namespace
from quay.model.authorization import TOKEN_LIFETIME_S
from quay.model.namespace import Namespace
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, Forbidden
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.signin import Password
from quay.web.api.user import (
    Email,
    Username,
    UserView,
    check_not_reserved,
    hashed_anew,
    public_view,
    show_account,
)

routes = Routes("user", "Manage the current user.")


class NewUser(TypedDict):
    """Fields which must be specified for a new user."""

    username: Username
    password: Password
    email: NotRequired[Email | None]
    invite_code: NotRequired[Annotated[str, Schema(maxLength=255, description="Not looked at")]]
    recaptcha_response: NotRequired[Annotated[str, Schema(maxLength=4096, description="Not looked at")]]


def _may_sign_up(config: Config) -> bool:
    return config.user_creation and config.direct_login


@routes.post("/user/", "createNewUser", needs.anonymous_too, internal=True, when=_may_sign_up)
async def create(call: Call, body: NewUser) -> UserView:
    """Create a new user, who is signed in by that."""
    if call.means.config.invite_only_user_creation:
        raise Forbidden("Only who was invited may have an account here: ask an administrator of this registry for one.")
    check_not_reserved(call, body["username"])
    call.means.sign_in.take_turn(call.request)
    hashed = await hashed_anew(call, body["password"])

    def make(txn: Transaction) -> tuple[Namespace, UserView]:
        made = _make(txn, call, body, hashed)
        view = public_view(made)
        show_account(txn, made, view)
        return made, view | {"organizations": [], "super_user": False}

    made, view = await call.write(make)
    if call.principal.kind == "anonymous":
        await call.means.sign_in.enter(call.request, made)
    return view


def _make(
    txn: Transaction, call: Call, body: NewUser | FirstUser, hashed: str, *, superuser: bool = False
) -> Namespace:
    made = namespace.create_user(
        txn,
        body["username"],
        email=body.get("email") or None,
        password_hash=hashed,
        superuser=superuser,
        time_machine_s=call.means.registry.policy.time_machine_s,
    )
    call.record(txn, "user_create", namespace=made, username=made.name, email=made.email)
    return made


# --- the very first


class FirstUser(TypedDict):
    """Who administers a new registry."""

    username: Username
    password: Password
    email: NotRequired[Email | None]
    access_token: NotRequired[Annotated[bool, Schema(description="Whether a token for this API is wanted")]]


class Initialized(TypedDict):
    """The first user. `encrypted_password` is the password: it may be used wherever an encrypted one may."""

    username: str
    email: str | None
    encrypted_password: str
    access_token: NotRequired[str]


def _may_initialize(config: Config) -> bool:
    return config.user_initialize


@routes.post("/user/initialize", "initializeUser", needs.anonymous_too, internal=True, when=_may_initialize)
async def initialize(call: Call, body: FirstUser) -> Initialized:
    """Create the first user of an empty registry, a superuser, and a token for him if it is wanted. It works once."""
    if not await call.read(account.is_empty):
        raise _not_empty()
    hashed = await hashed_anew(call, body["password"])

    def make(txn: Transaction) -> Initialized:
        if not account.initialize(txn):
            raise _not_empty()
        made = _make(txn, call, body, hashed, superuser=True)
        answer: Initialized = {"username": made.name, "email": made.email, "encrypted_password": body["password"]}
        if body.get("access_token"):
            answer["access_token"] = _token(txn, made)
        return answer

    return await call.write(make)


def _token(txn: Transaction, user: Namespace) -> str:
    expires_ms = txn.now_ms + TOKEN_LIFETIME_S * 1000
    scope = " ".join(scopes.SCOPES)
    return credential.create(txn, user.id, "oauth", title="initialize", scope=scope, expires_ms=expires_ms)[1]


def _not_empty() -> BadRequest:
    return BadRequest("Cannot initialize user in a non-empty database")
