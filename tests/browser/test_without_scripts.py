"""Everything that is work is done without JavaScript, too."""

from __future__ import annotations

from tests.browser.conftest import Visit
from tests.distribution import Client, Image
from tests.server import RunningQuay, User


def test_a_day_s_work(visit: Visit, quay: RunningQuay, dev: User) -> None:
    """Signing in, making a repository, deleting a tag and bringing it back, on a telephone."""
    visitor = visit(scripts=False, phone=True)
    visitor.go("/signin/?next=/new/")
    visitor.sign_in(dev)
    assert visitor.path == "/new/"
    visitor.type("Name", "plain")
    visitor.press("Make it")
    visitor.told("The repository is made.")
    Client(quay.host, dev.name, dev.password).push("dev/plain", "1.0", Image.made("plain"))
    visitor.follow("Tags", exact=True)
    visitor.follow("1.0", exact=True)
    visitor.press("Delete 1.0")
    visitor.told("The tag 1.0 is deleted.")
    visitor.follow("Tag history")
    visitor.press("Restore", visitor.row("1.0"), exact=False)
    visitor.told("1.0 names sha256:")
    visitor.press("Sign out")
    visitor.follow("Sign in")


def test_several_tags_at_once(visit: Visit, quay: RunningQuay, dev: User) -> None:
    """Boxes and a button delete what is chosen, without a word of script."""
    client = Client(quay.host, dev.name, dev.password)
    for tag in ("a", "b"):
        client.push("dev/several", tag, Image.made(tag))
    visitor = visit(dev, scripts=False)
    visitor.go("/repository/dev/several?tab=tags")
    visitor.page.get_by_label("Choose b", exact=True).check()
    visitor.press("Delete", exact=False)
    visitor.told("The chosen tags are deleted.")
    assert [cell.inner_text() for cell in visitor.page.locator("td.name").all()] == ["a"]
