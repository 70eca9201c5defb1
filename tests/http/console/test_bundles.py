"""The pages of bundles without scripts: planned at an address, made and loaded by forms, keys and receipts."""

import pytest

from tests.http.api.test_bundle import IMAGE, Site, fetched
from tests.http.application import Repository
from tests.http.console.test_jobs import Node
from tests.http.console.visitor import Visitor

HOME = "/superuser/bundles/"


@pytest.fixture
def application(make_application):
    application = make_application(SUPER_USERS=["devtable"])
    Repository(application, "devtable/simple", ("devtable", "password")).push(IMAGE, "1.0")
    return application


@pytest.fixture
def admin(application):
    return Visitor(application, "devtable")


def test_planned_and_made(application, admin):
    """A plan is an address; the button under it begins a job, whose page it leads to; the file has a link then."""
    page = admin.open(f"{HOME}?choices=devtable/simple%0Adevtable/*&limit=4000000000")
    assert "It would have" in page.text and "devtable/simple:1.0" in page.text
    assert not page.flaws()
    made = admin.send(page.form("makeBundle"), field__name="simple")
    assert made.address.startswith("/superuser/jobs/")
    assert "Making a bundle" in admin.open(HOME).text
    Node(application, "bundles").until_idle()
    listed = admin.open(HOME)
    [link] = [one for one in listed.links if one.startswith(HOME) and len(one) > 40]
    bundle = admin.open(link)
    assert not bundle.flaws()
    [volume] = [one for one in bundle.links if one.startswith("/api/") and one.endswith("/volumes/simple")]
    assert len(admin.get(volume).body) > 1000
    deleted = admin.send(bundle.form("deleteBundle"))
    assert deleted.address == HOME and link not in deleted.links


def test_what_cannot_be(admin):
    """A choice of nothing is told on the page, in words; so is a bundle that is not there."""
    page = admin.open(f"{HOME}?choices=devtable/nothing")
    assert page.status == 200 and "nothing that is called devtable/nothing" in page.text
    assert not page.has("makeBundle")
    assert admin.open(f"{HOME}00000000-0000-4000-8000-000000000000").status == 404


def test_loaded(application, admin):
    """What was brought is verified and loaded by buttons, into where the form says."""
    site = Site(application)
    uuid = site.bring(fetched(site, site.make()))
    page = admin.open(f"{HOME}{uuid}")
    assert not page.flaws()
    sent = admin.send(page.form("loadBundle"), field__into="mirror")
    Node(application, "bundles").until_idle()
    assert "1 tag loaded" in admin.open(sent.address).text
    assert site.digest("mirror/simple") == IMAGE.digest


def test_keys_and_receipts(application, admin):
    """A key is pasted in and trusted no more; receipts are listed, chosen for a plan, and deleted."""
    site = Site(application)
    pem = site.get("").json["pem"]
    page = admin.send(admin.open(HOME).form("trustBundleKey"), field__name="far", field__pem=pem)
    assert "The key is trusted" in page.text
    assert "The key is trusted no more" in admin.send(page.form("distrustBundleKey")).text
    site.put("receipts/far", site.get("receipt").body)
    page = admin.open(f"{HOME}?choices=devtable/simple&receipt=far")
    assert "1 more are on the far side" in page.text
    assert "The receipt is deleted" in admin.send(page.form("deleteBundleReceipt")).text


def test_for_superusers_only(application):
    """Nobody else sees the pages."""
    assert Visitor(application, "reader").open(HOME).status == 403
    assert "Sign in" in Visitor(application).open(HOME).text
