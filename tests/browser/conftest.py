"""
Debian's Chromium, driven by Playwright, before a real server: one browser for every module, one server for all that
need no other.

What a browser says on its console, or a script throws, fails the test. Without Chromium or Playwright the tests are
skipped, with the reason; QUAY_TEST_REQUIRE=browser makes that a failure.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.looking import AxeMissing, axe_core
from tests.browser.visitor import DESKTOP, PHONE, Visitor
from tests.conftest import missing
from tests.server import RunningQuay, User

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP registry.test 127.0.0.1",
)
PATIENCE_MS = 20_000
"""So long Playwright waits for what a test wants to see."""

Visit = Callable[..., Visitor]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program; what there is to drive it by is here, too."""
    executable = shutil.which("chromium")
    if executable is None:
        missing("browser", "chromium is not installed")
    if find_spec("playwright") is None:
        missing("browser", "Playwright is not installed")
    return str(executable)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """
    A running Chromium. It is a module's, and not everybody's: while Playwright is there, its event loop runs, and
    whatever else wants one in this process cannot have it.
    """
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=SWITCHES, timeout=PATIENCE_MS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def quay(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQuay]:
    """A running registry, which nothing that a browser does makes stumble."""
    with RunningQuay(tmp_path_factory.mktemp("quay") / "data") as server:
        yield server
        status = server.stop()
        assert (status, "Traceback" in server.log) == (0, False), server.log[-3000:]


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    try:
        return axe_core()
    except AxeMissing as reason:
        missing("browser", reason)
        raise


@pytest.fixture(scope="session")
def dev(quay: RunningQuay) -> User:
    """Somebody with an account."""
    return quay.add_user("dev")


@pytest.fixture(scope="session")
def root(quay: RunningQuay) -> User:
    """Who administers the registry."""
    return quay.add_user("root", superuser=True)


@pytest.fixture(scope="module")
def sessions() -> dict[str, Any]:
    """The cookies of those who have signed in, by their names."""
    return {}


@pytest.fixture
def visit(browser: Browser, quay: RunningQuay, sessions: dict[str, Any]) -> Iterator[Visit]:
    """
    Calls a visitor in: `visit(user)` is signed in, `visit()` is nobody. `phone` and `dark` say on what he looks; with
    `scripts=False` there is no JavaScript. What goes wrong in his browser fails the test.
    """
    visitors: list[Visitor] = []

    def call_in(user: User | None = None, **on: Any) -> Visitor:
        visitors.append(_visitor(browser, quay, sessions, user, **on))
        return visitors[-1]

    yield call_in
    problems = [problem for visitor in visitors for problem in visitor.problems]
    for visitor in visitors:
        visitor.context.close()
    assert problems == []


@pytest.fixture(scope="module")
def staying(browser: Browser, quay: RunningQuay, sessions: dict[str, Any]) -> Iterator[dict[str, Visitor]]:
    """Those who have come with `stay`, by their names."""
    here: dict[str, Visitor] = {}
    yield here
    for visitor in here.values():
        visitor.context.close()


@pytest.fixture
def stay(browser: Browser, quay: RunningQuay, sessions: dict[str, Any], staying: dict[str, Visitor]) -> Iterator[Visit]:
    """As `visit`, for tests that only look: of every user there is one visitor, who stays for the next test."""

    def call_in(user: User | None = None) -> Visitor:
        name = user.name if user else ""
        if name not in staying:
            staying[name] = _visitor(browser, quay, sessions, user)
        return staying[name]

    yield call_in
    problems = [problem for visitor in staying.values() for problem in visitor.problems]
    for visitor in staying.values():
        visitor.problems.clear()
    assert problems == []


def _visitor(
    browser: Browser,
    quay: RunningQuay,
    sessions: dict[str, Any],
    user: User | None,
    *,
    phone: bool = False,
    dark: bool = False,
    scripts: bool = True,
) -> Visitor:
    if user is not None and user.name not in sessions:
        sessions[user.name] = _signed_in(browser, quay, user)
    context = browser.new_context(
        viewport=PHONE if phone else DESKTOP,
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
        storage_state=sessions[user.name] if user else None,
        ignore_https_errors=True,  # of a registry whose authority is its own
        locale="en-GB",
        reduced_motion="reduce",  # so that colors are what they become at once
    )
    context.set_default_timeout(PATIENCE_MS)
    return Visitor(context, quay.url)


def _signed_in(browser: Browser, quay: RunningQuay, user: User) -> Any:
    """The cookies that signing in gives."""
    context = browser.new_context()
    fields = {"field.username": user.name, "field.password": user.password, "_back": "/signin/", "_next": "/"}
    context.request.post(f"{quay.url}/do/signinUser", form=fields, headers={"Origin": quay.url})
    state = context.storage_state()
    context.close()
    return state
