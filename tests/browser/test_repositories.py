"""The life of an image as a developer sees it: a repository, a push, the tag, its end and return, and who is told."""

from __future__ import annotations

import base64
import gzip
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from backports import zstd

from tests.browser.conftest import Visit
from tests.browser.visitor import Visitor
from tests.clients.images import image, write_layout
from tests.distribution import Client, Image
from tests.server import RunningQuay, User

REPOSITORY = "dev/app"
PACKINGS: Mapping[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress}


def push(quay: RunningQuay, name: str, secret: str, repository: str, tag: str, scratch: Path) -> None:
    """Push an image with skopeo, or, where there is none, with a client of our own."""
    if shutil.which("skopeo") is None:
        Client(quay.host, name, secret).push(repository, tag, Image.made(tag))
        return
    layout = write_layout(image(tag), scratch / tag)
    target = f"docker://{quay.host}/{repository}:{tag}"
    login = ["--dest-tls-verify=false", "--dest-creds", f"{name}:{secret}"]
    policy = ["--insecure-policy"]
    command = ["skopeo", *policy, "copy", "--quiet", *login, f"oci:{layout}:latest", target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pushed(quay: RunningQuay, dev: User, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A repository with the tags 1.0 and 1.1."""
    for tag in ("1.0", "1.1"):
        push(quay, dev.name, dev.password, REPOSITORY, tag, tmp_path_factory.mktemp("image"))
    return f"/repository/{REPOSITORY}"


def test_from_an_empty_repository_to_a_tag(visit: Visit, quay: RunningQuay, dev: User, tmp_path: Path) -> None:
    """A repository is made, says how to push to it, and shows what was pushed and how to fetch it."""
    visitor = visit(dev)
    visitor.go("/new/")
    visitor.type("Name", "first")
    visitor.type("Description", "Made by *hand*.")
    visitor.press("Make it")
    assert visitor.path == "/repository/dev/first"
    visitor.told("The repository is made.")
    visitor.reads("It is empty")
    assert f"{quay.host}/dev/first" in visitor.page.inner_text("main")
    push(quay, dev.name, dev.password, "dev/first", "1.0", tmp_path)
    visitor.follow("Tags", exact=True)
    visitor.follow("Fetch")
    visitor.reads("Exactly this one, whatever the tag names later")
    assert f"docker pull {quay.host}/dev/first:1.0" in visitor.page.inner_text("main")
    assert "@sha256:" in visitor.copied("By digest")
    with visitor.page.expect_download() as download:
        visitor.page.locator("a[download]").first.click()
    assert tarfile.is_tarfile(download.value.path())
    visitor.follow("Close")
    visitor.page.locator("a.digest").first.click()
    visitor.reads("Pull exactly this")
    visitor.reads("Layers")


def test_a_deleted_tag_comes_back(visit: Visit, dev: User, pushed: str) -> None:
    """A tag is deleted after a question, stands in the history, and is restored from there."""
    visitor = visit(dev)
    visitor.go(f"{pushed}?tab=tags")
    visitor.follow("1.1", exact=True)
    visitor.press("Delete 1.1")
    assert visitor.asked == ["Delete the tag 1.1?"]
    visitor.told("The tag 1.1 is deleted. Its history can restore it.")
    assert visitor.page.get_by_role("link", name="1.1", exact=True).count() == 0
    visitor.follow("Tag history")
    visitor.press("Restore", visitor.row("1.1"), exact=False)
    visitor.told("1.1 names sha256:")
    visitor.follow("Tags", exact=True)
    assert visitor.page.get_by_role("link", name="1.1", exact=True).count() == 1


def test_tags_that_are_chosen_together(visit: Visit, quay: RunningQuay, dev: User, tmp_path: Path) -> None:
    """A box above the list chooses all of them, buttons count them: they lock at once, and delete after a question."""
    for tag in ("a", "b"):
        push(quay, dev.name, dev.password, "dev/many", tag, tmp_path)
    visitor = visit(dev)
    visitor.go("/repository/dev/many?tab=tags")
    assert visitor.page.get_by_role("button", name="Delete", exact=False).last.is_disabled()
    visitor.page.get_by_label("Choose all on this page").check()
    visitor.page.get_by_label("Choose a", exact=True).uncheck()
    visitor.press("Lock (1)")
    visitor.told("The chosen tags are locked.")
    assert visitor.asked == []
    visitor.follow("b", exact=True)
    visitor.press("Unlock b")
    visitor.follow("Close")
    visitor.page.get_by_label("Choose b", exact=True).check()
    visitor.press("Delete (1)")
    assert visitor.asked == ["Delete the chosen tags?\nb"]
    visitor.told("The chosen tags are deleted.")
    visitor.follow("Tag history")
    visitor.page.get_by_label("Choose all on this page").check()
    visitor.press("Restore the chosen ones (1)")
    visitor.told("The chosen tags name again what they named.")
    visitor.follow("Tags", exact=True)
    visitor.page.get_by_label("Choose b", exact=True).check()
    visitor.press("Delete (1)")
    left = [row.inner_text() for row in visitor.page.locator("td.name").all()]
    assert left == ["a"]


def test_an_archive_is_uploaded(visit: Visit, dev: User, pushed: str, tmp_path: Path) -> None:
    """A file that is chosen becomes tags, to which the answer leads; one that is no archive is refused in words."""
    archive = shutil.make_archive(str(tmp_path / "image"), "tar", write_layout(image("uploaded"), tmp_path / "layout"))
    visitor = visit(dev)
    visitor.go(f"{pushed}?tab=upload")
    chooser = visitor.page.locator("#file")
    chooser.set_input_files({"name": "notes.tar", "mimeType": "application/x-tar", "buffer": b"no archive at all"})
    visitor.expects_refusal(visitor.page.locator("form.upload").get_attribute("data-upload") or "")
    visitor.page.get_by_role("button", name="Upload").click()
    visitor.page.wait_for_selector(".flash.wrong")
    chooser.set_input_files(archive)
    visitor.type("Tag", "uploaded")
    visitor.page.get_by_role("button", name="Upload").click()
    visitor.told("Made of")
    visitor.follow("uploaded", exact=True)
    visitor.reads("The tag uploaded")


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_an_archive_is_dropped(visit: Visit, dev: User, pushed: str, tmp_path: Path, name: str) -> None:
    """A compressed archive that falls on the page is named there with its size, and becomes a tag."""
    archive = shutil.make_archive(str(tmp_path / "image"), "tar", write_layout(image(name), tmp_path / "layout"))
    content = PACKINGS[name](Path(archive).read_bytes())
    visitor = visit(dev)
    visitor.go(f"{pushed}?tab=upload")
    dropped = visitor.page.evaluate_handle(_DROPPED, [f"{name}.tar", base64.b64encode(content).decode()])
    visitor.page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})
    visitor.reads(f"{name}.tar")
    visitor.type("Tag", name)
    visitor.page.get_by_role("button", name="Upload").click()
    visitor.told("Made of")
    visitor.follow(name, exact=True)
    visitor.reads(f"The tag {name}")


_DROPPED = """
([name, content]) => {
  const dropped = new DataTransfer();
  dropped.items.add(new File([Uint8Array.from(atob(content), (one) => one.charCodeAt(0))], name));
  return dropped;
}
"""


def test_a_command_is_copied(visit: Visit, quay: RunningQuay, dev: User, pushed: str) -> None:
    """The button beside a command puts it into the clipboard, and says so."""
    visitor = visit(dev)
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor.go(pushed)
    visitor.page.get_by_role("button", name="Copy").first.click()
    visitor.reads("Copied")
    assert visitor.page.evaluate("navigator.clipboard.readText()").startswith(f"docker pull {quay.host}/{REPOSITORY}:")


def test_copying_over_plain_http(visit: Visit, quay: RunningQuay) -> None:
    """By a name that is not the machine's own, browsers trust plain HTTP less: copying works all the same."""
    visitor = visit()
    visitor.go(f"http://registry.test:{quay.port}/")
    assert not visitor.page.evaluate("isSecureContext")
    visitor.page.get_by_role("button", name="Copy").first.click()
    visitor.reads("Copied")
    visitor.page.keyboard.press("/")
    visitor.page.keyboard.press("Control+V")
    assert visitor.page.get_by_placeholder("Search").input_value().startswith("docker login registry.test")


def test_a_robot_and_its_token(visit: Visit, quay: RunningQuay, dev: User, pushed: str, tmp_path: Path) -> None:
    """The token of a new robot is shown once, and with the role that it is given, it pushes."""
    visitor = visit(dev)
    visitor.go("/user/dev?tab=robots")
    visitor.type("Name", "ci")
    visitor.press("Make the robot")
    visitor.reads("It is shown this once.")
    name, token = visitor.copied("User name"), visitor.copied("Token")
    assert name == "dev+ci"
    visitor.follow("I have copied it")
    visitor.misses(token)
    visitor.go("/user/dev/robots/ci")
    visitor.misses(token)
    visitor.type("Repository", REPOSITORY)
    visitor.choose("Role", "write")
    visitor.press("Grant")
    visitor.told("The robot has the role.")
    push(quay, name, token, REPOSITORY, "by-robot", tmp_path)
    visitor.go(f"{pushed}?tab=logs")
    visitor.comes_to_read("Pushed by-robot to app")
    assert name in visitor.row("Pushed by-robot to app").inner_text()


def test_the_log_tells_who_pushed_what(visit: Visit, dev: User, pushed: str) -> None:
    """The usage log has a sentence for the push, a picture, and says so when the days asked for have nothing."""
    visitor = visit(dev)
    visitor.go(pushed)
    visitor.follow("Usage logs")
    visitor.comes_to_read("Pushed 1.0 to app")
    assert dev.name in visitor.row("Pushed 1.0 to app").inner_text()
    assert visitor.page.locator("svg.chart").count() == 1
    visitor.type("From", "2020-01-01")
    visitor.type("To", "2020-01-02")
    visitor.press("Show")
    visitor.reads("Nothing is on record")


def test_the_secret_of_a_webhook(visit: Visit, dev: User, pushed: str) -> None:
    """A webhook's secret is shown when it is made, and never again."""
    visitor = visit(dev)
    visitor.go(f"{pushed}?tab=settings")
    visitor.page.get_by_text("New webhook").click()
    form = visitor.page.locator("details", has_text="New webhook")
    visitor.type("Where to", "https://hooks.example.com/quay", form)
    visitor.type("Title", "Deploy", form)
    visitor.press("Make it", form)
    visitor.reads("This secret is shown this once.")
    secret = visitor.copied("The secret")
    assert secret.startswith("whsec_")
    visitor.follow("Go on")
    visitor.reads("https://hooks.example.com/quay")
    visitor.misses(secret)
    visitor.follow("Deliveries")
    visitor.reads("Nobody has been told of anything yet.")
    visitor.misses(secret)


def test_by_keyboard(visit: Visit, dev: User, pushed: str) -> None:
    """Without a mouse: the first key leads past the navigation, further ones to a tag; the focus is always in sight."""
    visitor = visit(dev)
    visitor.go(f"{pushed}?tab=tags")
    keyboard = visitor.page.keyboard
    keyboard.press("Tab")
    assert _focused(visitor) == "Skip to the content"
    keyboard.press("Enter")
    reached: list[str] = []
    while "1.0" not in reached:
        assert len(reached) < 60, reached
        keyboard.press("Tab")
        reached.append(_focused(visitor))
    assert "Organizations" not in reached
    with visitor.page.expect_navigation():
        keyboard.press("Enter")
    visitor.reads("The tag 1.0")


def _focused(visitor: Visitor) -> str:
    """What is written on what has the focus. Raises AssertionError if nobody can see that it has it."""
    words, outline = visitor.page.evaluate(
        "() => [document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]"
    )
    assert outline != "none", words
    return str(words).strip()


def test_search(visit: Visit, dev: User, pushed: str) -> None:
    """The slash leads into the field that finds, and what is found is a page away."""
    visitor = visit(dev)
    visitor.go("/")
    visitor.page.keyboard.press("/")
    visitor.page.keyboard.type("app")
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")
    assert visitor.path == "/search?q=app"
    visitor.follow(REPOSITORY)
    assert visitor.path == pushed


def test_what_does_not_exist(visit: Visit, dev: User) -> None:
    """An address that leads nowhere says so, and leads on."""
    visitor = visit(dev)
    visitor.go("/repository/dev/nothing", status=404)
    visitor.reads("There is nothing here")


def test_a_repository_is_deleted_by_its_name(visit: Visit, quay: RunningQuay, dev: User, tmp_path: Path) -> None:
    """It takes its name; another one does nothing."""
    push(quay, dev.name, dev.password, "dev/old", "1", tmp_path)
    visitor = visit(dev)
    visitor.go("/repository/dev/old?tab=settings")
    for typed, said in (("dev/other", "nothing was done"), ("dev/old", "is deleted")):
        visitor.type("Its name, to be sure", typed)
        visitor.press("Delete dev/old")
        visitor.told(said)
    assert visitor.path == "/repository/"
    visitor.go("/repository/dev/old", status=404)
