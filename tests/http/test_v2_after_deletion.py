"""A repository that was deleted is gone, for every cache too, and nothing of it shows in the next one."""

from quay.oci.reference import Digest
from quay.testdata.images import image
from quay.testdata.people import PASSWORD

DEVTABLE = ("devtable", PASSWORD)
IMAGE = image("a base", "a leaf")


def test_the_next_repository_has_nothing_of_the_last(make_application):
    """What was cached for a repository is not served for the one that is made after its deletion."""
    application = make_application()
    first = application.repository()
    first.push(IMAGE, "latest")
    assert first.get("manifests/latest", Accept=IMAGE.media_type).status == 200
    assert application.request("DELETE", f"/api/v1/repository/{first.name}", auth=DEVTABLE).status == 204
    assert first.get("manifests/latest", Accept=IMAGE.media_type).status == 404
    second = application.repository()
    for reference in ("latest", IMAGE.digest):
        assert second.get(f"manifests/{reference}", Accept=IMAGE.media_type).status == 404
    assert second.get(f"blobs/{Digest.of(IMAGE.blobs[0])}").status == 404
