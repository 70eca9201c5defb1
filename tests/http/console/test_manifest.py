"""The page of a manifest."""

import json

import pytest

from quay.oci import media_types
from quay.oci.reference import Digest
from quay.testdata import images
from quay.testdata.images import Content
from tests.http.api.client import audited
from tests.http.application import Repository
from tests.http.console.test_repository import HOSTILE, safe, told
from tests.http.console.visitor import Visitor

HOME = "/repository/devtable/simple"
APP = images.image("base", "leaf", labels={"org.example.evil": HOSTILE})


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def pusher(application):
    return Repository(application, "devtable/simple", ("devtable", "password"))


@pytest.fixture
def devtable(application, pusher):
    pusher.push(APP, "v1")
    return Visitor(application, "devtable")


def page_of(visitor, digest=APP.digest):
    return visitor.open(f"{HOME}/manifest/{digest}")


def test_image(devtable):
    """An image shows its layers with their sizes, its labels, its own text, and how to pull exactly it."""
    page = page_of(devtable)
    text = safe(page)
    assert f"docker pull registry.test:5000/devtable/simple@{APP.digest}" in text
    for descriptor in json.loads(APP.raw)["layers"]:
        assert descriptor["digest"][:19] in text
    assert "org.example.evil" in text
    assert "&#34;schemaVersion&#34;: 2" in text
    assert not page.has("deleteManifestLabel"), "a label of the image is part of it"


def test_index(devtable, pusher):
    """An index shows its children with their platforms, each a link."""
    child = images.image("child", architecture="arm64")
    index = images.index(child)
    pusher.push(index, "multi")
    page = page_of(devtable, index.digest)
    assert f"{HOME}/manifest/{child.digest}" in page.links
    assert "linux/arm64" in safe(page)


def test_labels(application, devtable):
    """A label is added and deleted; what it says is not markup."""
    page = devtable.send(page_of(devtable).form("addManifestLabel"), field__key="who.said", field__value=HOSTILE)
    assert told(page) == ("done", "The label is added.")
    assert "who.said" in page.html
    page = devtable.send(page.form("deleteManifestLabel"))
    assert told(page) == ("done", "The label is deleted.")
    assert "who.said" not in page.html
    assert len(audited(application, "manifest_label_add")) == len(audited(application, "manifest_label_delete")) == 1


def test_a_label_that_cannot_be(devtable):
    """A key that cannot be is refused, and is not markup in the refusal."""
    page = devtable.send(page_of(devtable).form("addManifestLabel"), field__key=HOSTILE, field__value="x")
    assert told(page)[0] == "wrong"


def test_referrers(devtable, pusher):
    """What refers to it is listed by what it is; its annotations are not markup."""
    sbom = images.artifact("application/spdx+json", b"{}", subject=APP)
    body = json.loads(sbom.raw) | {"annotations": {"by": HOSTILE}}
    raw = json.dumps(body).encode()
    pusher.push(Content(sbom.media_type, raw, sbom.blobs))
    page = page_of(devtable)
    assert "application/spdx+json" in safe(page)
    assert f"{HOME}/manifest/{Digest.of(raw)}" in page.links


def test_signed_by_a_tag(devtable, pusher):
    """What cosign attaches by a tag is listed with what refers to it."""
    signature, name = images.image("signature"), f"{APP.digest.replace(':', '-')}.sig"
    pusher.push(signature, name)
    page = page_of(devtable)
    assert f"{HOME}/manifest/{signature.digest}" in page.links
    assert name in safe(page)


def test_hostile_members(devtable, pusher):
    """A manifest may say anything in members that nobody knows: the page shows it as text."""
    body = json.loads(APP.raw) | {"x": HOSTILE, "annotations": {"y": "</pre>" + HOSTILE}}
    raw = json.dumps(body).encode()
    pusher.push(Content(media_types.OCI_MANIFEST, raw, APP.blobs))
    assert "&lt;/pre&gt;" in safe(page_of(devtable, Digest.of(raw)))


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "sha256:short", "latest", "%3Cscript%3E"])
def test_absent(devtable, digest):
    """What is not there is not found."""
    assert devtable.get(f"{HOME}/manifest/{digest}").status == 404


def test_for_those_who_may(application, devtable):
    """A manifest is seen by those who see its repository, and through that only."""
    address = f"{HOME}/manifest/{APP.digest}"
    assert Visitor(application, "reader").get(address).status == 403
    assert Visitor(application).get(address).status == 303
    assert devtable.get(f"/repository/devtable/shared/manifest/{APP.digest}").status == 404


def test_readers_change_nothing(application):
    """Who may only read is offered no labels to add."""
    Repository(application, "devtable/shared", ("devtable", "password")).push(APP, "v1")
    page = Visitor(application, "reader").open(f"/repository/devtable/shared/manifest/{APP.digest}")
    assert not page.has("addManifestLabel")
    assert "org.example.evil" in safe(page)
