"""Every page of the console, before everybody's eyes and ears."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from quay.testdata.people import PASSWORD
from tests.browser.conftest import Visit
from tests.browser.looking import faults
from tests.browser.places import PLACES, Place, furnish
from tests.server import RunningQuay, User


@pytest.fixture(scope="module")
def quay(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQuay]:
    """A registry with the test data."""
    server = RunningQuay(tmp_path_factory.mktemp("filled") / "data")
    server.command("initdb", "--test-data")
    with server:
        yield server
        assert "Traceback" not in server.log, server.log[-3000:]


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """What is in the registry beside the test data, once `furnished` has been there."""
    return {}


@pytest.fixture
def furnished(visit: Visit, found: dict[str, str]) -> Mapping[str, str]:
    """The registry is furnished, for all tests together."""
    if not found:
        found.update(furnish(visit(User("devtable", PASSWORD))))
    return found


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_page_is_for_everybody(stay: Visit, furnished: Mapping[str, str], axe: str, place: Place) -> None:
    """No grave violation of what WCAG asks for, nothing wider than a telephone, and no error on the console."""
    visitor = stay(User(place.who, PASSWORD) if place.who else None)
    place.visit(visitor, furnished)
    assert faults(visitor, axe, place.name) == []


def test_a_page_that_is_not(visit: Visit, axe: str) -> None:
    """Grey on grey, a field without a name, and what is wider than a telephone, are found out."""
    visitor = visit()
    visitor.page.set_content(
        "<html lang=en><title>x</title><main><style>p { color: #999; background: #aaa; width: 60em }</style>"
        "<h1>x</h1><p>Who reads this?</p><input></main>"
    )
    found = "\n".join(faults(visitor, axe, "not-for-everybody"))
    assert all(fault in found for fault in ("color-contrast", "label", "wider than the screen"))
