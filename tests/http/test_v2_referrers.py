"""What refers to a manifest: listed, filtered, in pages, and gone when it is gone."""

import json

import attrs
import pytest

from quay.oci import media_types
from quay.testdata.images import artifact, image

IMAGE = image("a base", "a leaf")
SIGNATURE, BILL = "application/vnd.example.signature", "application/vnd.example.bill+json"


def referrers(repository, subject, query=""):
    answer = repository.get(f"referrers/{subject.digest}{query}")
    assert (answer.status, answer.headers["content-type"]) == (200, media_types.OCI_INDEX)
    assert answer.json["schemaVersion"] == 2 and answer.json["mediaType"] == media_types.OCI_INDEX
    return answer, answer.json["manifests"]


def test_referrers(repository):
    """What names a subject is listed with it, and told so when it is pushed; a filter says that it was heeded."""
    repository.push(IMAGE, "latest")
    signature, bill = artifact(SIGNATURE, b"signed", subject=IMAGE), artifact(BILL, b"{}", subject=IMAGE)
    for content in (signature, bill):
        assert repository.push(content).headers["oci-subject"] == IMAGE.digest
    answer, found = referrers(repository, IMAGE)
    assert [one["digest"] for one in found] == [signature.digest, bill.digest]
    assert "oci-filters-applied" not in answer.headers
    assert found[0]["artifactType"] == SIGNATURE and found[0]["size"] == len(signature.raw)
    assert found[0]["annotations"] == json.loads(signature.raw)["annotations"]
    answer, found = referrers(repository, IMAGE, f"?artifactType={BILL.replace('+', '%2B')}")
    assert [one["digest"] for one in found] == [bill.digest]
    assert answer.headers["oci-filters-applied"] == "artifactType"
    assert referrers(repository, IMAGE, "?artifactType=application/other")[1] == []


def test_empty_filter(repository):
    """An empty type is no filter: all are listed, and none is said to have been heeded."""
    signature = artifact(SIGNATURE, b"signed", subject=IMAGE)
    repository.push(signature)
    answer, found = referrers(repository, IMAGE, "?artifactType=")
    assert [one["digest"] for one in found] == [signature.digest]
    assert "oci-filters-applied" not in answer.headers


def test_referrers_of_nothing(application, repository):
    """A subject need not be there; without referrers, or in another repository, the list is empty."""
    absent = image("never pushed")
    assert referrers(repository, absent)[1] == []
    signature = artifact(SIGNATURE, b"signed", subject=absent)
    repository.push(signature, "signature")
    assert [one["digest"] for one in referrers(repository, absent)[1]] == [signature.digest]
    assert referrers(application.repository(), absent)[1] == []


def test_deleted_referrer(repository):
    """A referrer that is deleted is not listed; and those of a deleted subject go out of sight with it."""
    repository.push(IMAGE, "latest")
    signature, bill = artifact(SIGNATURE, b"signed", subject=IMAGE), artifact(BILL, b"{}", subject=IMAGE)
    repository.push(signature)
    repository.push(bill)
    repository.request("DELETE", f"manifests/{signature.digest}")
    assert [one["digest"] for one in referrers(repository, IMAGE)[1]] == [bill.digest]
    repository.request("DELETE", "manifests/latest")
    assert referrers(repository, IMAGE)[1] == []


@pytest.fixture
def small_pages(application):
    """Pages of two referrers."""
    registry, policy = application.core.registry, application.core.registry.policy
    object.__setattr__(registry, "policy", attrs.evolve(policy, page_limit=2))
    yield
    object.__setattr__(registry, "policy", policy)


def test_pages_of_referrers(repository, small_pages):
    """A long list comes in pages, each with a link to the next, and with the filter in it."""
    repository.push(IMAGE, "latest")
    pushed = [artifact(SIGNATURE, b"%d" % number, subject=IMAGE) for number in range(5)]
    for content in [*pushed, artifact(BILL, b"{}", subject=IMAGE)]:
        repository.push(content)
    found, query = [], f"?artifactType={SIGNATURE}"
    while query is not None:
        answer, page = referrers(repository, IMAGE, query)
        found += [one["digest"] for one in page]
        link = answer.headers.get("link")
        query = None if link is None else "?" + link.partition(">")[0].partition("?")[2]
        assert link is None or f"/v2/{repository.name}/referrers/{IMAGE.digest}?" in link
    assert found == [content.digest for content in pushed]


def test_no_referrers(make_application):
    """Where the list is off, a client learns that it has to look for tags instead."""
    repository = make_application(FEATURE_REFERRERS_API=False).repository()
    repository.push(IMAGE, "latest")
    assert "oci-subject" not in repository.push(artifact(SIGNATURE, b"x", subject=IMAGE)).headers
    answer = repository.get(f"referrers/{IMAGE.digest}")
    assert (answer.status, answer.code) == (404, "UNSUPPORTED")
