"""What is not there: repositories that nobody pushed to yet, and references that nothing can have."""

import pytest

from quay.oci.media_types import OCI_INDEX
from quay.oci.reference import Digest
from quay.testdata.people import PASSWORD

OWNER = ("devtable", PASSWORD)
NAME = "devtable/not-pushed-yet"
FAKE = Digest.of(b"nobody has this")


@pytest.fixture(params=["bearer", "basic"])
def auth(request, application):
    """Credentials of the owner of the namespace."""
    return OWNER if request.param == "basic" else application.token(OWNER, f"repository:{NAME}:pull")


@pytest.mark.parametrize("rest", ["tags/list", "manifests/latest", f"manifests/{FAKE}", f"blobs/{FAKE}"])
def test_the_owner_learns_that_it_is_not_there(application, auth, rest):
    """Who administers the namespace is told so, and asking makes no repository."""
    for _ in range(2):
        answer = application.request("GET", f"/v2/{NAME}/{rest}", auth=auth)
        assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


def test_referrers_of_nothing(application, auth):
    """No referrers, instead of the 404 from which a client would conclude that they cannot be listed here."""
    answer = application.request("GET", f"/v2/{NAME}/referrers/{FAKE}", auth=auth)
    assert (answer.status, answer.headers["content-type"], answer.json["manifests"]) == (200, OCI_INDEX, [])


def test_referrers_of_what_is_no_digest(application):
    """What is no digest is refused, with a repository and without."""
    for name in (NAME, "devtable/simple"):
        answer = application.request("GET", f"/v2/{name}/referrers/latest", auth=OWNER)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_nothing_can_be_pushed_or_deleted_by_that(application, auth):
    """The right to ask is none to delete."""
    for rest in (f"manifests/{FAKE}", f"blobs/{FAKE}"):
        assert application.request("DELETE", f"/v2/{NAME}/{rest}", auth=auth).status == 401


@pytest.mark.parametrize("who", ["freshuser", "reader", "creator"])
def test_others_do_not(application, who):
    """Others cannot tell it from a repository that is not theirs to see, be they members of the organization."""
    name = "buynlarge/not-pushed-yet"
    for auth in ((who, PASSWORD), application.token((who, PASSWORD), f"repository:{name}:pull")):
        for rest in ("tags/list", f"referrers/{FAKE}"):
            assert application.request("GET", f"/v2/{name}/{rest}", auth=auth).status == 401


@pytest.mark.parametrize("reference", [".hidden", "-a", "a" * 129, "$temp-x", "a%20b"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_what_cannot_be_a_tag(repository, method, reference):
    """There is no such manifest: that is 404 for who pulls or deletes, and only for a push the fault of the client."""
    answer = repository.request(method, f"manifests/{reference}")
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "MANIFEST_UNKNOWN"
    assert repository.put(reference, b"{}", OCI_INDEX).code == "TAG_INVALID"
