"""The first start in a browser: from the address that the server printed to a registry with its own authority."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from quay import authority
from quay.setup import CertificateFiles
from tests.browser.conftest import Visit
from tests.browser.looking import faults
from tests.browser.visitor import Visitor
from tests.distribution import Client, Image
from tests.founding import PASSWORD, Fresh, address, answers, wait
from tests.server import RunningQuay, User


@pytest.fixture(scope="module")
def quay(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQuay]:
    """A server that nobody administers yet."""
    with Fresh(tmp_path_factory.mktemp("fresh") / "data") as server:
        yield server
        status = server.stop()
        assert (status, "Traceback" in server.log) == (0, False), server.log[-3000:]


def test_without_the_token(visit: Visit) -> None:
    """Whoever has not read what the start printed is told where it stands, and sees nothing else."""
    visitor = visit()
    visitor.go("/setup/", status=403)
    visitor.reads("quay setup url")


def test_the_whole_setup(visit: Visit, quay: RunningQuay, axe: str) -> None:
    """Four screens and a restart; then one signs in over TLS, and pushes, as the summary says."""
    visitor, ada = visit(), User("ada", PASSWORD)
    visitor.go(address(quay))
    look(visitor, axe, "administrator")
    visitor.type("User name", ada.name)
    visitor.type("E-mail address", "ada@example.org")
    visitor.type("Password", ada.password)
    visitor.type("The same password again", "something-else")
    visitor.expects_refusal("/setup/administrator")
    visitor.press("Make the administrator")
    visitor.reads("The two passwords are not the same.")
    visitor.type("Password", ada.password)
    visitor.type("The same password again", ada.password)
    visitor.press("Make the administrator")

    assert visitor.path == "/setup/names"
    look(visitor, axe, "names")
    visitor.type("Name of the registry", quay.host)
    visitor.type("Where the server listens", quay.host)
    visitor.page.get_by_label("An authority of its own").check()
    visitor.type("Where plain HTTP hands out the authority's certificate", "")
    visitor.press("Go on")

    assert visitor.path == "/setup/storage"
    look(visitor, axe, "storage")
    visitor.page.get_by_label("PostgreSQL", exact=True).check()
    for label, answer in (("Host", "127.0.0.1"), ("Port", "1"), ("Database", "quay"), ("User", "quay")):
        visitor.type(label, answer)
    visitor.expects_refusal("/setup/storage")
    visitor.press("Try it, and go on")
    visitor.told("Nothing listens at this host and port")
    visitor.page.get_by_label("SQLite, as now").check()
    visitor.press("Try it, and go on")

    assert visitor.path == "/setup/summary"
    look(visitor, axe, "summary")
    visitor.reads(f"docker login -u ada {quay.host}")
    visitor.follow("Kubernetes")
    visitor.reads("imagePullSecrets")
    visitor.press("Write it and restart")
    visitor.reads("The registry starts anew")
    look(visitor, axe, "restarting")

    own = CertificateFiles(quay.data).authority()
    assert own is not None
    trust = ssl.create_default_context(cadata=authority.pem_of(own).decode())
    wait(lambda: answers(quay.port, trust), "the restart")
    visitor.base = f"https://{quay.host}"
    visitor.go("/")
    visitor.press("Sign out")
    visitor.follow("Sign in")
    visitor.sign_in(ada)
    visitor.reads("Your repositories")
    visitor.go("/ca")
    look(visitor, axe, "authority")
    Client(quay.host, ada.name, ada.password, tls=trust).push("ada/image", "latest", Image.made("setup"))
    visitor.go("/")
    visitor.follow("ada/image")


def look(visitor: Visitor, axe: str, step: str) -> None:
    """Raises AssertionError if this page of the setup is not fit for everybody's eyes, ears or screen."""
    assert faults(visitor, axe, f"setup-{step}") == []
