"""The codes of a second factor, over a real vault."""

from __future__ import annotations

import pyotp
import pytest

from quay.auth.seals import Seals
from quay.auth.totp import STEP_S, SecondFactors
from quay.database import Transaction
from quay.model import audit, second_factor
from quay.oci.errors import TooManyRequests, Unauthorized
from tests.unit.auth.house import House, result


class Vault:
    """The second factor of ada, and her code generator."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.vault = Seals(b"vault", house.clock.seconds)
        self.second_factors = SecondFactors(house.database, self.vault, house.clock)
        self.secret, self.sealed = self.second_factors.new()
        house.write(second_factor.begin, house.ada.id, self.sealed)

    def code(self, steps: int = 0) -> str:
        return pyotp.TOTP(self.secret).at(int(self.house.clock.seconds()) + steps * STEP_S)

    def confirm(self) -> list[str]:
        codes = result(self.second_factors.confirm(self.house.ada.id, self.code()))
        assert codes is not None
        return codes

    def verify(self, code: str) -> None:
        result(self.second_factors.verify(self.house.ada.id, code))


@pytest.fixture
def ada(sqlite_url: str) -> Vault:
    return Vault(House(sqlite_url))


def test_the_secret_is_sealed(ada: Vault) -> None:
    """What is stored is not the secret, and opens with this vault only."""
    assert ada.secret not in ada.sealed
    assert len(ada.secret) == 32
    assert SecondFactors(ada.house.database, ada.vault, ada.house.clock).new()[0] != ada.secret


def test_uri(ada: Vault) -> None:
    """A code generator that takes the URI has the secret, and says whose codes these are."""
    totp = pyotp.parse_uri(SecondFactors.uri(ada.secret, "ada", "Our Registry"))
    assert isinstance(totp, pyotp.TOTP)
    assert (totp.secret, totp.name, totp.issuer, totp.interval) == (ada.secret, "ada", "Our Registry", STEP_S)


def test_a_code_of_now(ada: Vault) -> None:
    """The code that confirmed is used up; the next one is good, once."""
    ada.confirm()
    with pytest.raises(Unauthorized):
        ada.verify(ada.code())
    ada.house.clock.advance(STEP_S)
    ada.verify(f"{ada.code()[:3]} {ada.code()[3:]}")
    with pytest.raises(Unauthorized):
        ada.verify(ada.code())


def test_confirmed_once(ada: Vault) -> None:
    """Neither a wrong code nor a second one confirms; what is recorded, is recorded with the confirmation."""

    def record(txn: Transaction) -> None:
        audit.append(txn, [audit.Entry(kind="user_change_second_factor")])

    confirm, ada_id = ada.second_factors.confirm, ada.house.ada.id
    with pytest.raises(Unauthorized):
        result(confirm(ada_id, "000000", record))
    assert ada.house.write(second_factor.is_confirmed, ada_id) is False
    assert result(confirm(ada_id, ada.code(), record)) is not None
    ada.house.clock.advance(STEP_S)
    assert result(confirm(ada_id, ada.code(), record)) is None
    assert result(confirm(ada_id + 1, ada.code(), record)) is None


def test_nobodys_codes(ada: Vault) -> None:
    """Who has no second factor has no code."""
    with pytest.raises(Unauthorized):
        result(ada.second_factors.verify(ada.house.ada.id + 1, "000000"))


def test_slow(ada: Vault) -> None:
    """Five wrong codes for an account, then one a minute; right ones cost nothing."""
    codes = ada.confirm()
    for code in codes[:6]:
        ada.verify(code)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            ada.verify("wrong")
    with pytest.raises(TooManyRequests) as refused:
        ada.verify(codes[7])
    assert "wrong codes for this account" in refused.value.message
    ada.house.clock.advance(60)
    ada.verify(codes[7])
