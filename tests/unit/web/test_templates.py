"""What templates make of values: times, and colors that can be read; and when they are compiled."""

import re
from pathlib import Path

import pytest
from jinja2 import Environment
from twisted.internet.defer import Deferred

from quay.threads import ImmediatePool
from quay.web import pages
from quay.web.api.views import _COLORS
from quay.web.pages import ink, moment


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        (None, None),
        ("Fri, 22 Nov 2019 10:00:00 -0000", 1574416800.0),
        ("Fri, 22 Nov 2019 10:00:00 +0100", 1574413200.0),
        ("yesterday", None),
    ],
)
def test_moment(date, seconds, monkeypatch):
    """A date of the API is a moment, wherever the server stands."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    assert moment(date) == seconds


def luminance(color):
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("color", _COLORS)
def test_ink(color):
    """A letter on any color of an avatar has a contrast of 4.5 to 1 at least (WCAG AA)."""
    on, letter = sorted([luminance(color), {"#000": 0.0, "#fff": 1.0}[ink(color)]])
    assert (letter + 0.05) / (on + 0.05) >= 4.5


class Pool(ImmediatePool):
    """Runs what it is given, and remembers for which template that was."""

    def __init__(self):
        self.names = []

    def run(self, f, *args, **kwargs):
        self.names.append(args[0])
        return super().run(f, *args, **kwargs)


def test_all_are_compiled_beforehand(monkeypatch):
    """Once they are prepared, one by one, no page has to wait for a template, whichever it is."""
    pool = Pool()
    pages._environment.cache_clear()
    finished = Deferred.fromCoroutine(pages.Pages.prepare(pool))
    assert finished.called
    root = Path(pages.__file__).parent / "templates"
    assert sorted(pool.names) == sorted(str(file.relative_to(root)) for file in root.rglob("*.html"))
    monkeypatch.setattr(Environment, "compile", None)
    for name in pool.names:
        pages._environment().get_template(name)


FOR_PEOPLE = {
    "signinUser", "logout", "verifyUser", "createNewUser", "convertUserToOrganization",
    "beginSecondFactor", "confirmSecondFactor", "removeSecondFactor", "renewRecoveryCodes",
    "createStar", "deleteStar",
}  # fmt: skip
"""What a script does not do: signing in, second factors, and the star in the head of a page."""


def test_every_action_shows_its_call():
    """What a form or a button does, some page shows as a call of the API, too."""
    text = "".join(file.read_text() for file in (Path(pages.__file__).parent / "templates").rglob("*.html"))
    done = set(re.findall(r'(?:action|button|role)\(csrf, "(\w+)"|/do(?:-each)?/(\w+)', text))
    shown = set(re.findall(r'curl\("(\w+)"', text))
    assert {"".join(names) for names in done} - shown == FOR_PEOPLE
