"""A push by digest that names its tags: `PUT …/manifests/<digest>?tag=…&tag=…`."""

import pytest

from quay.events import Pushed
from quay.oci.media_types import OCI_INDEX
from quay.oci.reference import Digest
from quay.registry.manifests import TAG_LIMIT

INDEX = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_every_tag_names_it(application, repository, algorithm):
    """All tags are there afterwards, the answer lists them, and each is a push to whoever listens."""
    digest = Digest.of(INDEX, algorithm)
    application.events.clear()
    answer = repository.put(f"{digest}?tag=one&tag=two&tag=one", INDEX, OCI_INDEX)
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
    assert {tag.strip() for tag in answer.headers["oci-tag"].split(",")} == {"one", "two"}
    for tag in ("one", "two"):
        assert repository.get(f"manifests/{tag}").headers["docker-content-digest"] == digest
    assert [event.tag for event in application.events if isinstance(event, Pushed)] == ["one", "two"]


def test_without_tags_there_is_no_header(repository):
    """A push that names none is as it always was."""
    assert "oci-tag" not in repository.put(Digest.of(INDEX), INDEX, OCI_INDEX).headers


@pytest.mark.parametrize(
    "tags", [["good", "-bad"], ["good", ""], ["good", "%00"], [f"t{n}" for n in range(TAG_LIMIT + 1)]]
)
def test_all_or_none(repository, tags):
    """A tag that cannot be, or too many, and nothing is stored."""
    query = "&".join(f"tag={tag}" for tag in tags)
    assert repository.put(f"{Digest.of(INDEX)}?{query}", INDEX, OCI_INDEX).status == 400
    assert repository.get("tags/list").json["tags"] == []
    assert repository.get(f"manifests/{Digest.of(INDEX)}").status == 404
