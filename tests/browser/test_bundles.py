"""Bundles in a browser: one is planned, made and fetched, dropped in again, and loaded elsewhere."""

from __future__ import annotations

from pathlib import Path

from tests.browser.conftest import Visit
from tests.clients.distribution import Distribution
from tests.clients.images import image
from tests.server import RunningQuay, User


def test_there_and_back(visit: Visit, quay: RunningQuay, root: User, tmp_path: Path) -> None:
    """What is written into the form is made by a job; its file comes down, goes up again, and is loaded."""
    Distribution(quay.host, root).push("root/web", image("bundled"), "1")
    visitor = visit(root)
    visitor.go("/superuser/bundles/")
    visitor.type("What is to be in it", "root/web")
    visitor.press("Plan it")
    visitor.reads("It would have")
    visitor.press("Make it")
    visitor.reads("is written.")
    visitor.go("/superuser/bundles/")
    visitor.follow("images.bundle")
    with visitor.page.expect_download() as fetched:
        visitor.follow("images.bundle")
    fetched.value.save_as(tmp_path / "images.bundle")

    visitor.go("/superuser/bundles/")
    visitor.page.locator("#volumes").set_input_files(tmp_path / "images.bundle")
    visitor.press("Upload", visitor.card("Bring one"))
    visitor.reads("A bundle that was brought")
    visitor.type("Into", "elsewhere")
    visitor.press("Load it")
    visitor.reads("1 tag loaded.")
    visitor.go("/repository/elsewhere/web?tab=tags")
    visitor.go("/superuser/bundles/")
    visitor.follow("images.bundle")
    visitor.press("Delete", exact=False)
    visitor.told("The bundle is deleted.")


def test_keys_are_trusted(visit: Visit, root: User) -> None:
    """The key of another registry is pasted and listed, until it is trusted no more."""
    visitor = visit(root)
    visitor.go("/superuser/bundles/")
    own = visitor.page.get_by_label("The public key").first.inner_text()
    others = visitor.card("Others")
    visitor.type("Whose key it is", "far", others)
    visitor.type("The public key", own, others)
    visitor.press("Trust it")
    visitor.told("The key is trusted.")
    visitor.press("Trust no more", exact=False)
    visitor.told("The key is trusted no more.")
