"""Who administers the registry: people, messages, storage, jobs; and the documentation that stands beside it."""

from __future__ import annotations

from tests.browser.conftest import Visit
from tests.server import RunningQuay, User


def test_a_user_is_made_and_disabled(visit: Visit, root: User) -> None:
    """A new user gets a password that is shown once; disabled, he cannot sign in with it, nor enabled without it."""
    visitor = visit(root)
    visitor.go("/superuser/")
    visitor.type("Name", "newcomer")
    visitor.press("Make the user")
    visitor.reads("The user newcomer is made")
    newcomer = User("newcomer", visitor.copied("Password"))
    visitor.follow("I have copied it")
    visitor.misses(newcomer.password)
    guest = visit()
    guest.go("/signin/")
    guest.sign_in(newcomer)
    assert guest.path == "/"
    visitor.press("Disable", visitor.row("newcomer"), exact=False)
    visitor.told("newcomer is disabled.")
    guest.page.reload()
    guest.follow("Sign in")
    guest.sign_in(newcomer)
    assert guest.path.startswith("/signin/")
    visitor.press("Enable", visitor.row("newcomer"), exact=False)
    later = visit()
    later.go("/signin/")
    later.sign_in(newcomer)
    assert later.path == "/"


def test_it_is_for_nobody_else(visit: Visit, dev: User) -> None:
    """Others do not see the administration, and are not led there."""
    visitor = visit(dev)
    visitor.go("/")
    assert visitor.page.get_by_role("link", name="Administration").count() == 0
    visitor.go("/superuser/", status=403)


def test_a_message_for_everybody(visit: Visit, root: User) -> None:
    """What is published stands above every page, in its Markdown, until it is withdrawn."""
    visitor = visit(root)
    visitor.go("/superuser/?tab=messages")
    visitor.type("Text", "Down on *Sunday* <script>alert(1)</script>")
    visitor.choose("How important", "warning")
    visitor.press("Publish")
    guest = visit()
    guest.go("/")
    guest.reads("Down on")
    assert guest.asked == []
    visitor.press("Withdraw", exact=False)
    guest.page.reload()
    guest.misses("Down on")


def test_a_job_is_begun_and_watched(visit: Visit, root: User) -> None:
    """Garbage collection begins with a button, its page says how far it is, and in the end that it is done."""
    visitor = visit(root)
    visitor.go("/superuser/jobs/")
    visitor.page.get_by_role("button", name="Begin").first.click()
    visitor.page.wait_for_url("**/superuser/jobs/*-*")
    visitor.reads("done")
    visitor.follow("All jobs")
    assert visitor.page.get_by_role("cell", name="done").count() >= 1


def test_all_is_well(visit: Visit, root: User) -> None:
    """The health page has looked at everything just now."""
    visitor = visit(root)
    visitor.go("/superuser/?tab=health")
    visitor.told("Everything works.")


def test_the_documentation_is_here(visit: Visit) -> None:
    """Nobody needs an account, nor the internet, to find out how to push."""
    visitor = visit()
    visitor.go("/docs/")
    visitor.type("Find in the documentation", "robot token")
    visitor.press("Search")
    visitor.page.locator("ol.results a").first.click()
    visitor.page.wait_for_url("**/docs/*")
    assert visitor.page.locator("article h1").count() == 1


def test_nothing_comes_from_elsewhere(visit: Visit, quay: RunningQuay) -> None:
    """The explorer of the API, too, is of the box alone."""
    visitor = visit()
    requested: list[str] = []
    visitor.page.on("request", lambda request: requested.append(request.url))
    visitor.go("/api-explorer/")
    visitor.reads("List, create and manage repositories.")
    assert [url for url in requested if not url.startswith((quay.url, "data:", "blob:"))] == []
