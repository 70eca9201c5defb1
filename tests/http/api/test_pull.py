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
def simple(application):
    """A repository with two tags."""
    made = Repository(application, "devtable/simple", ("devtable", "password"))
    for content, tag in ((IMAGE, "latest"), (OTHER, "other")):
        made.push(content, tag)
    return made


@pytest.fixture
def devtable(application, simple):
    return Client(application, "devtable")


def test_of_a_tag(simple, devtable):
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
    simple.pull("latest", 2)
    simple.pull(IMAGE.digest)
    found = devtable.get(path).json
    assert (found["tag_pull_count"], found["manifest_pull_count"]) == (2, 3)
    assert found["last_tag_pull_date"].endswith(" -0000")
    assert found["last_tag_pull_date"] <= found["last_manifest_pull_date"]


def test_a_tag_moves(simple, devtable):
    """The count of a tag goes on when it moves, that of its manifest is the new one's."""
    simple.pull("latest")
    devtable.put(f"{HOME}/tag/latest", {"manifest_digest": OTHER.digest})
    simple.pull("latest")
    simple.pull("other")
    found = devtable.get(f"{HOME}/tag/latest/pull_statistics").json
    assert (found["tag_pull_count"], found["manifest_pull_count"]) == (2, 2)
    assert found["current_manifest_digest"] == OTHER.digest


def test_of_a_manifest(simple, devtable):
    """By its digest, and by whatever tag."""
    simple.pull("latest")
    simple.pull(IMAGE.digest)
    found = devtable.get(f"{HOME}/manifest/{IMAGE.digest}/pull_statistics").json
    assert (found["manifest_digest"], found["manifest_pull_count"]) == (IMAGE.digest, 2)
    assert devtable.get(f"{HOME}/manifest/{OTHER.digest}/pull_statistics").json["last_manifest_pull_date"] is None


def test_in_lists(simple, devtable):
    """The detailed list of tags has them, and so has a repository that is asked for its statistics."""
    simple.pull("latest", 3)
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
    simple = Repository(application, "devtable/simple", ("devtable", "password"))
    simple.push(IMAGE, "latest")
    simple.pull("latest")
    client = Client(application, "devtable")
    assert client.get(f"{HOME}/tag/latest/pull_statistics").status == 404
    assert "pull_count" not in client.get(f"{HOME}/tag/?detailed=true").json["tags"][0]
    assert "pull_count" not in client.get(f"{HOME}?includeStats=true").json
