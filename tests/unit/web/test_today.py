"""The date of an answer."""

from quay.web.today import Today


def test_today():
    """The date is made anew for each second, and for no other reason."""
    now = [0.0]
    today = Today(lambda: now[0])
    first = today()
    now[0] = 0.9
    assert today() is first
    now[0] = 1.0
    assert (first, today()) == (b"Thu, 01 Jan 1970 00:00:00 GMT", b"Thu, 01 Jan 1970 00:00:01 GMT")
