"""Pull statistics through the API: of tags, manifests and repositories."""

import pytest

from quay.testdata import images
from tests.http.api.client import Client
from tests.http.application import Repository

IMAGE, OTHER = images.image("pulled"), images.image("other")
HOME = "/repository/devtable/simple"


@pytest.fixture
def application(make_application):
    return make_application()


@pytest.fixture
def devtable(application):
    pusher = Repository(application, "devtable/simple", ("devtable", "password"))
    for content, tag in ((IMAGE, "latest"), (OTHER, "other")):
        pusher.push(content, tag)
    return Client(application, "devtable")


def pull(application, reference, times=1):
    """Pull it, and let it be written."""
    token = application.token(("devtable", "password"), "repository:devtable/simple:pull")
    for _ in range(times):
        path = f"/v2/devtable/simple/manifests/{reference}"
        assert application.request("GET", path, {"Accept": "*/*"}, auth=token).status == 200
    application.clock.advance(application.core.pulls.period)


def test_of_a_tag(application, devtable):
    """It says how often the tag was pulled, and how often what it names now; and when the last time."""
    path = f"{HOME}/tag/latest/pull_statistics"
    assert devtable.get(path).json == {
        "tag_name": "latest",
        "tag_pull_count": 0,
        "last_tag_pull_date": None,
        "current_manifest_digest": IMAGE.digest,
        "manifest_pull_count": 0,
        "last_manifest_pull_date": None,
    }
    pull(application, "latest", 2)
    pull(application, IMAGE.digest)
    found = devtable.get(path).json
    assert (found["tag_pull_count"], found["manifest_pull_count"]) == (2, 3)
    assert found["last_tag_pull_date"].endswith(" -0000")
    assert found["last_tag_pull_date"] <= found["last_manifest_pull_date"]


def test_a_tag_moves(application, devtable):
    """The count of a tag goes on when it moves, that of its manifest is the new one's."""
    pull(application, "latest")
    devtable.put(f"{HOME}/tag/latest", {"manifest_digest": OTHER.digest})
    pull(application, "latest")
    pull(application, "other")
    found = devtable.get(f"{HOME}/tag/latest/pull_statistics").json
    assert (found["tag_pull_count"], found["manifest_pull_count"]) == (2, 2)
    assert found["current_manifest_digest"] == OTHER.digest


def test_of_a_manifest(application, devtable):
    """By its digest, and by whatever tag."""
    pull(application, "latest")
    pull(application, IMAGE.digest)
    found = devtable.get(f"{HOME}/manifest/{IMAGE.digest}/pull_statistics").json
    assert (found["manifest_digest"], found["manifest_pull_count"]) == (IMAGE.digest, 2)
    assert devtable.get(f"{HOME}/manifest/{OTHER.digest}/pull_statistics").json["last_manifest_pull_date"] is None


def test_in_lists(application, devtable):
    """The detailed list of tags has them, and so has a repository that is asked for its statistics."""
    pull(application, "latest", 3)
    found = {one["name"]: one for one in devtable.get(f"{HOME}/tag/?detailed=true").json["tags"]}
    assert (found["latest"]["pull_count"], found["other"]["pull_count"]) == (3, 0)
    assert (found["latest"]["last_pulled"] is None, found["other"]["last_pulled"]) == (False, None)
    assert "pull_count" not in devtable.get(f"{HOME}/tag/").json["tags"][0]
    shown = devtable.get(f"{HOME}?includeStats=true").json
    assert (shown["pull_count"], shown["last_pulled"]) == (3, found["latest"]["last_pulled"])


@pytest.mark.parametrize("what", ["tag/nothing", "manifest/sha256:" + "0" * 64, "manifest/latest"])
def test_what_is_not_there(devtable, what):
    """What is not there was pulled by nobody."""
    assert devtable.get(f"{HOME}/{what}/pull_statistics").status == 404


def test_switched_off(make_application):
    """Where pulls are not counted, nothing speaks of them, and nothing is written."""
    application = make_application(FEATURE_IMAGE_PULL_STATS=False)
    Repository(application, "devtable/simple", ("devtable", "password")).push(IMAGE, "latest")
    pull(application, "latest")
    client = Client(application, "devtable")
    assert client.get(f"{HOME}/tag/latest/pull_statistics").status == 404
    assert "pull_count" not in client.get(f"{HOME}/tag/?detailed=true").json["tags"][0]
    assert "pull_count" not in client.get(f"{HOME}?includeStats=true").json
