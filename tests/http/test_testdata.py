"""The test data: complete, the same each time, pullable, and never in a database that somebody lives in."""

import os
import subprocess
import sys

import pytest

from quay import testdata
from quay.model import namespace, repository, tag, time_machine
from quay.oci.reference import Digest, RepositoryName
from quay.testdata import images
from quay.testdata.contents import BILL_OF_MATERIALS, LABELS, SIGNATURE, contents
from quay.testdata.people import APP_TOKEN, PASSWORD, REPOSITORIES, ROBOTS, USERS, robot_token
from tests.http.application import Application, done

DEVTABLE = ("devtable", PASSWORD)


def pulled(application, name, rest):
    answer = application.request("GET", f"/v2/{name}/{rest}", auth=DEVTABLE)
    assert answer.status == 200, answer
    return answer


def found(application, name):
    return application.read(repository.find, RepositoryName.parse(name))


def test_people(application):
    """Everybody is there and can log in, but for him who is disabled; only devtable is a superuser."""
    for name in USERS:
        assert application.ask_token((name, PASSWORD)).status == (401 if name == "disabled" else 200)
        assert application.read(namespace.find, name).superuser == (name == "devtable")
    for owner, short in ROBOTS:
        robot = f"{owner}+{short}"
        assert len(robot_token(robot)) == 64
        assert application.ask_token((robot, robot_token(robot))).status == 200
    assert application.ask_token(("$app", APP_TOKEN)).status == 200


def test_repositories(application):
    """Every repository is there, of its kind, in its state and as visible as it should be."""
    for place in REPOSITORIES:
        assert (found(application, place.name).kind, found(application, place.name).public) == (
            place.kind,
            place.public,
        )
    states = {place.name: found(application, place.name).state for place in REPOSITORIES}
    assert {name: state for name, state in states.items() if state != "normal"} == {
        "devtable/readonly": "read_only",
        "devtable/mirrored": "mirror",
    }
    assert found(application, "devtable/trusted").trust_enabled
    robot = application.read(namespace.find, "devtable+dtrobot")
    assert found(application, "devtable/mirrored").mirror_robot_id == robot.id


def test_every_image_can_be_pulled(application):
    """Whatever was pushed can be pulled, to the last blob."""
    for name in contents():
        for tagged in application.read(tag.tags, found(application, name).id, after=None, limit=5):
            pull(application, name, tagged)


def pull(application, name, reference):
    manifest = pulled(application, name, f"manifests/{reference}").json
    for child in manifest.get("manifests", ()):
        pull(application, name, child["digest"])
    for blob in [manifest["config"], *manifest["layers"]] if "layers" in manifest else ():
        data = pulled(application, name, f"blobs/{blob['digest']}").body
        assert (Digest.of(data), len(data)) == (blob["digest"], blob["size"])


def test_history(application):
    """One tag has been overwritten, one deleted; and an image has labels."""
    history = application.read(time_machine.tag_history, found(application, "devtable/simple").id, limit=100)
    assert [row.name for row in history if row.name == "latest"] == ["latest", "latest"]
    assert [row.end_ms is None for row in history if row.name == "old"] == [False]
    config = pulled(application, "devtable/simple", "manifests/latest").json["config"]["digest"]
    assert pulled(application, "devtable/simple", f"blobs/{config}").json["config"]["Labels"] == LABELS


def test_referrers(application):
    """The index of several platforms has a signature and a bill of materials."""
    digest = pulled(application, "devtable/complex", "manifests/latest").headers["docker-content-digest"]
    listed = pulled(application, "devtable/complex", f"referrers/{digest}").json["manifests"]
    assert [one["artifactType"] for one in listed] == [SIGNATURE, BILL_OF_MATERIALS]


def test_again(application):
    """A second time, nothing is made or pushed, and it is said so."""
    said, before = [], dict(application.blobs.blobs)
    done(testdata.fill(application.core, said.append))
    assert said == ["The test data is there already."]
    assert application.blobs.blobs == before


def test_completed(make_application):
    """What an interrupted run left out is made up for."""
    application = make_application()
    said = []
    done(testdata.fill(application.core, said.append))
    assert said[-1] == "The test data is complete." and len(said) == len(contents()) + 1
    assert pulled(application, "devtable/readonly", "tags/list").json["tags"] == ["latest"]


@pytest.mark.parametrize("name", ["somebody", "devtable"])
def test_refused(sqlite_template, tmp_path, name):
    """A database in which somebody lives gets no test data, even if he is called like one of ours."""
    application = Application(tmp_path, sqlite_template).start()
    application.write(namespace.create_user, name, superuser=True, time_machine_s=0)
    with pytest.raises(testdata.DataRefused, match="has users already"):
        application.fill()
    assert application.read(namespace.find, "reader") is None
    assert not application.blobs.blobs
    application.stop()


def test_the_same_bytes():
    """The same arguments make the same image, and others another."""
    assert images.image("a", "b") == images.image("a", "b")
    assert len({images.image(*texts).digest for texts in (("a",), ("b",), ("a", "b"))}) == 3


def test_command(tmp_path):
    """`quay initdb --test-data` does it all, twice; and where others live, it exits with 1 and a sentence."""
    environ = {**os.environ, "QUAY_DATA": str(tmp_path)}

    def quay(*arguments, **extra):
        command = [sys.executable, "-m", "quay", *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False, **extra)

    first, second = (quay("initdb", "--test-data") for _ in range(2))
    assert (first.returncode, first.stdout.splitlines()[-1]) == (0, "The test data is complete."), first.stderr
    assert (second.returncode, second.stdout) == (0, "The test data is there already.\n")
    environ["QUAY_DATA"] = str(tmp_path / "other")
    (tmp_path / "other").mkdir()
    made = quay("user", "create", "somebody", "--email", "a@b.example", "--password-stdin", input="long-enough")
    assert made.returncode == 0, made.stderr
    refused = quay("initdb", "--test-data")
    assert refused.returncode == 1 and "has users already" in refused.stderr
    assert "Traceback" not in refused.stderr
