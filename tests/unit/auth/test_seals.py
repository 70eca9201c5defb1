"""What the installation hands out comes back unchanged, for the same purpose and in time, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from quay.auth.seals import SealBroken, Seals

SECRET = b"a secret of this installation"


def seals(secret=SECRET, now=1_790_000_000):
    clock = Clock()
    clock.rightNow = now
    return Seals(secret, clock.seconds), clock


@given(st.binary(max_size=300))
def test_round_trip(value):
    """What was sealed is opened for the same purpose, by whoever has the same secret."""
    sealed = seals()[0].seal("pages", value)
    assert seals()[0].open("pages", sealed) == value


@pytest.mark.parametrize(
    ("secret", "purpose"), [(SECRET, "sessions"), (b"another secret", "pages")], ids=["purpose", "secret"]
)
def test_nothing_else_opens_it(secret, purpose):
    """Neither another purpose nor another secret opens it."""
    sealed = seals()[0].seal("pages", b"value")
    with pytest.raises(SealBroken):
        seals(secret)[0].open(purpose, sealed)


def test_it_ages():
    """A seal is good for as long as the opener says, and not for a second more."""
    made, clock = seals()
    sealed = made.seal("pages", b"value")
    clock.advance(60)
    assert made.open("pages", sealed, 60) == b"value"
    clock.advance(1)
    with pytest.raises(SealBroken):
        made.open("pages", sealed, 60)


@given(st.text(max_size=200))
def test_garbage_is_refused(text):
    """Whatever else is shown is refused in the same way."""
    with pytest.raises(SealBroken):
        seals()[0].open("pages", text)


def test_keys_differ_by_purpose():
    """A key for a MAC is 32 bytes, the same each time, and another one for another purpose."""
    made, _ = seals()
    assert made.key("a") == seals()[0].key("a") != made.key("b")
    assert len(made.key("a")) == 32
