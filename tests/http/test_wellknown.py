"""What tools look for at the same address on every server."""

from tests.http.api.client import Client


def test_app_capabilities(application):
    """A tool learns what this is, and is sent to no address at which there is nothing."""
    answer = application.request("GET", "/.well-known/app-capabilities")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["appName"] == "io.quay"
    for capability in answer.json["capabilities"].values():
        (template,) = capability.values()
        path = template.format(namespace="devtable", reponame="simple", digest=f"sha256:{'0' * 64}")
        found = application.request("GET", path.removeprefix("http://registry.test:5000"))
        assert found.json["detail"] != Client(application).get("/nothing").json["detail"]


def test_nothing_else(application):
    """What is not there is 404."""
    assert application.request("GET", "/.well-known/nothing").status == 404


def test_registry_capabilities(make_application):
    """What a registry says that it can do follows from its configuration."""
    assert Client(make_application()).get("/registry/capabilities").json["sparse_manifests"]["supported"] is True
    without = Client(make_application(FEATURE_SPARSE_INDEX=False)).get("/registry/capabilities").json
    assert without == {
        "sparse_manifests": {
            "supported": False,
            "required_architectures": [],
            "optional_architectures_allowed": False,
        },
        "mirror_architectures": [],
    }
