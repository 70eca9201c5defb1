"""What the configuration decides about a whole server."""

from quay.oci.reference import Digest
from quay.service.appliance import Appliance
from quay.testdata.images import image
from quay.testdata.people import APP_TOKEN, PASSWORD
from tests.http.application import Application, Repository

DEVTABLE = ("devtable", PASSWORD)
IMAGE = image("a base", "a leaf")


class FarAway:
    """A coordinator that the test connects and disconnects."""

    def __init__(self):
        self.connected = True


def test_app_tokens_can_be_forbidden(sqlite_template, tmp_path):
    """With FEATURE_APP_SPECIFIC_TOKENS false, $app is told that this registry takes no such tokens."""
    application = Application(tmp_path, sqlite_template, FEATURE_APP_SPECIFIC_TOKENS=False).start().fill()
    answer = application.ask_token(("$app", APP_TOKEN))
    assert (answer.status, application.ask_token(DEVTABLE).status) == (401, 200)
    assert "takes no app-specific tokens" in answer.json["errors"][0]["message"]
    application.stop()


def test_tokens_can_be_short(sqlite_template, tmp_path):
    """With REGISTRY_JWT_AUTH_MAX_FRESH_S, a token says that it ends sooner, and does."""
    application = Application(tmp_path, sqlite_template, REGISTRY_JWT_AUTH_MAX_FRESH_S=600).start().fill()
    answer = application.ask_token(DEVTABLE, "repository:devtable/simple:pull")
    token = answer.json["token"]
    assert answer.json["expires_in"] == 600
    assert application.request("GET", "/v2/", auth=token).status == 200
    application.clock.advance(631)
    assert application.request("GET", "/v2/", auth=token).status == 401
    application.stop()


def test_a_registry_becomes_read_only(make_application, tmp_path):
    """With REGISTRY_STATE readonly, all but pulls is refused in a sentence, also to tokens given before."""
    before = make_application()
    repository = Repository(before, "devtable/simple", DEVTABLE)
    repository.push(IMAGE, "latest")
    location = repository.begin()
    before.stop()
    repository.application = application = before.copied(tmp_path, REGISTRY_STATE="readonly").start()
    assert repository.get("manifests/latest").status == 200
    refused = [
        repository.put("another", IMAGE.raw, IMAGE.media_type),
        repository.request("DELETE", "manifests/latest"),
        repository.request("DELETE", f"blobs/{Digest.of(IMAGE.blobs[0])}"),
        repository.request("POST", "blobs/uploads/"),
        repository.at(location, "PATCH", body=b"more"),
        application.request("POST", "/v2/devtable/simple/blobs/uploads/", auth=DEVTABLE),
    ]
    assert {(answer.status, answer.code) for answer in refused} == {(405, "DENIED")}
    application.stop()


def test_nothing_is_remembered_across_a_gap(application):
    """When announcements may have been missed, neither content nor people nor keys are answered from memory."""
    core = application.core
    token = application.token(DEVTABLE, "repository:devtable/simple:pull")
    application.request("GET", "/v2/", auth=token)
    claims = core.keyring.verified(token, application.config.hostname)
    assert claims is not None and len(core.portal._admitted) > 0
    core.forget_all()
    assert core.keyring.verified(token, application.config.hostname) is None
    assert (len(core.portal._admitted), len(core.cache._entries)) == (0, 0)


def test_nothing_is_trusted_without_a_connection(application, monkeypatch):
    """While the coordinator is not connected, no memory of the core's is trusted; when it is again, all are."""
    core, coordinator = application.core, FarAway()
    monkeypatch.setattr(core, "coordinator", coordinator)
    for connected in (False, True):
        coordinator.connected = connected
        assert {core.cache.trusted(), core.portal.trusted(), core.keyring.trusted()} == {connected}


def test_background_work_rests_until_the_setup_is_complete(sqlite_template, tmp_path):
    """With SETUP_COMPLETE false, a server has no workers."""
    (tmp_path / "resting").mkdir()
    resting = Application(tmp_path / "resting", sqlite_template, SETUP_COMPLETE=False)
    working = Application(tmp_path, sqlite_template)
    assert Appliance(resting.clock, resting.config)._workers == []
    assert len(Appliance(working.clock, working.config)._workers) >= 3
