"""Signing in and out, and showing the password once more. Source: Quay's `/signin`."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from quay.model import session
from quay.model.namespace import Namespace
from quay.oci.errors import Unauthorized
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import Forbidden
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import DONE, Success
from quay.web.signin import SecondFactorNeeded

routes = Routes("signin", "Sign in and out.")

WRONG = "Invalid Username or Password"
"""What Quay says, whichever of them it is."""

Password = Annotated[str, Schema(maxLength=4096, description="The password")]
Code = Annotated[
    str, Schema(maxLength=64, description="A code of the second factor, or a recovery code, for who has one")
]


class SigninUser(TypedDict):
    """Information required to sign in a user."""

    username: Annotated[str, Schema(maxLength=255, description="The user's username")]
    password: Password
    totp: NotRequired[Code]


class VerifyUser(TypedDict):
    """Verifies the signed in user."""

    password: Password
    totp: NotRequired[Code]


async def prove(call: Call, username: str, password: str, totp: str | None = None) -> Namespace:
    """The user with these. Raises `Forbidden`, as Quay words it, for what is wrong or missing; `TooManyRequests`."""
    try:
        return await call.means.sign_in.prove(call.request, username, password, totp)
    except SecondFactorNeeded as needed:
        raise _refusal(needed, needed.message, needsTotp=True, invalidCredentials=False) from needed
    except Unauthorized as refused:
        raise _refusal(refused, WRONG, invalidCredentials=True) from refused


def _refusal(refused: Unauthorized, message: str, **why: Any) -> Forbidden:
    detail = f"{refused.message} {refused.advice}".strip()
    return Forbidden(detail, message=message, needsEmailVerification=False, **why)


@routes.post(
    "/signin",
    "signinUser",
    needs.anonymous_too,
    internal=True,
    always=True,
    when=lambda config: config.direct_login,
)
async def sign_in(call: Call, body: SigninUser) -> Success:
    """Sign in the user with the specified credentials."""
    user = await prove(call, body["username"], body["password"], body.get("totp"))
    await call.means.sign_in.enter(call.request, user, call.identity.session)
    return DONE


@routes.post("/signin/verify", "verifyUser", needs.account("user:admin"), internal=True, always=True)
async def verify(call: Call, body: VerifyUser) -> Success:
    """Verifies the signed in the user with the specified credentials."""
    user = await prove(call, call.user.name, body["password"], body.get("totp"))
    if call.identity.session is not None and user.id == call.user.id:
        await call.write(session.freshen, call.identity.session.id)
    return DONE


@routes.post("/signout", "logout", needs.anonymous_too, internal=True, always=True)
async def sign_out(call: Call) -> Success:
    """Request that the current user be signed out."""
    if call.identity.session is not None:
        await call.means.sign_in.leave(call.request, call.identity.session)
    return DONE
