"""buildah: logins, builds from scratch, pushes by digest, lists of platforms, and images built upon pulled ones."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.clients.distribution import Distribution
from tests.clients.images import OCI_INDEX, OCI_MANIFEST, RUNNABLE, SAY, image
from tests.clients.programs import Program
from tests.server import RunningQuay, User

pytestmark = pytest.mark.clients

BUILD = ("bud", "--isolation", "chroot")
needs_amd64 = pytest.mark.skipif(not RUNNABLE, reason="the program that the build runs is for amd64")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """What the builds copy: the program, and a word for it to say."""
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "say").write_bytes(SAY + b"/word\0")
    (directory / "say").chmod(0o755)
    (directory / "word").write_text("built\n")
    return directory


def recipe(context: Path, *steps: str) -> tuple[object, ...]:
    """The arguments that build these steps in `context`."""
    file = context / "Containerfile"
    file.write_text("\n".join((*steps, "")))
    return ("--file", file, context)


def test_a_login_is_remembered(
    buildah: Program, registry: Distribution, dev: User, quay: RunningQuay, repository: str, path: str, tmp_path: Path
) -> None:
    """A wrong password is refused; with the right one the client pulls, and after a logout it does not."""
    registry.push(path, image("buildah login"), "1")
    auth = ("--authfile", tmp_path / "auth.json")
    login = ("login", *auth, "--tls-verify=false", "--username", dev.name, "--password-stdin", quay.host)
    assert "invalid username/password" in buildah.refused(*login, stdin=f"{dev.password}-wrong")
    buildah(*login, stdin=dev.password)
    pull = ("pull", "--policy", "always", *auth, f"{repository}:1")
    buildah(*pull)
    buildah("logout", *auth, quay.host)
    buildah.refused(*pull)


@needs_amd64
def test_an_image_built_from_scratch_is_pushed_by_its_digest(
    buildah: Program, registry: Distribution, repository: str, path: str, context: Path, tmp_path: Path
) -> None:
    """A build that starts from nothing and runs a program is pushed, and comes back by the digest of the push."""
    steps = ("FROM scratch", "COPY say word /", 'RUN ["/say"]', 'CMD ["/say"]')
    buildah(*BUILD, "--layers", "--tag", "localhost/scratch", *recipe(context, *steps))
    digest = _pushed(buildah, tmp_path, "localhost/scratch", f"docker://{repository}:1")
    assert registry.digest(path, "1") == digest
    assert any(b"built\n" in layer for layer in registry.unpacked(path, digest))
    buildah("rmi", "--force", "localhost/scratch")
    container = buildah("from", "--pull-always", f"{repository}@{digest}").strip()
    assert buildah("run", "--isolation", "chroot", container, "/say") == "built\n"
    buildah("rm", container)


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_a_build_upon_a_pulled_image_keeps_its_layers(
    buildah: Program, registry: Distribution, repository: str, path: str, context: Path, tmp_path: Path, form: str
) -> None:
    """The image that is built has the layers of its base below its own, with the same files."""
    base = image(f"base {form}", docker=form == "docker")
    registry.push(f"{path}-base", base, "1")
    steps = (f"FROM {repository}-base:1", "COPY word /built")
    buildah(*BUILD, "--layers", "--format", form, "--tag", f"localhost/{form}", *recipe(context, *steps))
    digest = _pushed(buildah, tmp_path, f"localhost/{form}", f"docker://{repository}:1")
    *below, own = registry.unpacked(path, digest)
    assert below == [gzip.decompress(layer.data) for layer in base.layers]
    assert b"built\n" in own


def test_a_list_of_platforms_is_built_and_pushed(
    buildah: Program, registry: Distribution, repository: str, path: str, context: Path, tmp_path: Path
) -> None:
    """One build for two platforms becomes one index with an image for each."""
    platforms = ("--platform", "linux/amd64,linux/s390x", "--manifest", "localhost/platforms")
    buildah(*BUILD, *platforms, *recipe(context, "FROM scratch", "COPY word /"))
    push = ("manifest", "push", "--all", "--format", "oci", "--digestfile", tmp_path / "digest")
    buildah(*push, "localhost/platforms", f"docker://{repository}:1")
    stored = registry.manifest(path, "1")
    assert stored.headers["content-type"] == OCI_INDEX
    assert stored.headers["docker-content-digest"] == (tmp_path / "digest").read_text()
    assert {listed["platform"]["architecture"] for listed in stored.json["manifests"]} == {"amd64", "s390x"}
    assert {listed["mediaType"] for listed in stored.json["manifests"]} == {OCI_MANIFEST}
    registry.everything(path, "1")


def test_a_commit_may_go_straight_to_the_registry(
    buildah: Program, registry: Distribution, repository: str, path: str, context: Path
) -> None:
    """A container is committed to the registry without an image in between."""
    container = buildah("from", "scratch").strip()
    buildah("copy", container, context / "word", "/word")
    buildah("commit", "--rm", container, f"docker://{repository}:1")
    (layer,) = registry.unpacked(path, "1")
    assert b"built\n" in layer


def test_a_push_with_a_wrong_password_is_refused(
    buildah: Program, registry: Distribution, dev: User, repository: str, path: str
) -> None:
    """Nothing reaches the registry."""
    registry.push(path, image("pushed once"), "1")
    buildah("pull", f"{repository}:1")
    wrong = ("--creds", f"{dev.name}:{dev.password}-wrong")
    said = buildah.refused("push", "--retry", "0", *wrong, f"{repository}:1", f"docker://{repository}:2")
    assert "invalid username/password" in said
    registry.ask(404, "GET", f"/v2/{path}/manifests/2")


def _pushed(buildah: Program, tmp_path: Path, name: str, destination: str) -> str:
    """The digest by which an image was pushed."""
    buildah("push", "--digestfile", tmp_path / "digest", name, destination)
    return (tmp_path / "digest").read_text()
