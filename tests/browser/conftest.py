"""
Debian's Chromium, driven by Playwright, before a real server: one of each for every module.

What a browser says on its console, or a script throws, fails the test. Without Chromium or Playwright the tests are
skipped, with the reason; QUAY_TEST_REQUIRE=browser makes that a failure.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    A running Chromium. It is a module's, and not everybody's: while Playwright is there, its event loop runs, and
    whatever else wants one in this process cannot have it.
    """
    executable = shutil.which("chromium")
    if executable is None:
        missing("browser", "chromium is not installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as reason:
        missing("browser", reason)
        return
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=SWITCHES)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def quay(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQuay]:
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


@pytest.fixture(scope="module")
def dev(quay: RunningQuay) -> User:
    """Somebody with an account."""
    return quay.add_user("dev")


@pytest.fixture(scope="module")
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

    def call_in(user: User | None = None, *, phone: bool = False, dark: bool = False, scripts: bool = True) -> Visitor:
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
        visitors.append(Visitor(context, quay.url))
        return visitors[-1]

    yield call_in
    problems = [problem for visitor in visitors for problem in visitor.problems]
    for visitor in visitors:
        visitor.context.close()
    assert problems == []


def _signed_in(browser: Browser, quay: RunningQuay, user: User) -> Any:
    """The cookies that signing in gives."""
    context = browser.new_context()
    fields = {"field.username": user.name, "field.password": user.password, "_back": "/signin/", "_next": "/"}
    context.request.post(f"{quay.url}/do/signinUser", form=fields, headers={"Origin": quay.url})
    state = context.storage_state()
    context.close()
    return state
