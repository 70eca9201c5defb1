"""
The codes of a second factor: six digits that follow from a secret and the time, or a recovery code.

A code is taken one step (30 s) before and after its time, once, and guessing is slow: the account is what counts,
because whoever guesses has its password already. Source: RFC 6238; the `otpauth` URI of Google Authenticator.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

import pyotp
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from quay.auth.seals import SealBroken, Seals
from quay.auth.throttle import Throttle
from quay.database import Database, Transaction
from quay.model import second_factor
from quay.model.second_factor import SecondFactor
from quay.oci.errors import Unauthorized

log = Logger()

STEP_S: Final = 30
DIGITS: Final = 6
WINDOW: Final = (0, -1, 1)
"""Steps from now of which a code is taken."""
CODE_LIMIT: Final = 40
_PURPOSE: Final = "second factor"


class SecondFactors:
    """Makes secrets and verifies codes. `vault` seals what is stored."""

    def __init__(self, database: Database, vault: Seals, clock: IReactorTime, throttle: Throttle | None = None) -> None:
        self._database = database
        self._vault = vault
        self._now = clock.seconds
        self._throttle = throttle or Throttle(clock.seconds, burst=5, per_minute=1, what="wrong codes for this account")

    def new(self) -> tuple[str, str]:
        """A new secret in base 32, and the same as it is stored."""
        secret = pyotp.random_base32()
        return secret, self._vault.seal(_PURPOSE, secret.encode())

    @staticmethod
    def uri(secret: str, username: str, registry: str) -> str:
        """What a code generator takes, mostly as a picture."""
        return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S).provisioning_uri(name=username, issuer_name=registry)

    async def confirm(
        self, user_id: int, code: str, record: Callable[[Transaction], None] = lambda txn: None
    ) -> list[str] | None:
        """
        Make the second factor that was begun count, if `code` is one of its, and `record` it in the same transaction;
        gives the recovery codes. None if there is none to confirm. Raises `Unauthorized` for a wrong code,
        `TooManyRequests` after many.
        """
        with self._throttle.attempt(user_id):
            found = await self._database.read(second_factor.find, user_id)
            if found is None or found.confirmed:
                return None
            step = self._step(found, code)
            if step is None:
                raise _wrong()
        return await self._database.write(_confirm, found, step, record)

    async def verify(self, user_id: int, code: str) -> None:
        """Use up `code`, or a recovery code. Raises `Unauthorized` if it is wrong, `TooManyRequests` after many."""
        with self._throttle.attempt(user_id):
            found = await self._database.read(second_factor.find, user_id)
            step = None if found is None else self._step(found, code)
            if not await self._database.write(_spend, user_id, step, code[:CODE_LIMIT]):
                raise _wrong()

    def _step(self, found: SecondFactor, code: str) -> int | None:
        """The step of which `code` is, if near and not used; every candidate is compared, in constant time."""
        totp = self._totp(found)
        if totp is None:
            return None
        now = int(self._now()) // STEP_S
        shown = code.replace(" ", "").encode("utf-8", "replace")
        equal = [step for step in (now + near for near in WINDOW) if _equal(totp.generate_otp(step), shown)]
        return next((step for step in equal if step > found.last_step), None)

    def _totp(self, found: SecondFactor) -> pyotp.TOTP | None:
        try:
            secret = self._vault.open(_PURPOSE, found.sealed).decode()
        except SealBroken:
            log.error(
                "The second factor of namespace {id} cannot be read: the DATABASE_SECRET_KEY has changed. A recovery "
                "code still opens the account; `quay user reset-second-factor` lets the password do.",
                id=found.user_id,
            )
            return None
        return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S)


def _confirm(
    txn: Transaction, found: SecondFactor, step: int, record: Callable[[Transaction], None]
) -> list[str] | None:
    codes = second_factor.confirm(txn, found, step)
    if codes is not None:
        record(txn)
    return codes


def _spend(txn: Transaction, user_id: int, step: int | None, code: str) -> bool:
    if step is not None:
        return second_factor.spend_step(txn, user_id, step)
    return second_factor.spend_recovery_code(txn, user_id, code)


def _equal(code: str, shown: bytes) -> bool:
    return hmac.compare_digest(code.encode(), shown)


def _wrong() -> Unauthorized:
    return Unauthorized(
        "This code is wrong, or was used before.",
        advice="Take the next one from your code generator, or a recovery code; the clocks may differ by 30 s.",
    )
