"""
The second factor of one's own account: begun with the password, confirmed with a first code, removed again.

Quay has none, so these addresses are ours. They are for people: no application does this for its user.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from quay.database import Transaction
from quay.model import second_factor, session
from quay.oci.errors import Unauthorized
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import BadRequest, Conflict, Forbidden, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.signin import Password, prove

routes = Routes("secondfactor", "The second factor of your account.")


class SecondFactorView(TypedDict):
    """Whether signing in takes a code, and how many recovery codes are left."""

    enabled: bool
    recovery_codes_left: int


class Begin(TypedDict):
    """What it takes to begin."""

    password: Password


class Begun(TypedDict):
    """What a code generator takes: the secret, in base 32, and the same as an otpauth URI, to be shown as a picture."""

    secret: str
    otpauth_uri: str


class Confirm(TypedDict):
    """A code of the generator."""

    code: Annotated[str, Schema(minLength=6, maxLength=16)]


class RecoveryCodes(TypedDict):
    """Codes to be kept on paper, each good once. They are shown this one time."""

    recovery_codes: list[str]


def in_person(call: Call) -> None:
    """Raises `Forbidden` unless the user shows his password or sits in a session, rather than letting a token act."""
    if call.principal.kind != "user":
        raise Forbidden("No token may do this: sign in, and do it yourself.")


@routes.get("/user/totp", "getSecondFactor", needs.account("user:admin"))
async def get(call: Call) -> SecondFactorView:
    """Tell whether signing in takes a code."""

    def look(txn: Transaction) -> SecondFactorView:
        return {
            "enabled": second_factor.is_confirmed(txn, call.user.id),
            "recovery_codes_left": second_factor.recovery_codes_left(txn, call.user.id),
        }

    return await call.read(look)


@routes.post("/user/totp", "beginSecondFactor", needs.account("user:admin"), internal=True)
async def begin(call: Call, body: Begin) -> Begun:
    """Get a secret for a code generator. It counts when a code has confirmed it; another call gives another one."""
    in_person(call)
    if await call.read(second_factor.is_confirmed, call.user.id):
        raise _taken()
    await prove(call, call.user.name, body["password"])
    secret, sealed = call.means.second_factors.new()
    if not await call.write(second_factor.begin, call.user.id, sealed):
        raise _taken()
    uri = call.means.second_factors.uri(secret, call.user.name, call.means.config.registry_title)
    return {"secret": secret, "otpauth_uri": uri}


@routes.post("/user/totp/confirm", "confirmSecondFactor", needs.account("user:admin"), internal=True)
async def confirm(call: Call, body: Confirm) -> RecoveryCodes:
    """Make the second factor count, and get recovery codes. All other sessions end."""
    in_person(call)

    def record(txn: Transaction) -> None:
        session.end_all(txn, call.user.id, but=None if call.identity.session is None else call.identity.session.id)
        call.record(txn, "user_change_second_factor", username=call.user.name, enabled=True)

    try:
        codes = await call.means.second_factors.confirm(call.user.id, body["code"], record)
    except Unauthorized as wrong:
        raise BadRequest(f"{wrong.message} {wrong.advice}") from wrong
    if codes is None:
        raise NotFound("There is no second factor to confirm: begin with POST /api/v1/user/totp.")
    return {"recovery_codes": codes}


@routes.post("/user/totp/recovery", "renewRecoveryCodes", needs.account("user:admin"), fresh=True, internal=True)
async def renew(call: Call) -> RecoveryCodes:
    """Get new recovery codes instead of those until now."""
    in_person(call)

    def exchange(txn: Transaction) -> list[str]:
        if not second_factor.is_confirmed(txn, call.user.id):
            raise _missing()
        call.record(txn, "user_change_second_factor", username=call.user.name, recovery_codes="renewed")
        return second_factor.renew_recovery_codes(txn, call.user.id)

    return {"recovery_codes": await call.write(exchange)}


@routes.delete("/user/totp", "removeSecondFactor", needs.account("user:admin"), fresh=True, internal=True)
async def remove(call: Call) -> None:
    """Let the password alone do again."""
    in_person(call)

    def end(txn: Transaction) -> None:
        if not second_factor.remove(txn, call.user.id):
            raise _missing()
        call.record(txn, "user_change_second_factor", username=call.user.name, enabled=False)

    await call.write(end)


def _taken() -> Conflict:
    return Conflict("Your account has a second factor already: remove it before you begin with another one.")


def _missing() -> NotFound:
    return NotFound("Your account has no second factor.")
