"""
Somebody at a browser: he goes to addresses, fills in fields by their labels, presses buttons by their names, and reads.

He finds things as a person does who sees, or hears, the page; so what has no name for him is found by no test.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Locator, Page, Response

    from tests.server import User

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
SOON_S = 20.0
NOTICES = ("Failed to load resource", "status of")
"""How Chromium says on the console that a server answered with an error."""


class Visitor:
    """
    A page of the registry at `base`. `problems` are the errors of its scripts and of its console; `asked` are the
    questions that it put before something was done, each of which was answered with yes.
    """

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.base = base
        self.context = context
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.asked: list[str] = []
        self._refusals: set[str] = set()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(f"{self.page.url}: {error}"))
        self.page.on("dialog", self._agree)

    def _hear(self, message: ConsoleMessage) -> None:
        where = message.location["url"]
        expected = where in self._refusals and all(word in message.text for word in NOTICES)
        if message.type == "error" and not expected:
            self.problems.append(f"{where}: {message.text}")

    def _agree(self, dialog: Dialog) -> None:
        self.asked.append(dialog.message)
        dialog.accept()

    # --- going

    def go(self, path: str, status: int = 200) -> Response:
        """Go to an address of the registry, or to a whole one, which must be answered with `status`."""
        address = self._whole(path)
        if status >= 400:
            self.expects_refusal(address)
        answer = self.page.goto(address)
        assert answer is not None, f"{address} is no other page"
        assert answer.status == status, f"{answer.status} for {address}: {self.page.inner_text('body')[:500]}"
        return answer

    def expects_refusal(self, path: str) -> None:
        """From here, or from a whole address, an error of the server is no problem."""
        self._refusals.add(self._whole(path))

    def _whole(self, path: str) -> str:
        return path if path.startswith(("http:", "https:")) else f"{self.base}{path}"

    def follow(self, name: str, *, exact: bool = False) -> None:
        """Follow the link that is called so."""
        self.page.get_by_role("link", name=name, exact=exact).first.click()

    @property
    def path(self) -> str:
        """Where he is, without the registry's own address."""
        return self.page.url.removeprefix(self.base)

    # --- doing

    def type(self, label: str, text: str, within: Locator | None = None) -> None:
        """Put `text` into the field that is called so."""
        self._field(label, within).fill(text)

    def choose(self, label: str, option: str, within: Locator | None = None) -> None:
        """Choose from the list that is called so, by the value of the option."""
        self._field(label, within).select_option(option)

    def _field(self, label: str, within: Locator | None) -> Locator:
        """The field with this label, behind which there may be a remark in brackets."""
        return (within or self.page).get_by_label(re.compile(rf"^\s*{re.escape(label)}(\s*\(.*\))?\s*$")).first

    def press(self, name: str, within: Locator | None = None, *, exact: bool = True) -> None:
        """Press the button that is called so, and wait for the page that answers."""
        button = (within or self.page).get_by_role("button", name=name, exact=exact).first
        with self.page.expect_navigation():
            button.click()

    def card(self, heading: str) -> Locator:
        """The surface with this heading."""
        return self.page.locator(".card", has=self.page.get_by_role("heading", name=heading)).first

    def sign_in(self, user: User, code: str = "") -> None:
        """Sign in on the page for it, which has to be the one before his eyes."""
        self.type("User name or e-mail address", user.name)
        self.type("Password", user.password)
        self.type("One-time code", code)
        self.press("Sign in")

    # --- reading

    def reads(self, text: str) -> None:
        """Raises AssertionError unless `text` stands on the page, visibly, or does so soon."""
        self._expect(self.page.get_by_text(text).filter(visible=True).first).to_be_visible()

    def comes_to_read(self, text: str) -> None:
        """As `reads`, of what is written a moment later: the page is loaded again until it is there."""
        deadline = time.monotonic() + SOON_S
        while not self.page.get_by_text(text).count():
            assert time.monotonic() < deadline, f"{text!r} is not on {self.page.url} after {SOON_S:.0f} s"
            self.page.reload()

    def misses(self, text: str) -> None:
        """Raises AssertionError if `text` stands anywhere in the page."""
        assert text not in self.page.content(), f"{text!r} is on {self.page.url}"

    def told(self, text: str) -> None:
        """Raises AssertionError unless the page begins with this notice of what was done or went wrong."""
        self._expect(self.page.locator(".flash").filter(has_text=text).first).to_be_visible()

    def copied(self, label: str) -> str:
        """The text to be copied that is called so."""
        return self.page.get_by_label(label, exact=True).first.inner_text()

    def row(self, text: str) -> Locator:
        """The row of a table that has this text."""
        return self.page.get_by_role("row").filter(has_text=text).first

    @staticmethod
    def _expect(place: Locator) -> Any:
        from playwright.sync_api import expect

        return expect(place)

    # --- without a page

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the API in the session of this browser, as a script would; returns its JSON."""
        token = self.context.request.get(f"{self.base}/csrf_token").json()["csrf_token"]
        address, headers = f"{self.base}/api/v1/{path}", {"X-CSRF-Token": token}
        answer = self.context.request.fetch(address, method=method, headers=headers, data=body)
        assert answer.ok, f"{method} {path}: {answer.status} {answer.text()[:500]}"
        return answer.json() if answer.body() else None
