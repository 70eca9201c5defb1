"""Images as files in the console: what a tag can be taken along as, and where an archive is put in."""

import pytest

from quay.model import namespace, permission, repository
from quay.model.permission import Role
from quay.oci.reference import RepositoryName
from quay.testdata import images
from tests.http.api.client import Client
from tests.http.application import Repository
from tests.http.console.test_repository import safe
from tests.http.console.visitor import Visitor

HOME = "/repository/devtable/simple"
ARCHIVE = "/api/v1/repository/devtable/simple/archive"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def pusher(application):
    return Repository(application, "devtable/simple", ("devtable", "password"))


@pytest.fixture
def devtable(application):
    return Visitor(application, "devtable")


def reader(application):
    """reader, who may see devtable/simple."""
    found = application.read(repository.find, RepositoryName("devtable", "simple"))
    who = application.read(namespace.find, "reader")
    application.write(permission.grant, found.id, grantee_id=who.id, role=Role.READ)
    return Visitor(application, "reader")


def test_a_tag_as_a_file(application, devtable, pusher):
    """The links lead to what docker takes and to an OCI layout; whoever may look may take them."""
    pusher.push(images.image("one"), "v1")
    for visitor in (devtable, reader(application)):
        page = visitor.open(f"{HOME}?tab=tags&fetch=v1")
        links = [link for link in page.links if link.endswith("archive") or "archive?" in link]
        assert links == [
            "/api/v1/repository/devtable/simple/manifest/v1/archive",
            "/api/v1/repository/devtable/simple/manifest/v1/archive?format=oci",
        ]
        assert [visitor.get(link).headers["content-type"] for link in links] == ["application/x-tar"] * 2
        assert "| docker load" in safe(page)


def test_a_file_for_each_platform(devtable, pusher):
    """Of an index, there is a docker archive for each platform, and one OCI layout."""
    pusher.push(images.index(images.image("amd"), images.image("arm", architecture="arm64")), "v1")
    page = devtable.open(f"{HOME}?tab=tags&fetch=v1")
    links = [link for link in page.links if "/archive?" in link]
    assert [link.partition("?")[2] for link in links] == [
        "platform=linux/amd64",
        "platform=linux/arm64",
        "format=oci",
    ]
    assert [devtable.get(link).status for link in links] == [200, 200, 200]


def test_upload(devtable):
    """The page has the command for a shell, and for scripts the address and the token that a change takes."""
    page = devtable.open(f"{HOME}?tab=upload")
    assert f"docker save IMAGE | curl -f -u devtable -X POST -T - http://registry.test:5000{ARCHIVE}" in safe(page)
    [form] = [known for tag, known in page.elements if tag == "form" and "data-upload" in known]
    assert (form["data-upload"], "hidden" in form) == (ARCHIVE, True)
    assert page.flaws() == set()
    headers = {"X-CSRF-Token": form["data-csrf"], "Content-Type": "application/x-tar"}
    assert devtable._request("POST", ARCHIVE, headers, b"x").status == 400
    assert devtable._request("POST", ARCHIVE, headers | {"X-CSRF-Token": "other"}, b"x").status == 403


def test_only_who_may_push_is_offered_it(application, devtable):
    """Readers are not, and nobody is while nothing can be changed."""
    assert f"{HOME}?tab=upload" in devtable.open(HOME).links
    other = reader(application)
    assert f"{HOME}?tab=upload" not in other.open(HOME).links
    assert other.open(f"{HOME}?tab=upload").status == 403
    Client(application, "devtable").put("/repository/devtable/simple/changestate", {"state": "READ_ONLY"})
    assert f"{HOME}?tab=upload" not in devtable.open(HOME).links


def test_a_form_cannot_move_a_stream(devtable):
    """What takes a file is no action of a form: it says so."""
    form = devtable.open("/").form("logout")
    form.action = "/do/uploadArchive"
    form.fields += [("path.repository", "devtable/simple")]
    assert "it is for scripts, not for forms" in devtable.send(form).text
