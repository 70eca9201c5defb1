"""podman: logins, images with all that lies in their layers, digests, manifest lists, and a container that runs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.clients.distribution import Distribution
from tests.clients.images import (
    DOCKER_MANIFEST,
    FILES,
    RUNNABLE,
    exported,
    image,
    multi_arch,
    write_layout,
)
from tests.clients.programs import Program, ProgramFailed
from tests.server import RunningQuay, User

pytestmark = pytest.mark.clients

NO_LIMITS = ("rlimit", "cgroup", "operation not permitted", "pivot_root")
"""What podman says where the machine forbids containers."""


def test_a_login_is_remembered(
    podman: Program, registry: Distribution, dev: User, quay: RunningQuay, repository: str, path: str, tmp_path: Path
) -> None:
    """A wrong password is refused; with the right one the client pulls, and after a logout it does not."""
    registry.push(path, image("login"), "1")
    auth = ("--authfile", tmp_path / "auth.json")
    login = ("login", *auth, "--username", dev.name, "--password-stdin", quay.host)
    assert "invalid username/password" in podman.refused(*login, stdin=f"{dev.password}-wrong")
    podman(*login, stdin=dev.password)
    podman("pull", *auth, f"{repository}:1")
    podman("logout", *auth, quay.host)
    podman.refused("pull", *auth, f"{repository}:1")


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_an_image_comes_back_with_the_same_contents(
    podman: Program, registry: Distribution, repository: str, path: str, tmp_path: Path, form: str
) -> None:
    """What the registry holds is what was pushed, and what is pulled by its digest unpacks to the same files."""
    pushed = image(f"podman {form}")
    podman("pull", f"oci:{write_layout(pushed, tmp_path / 'pushed')}:latest")
    podman(
        "push", "--format", form, "--digestfile", tmp_path / "digest", pushed.config.digest, f"docker://{repository}:1"
    )
    podman("rmi", "--force", pushed.config.digest)
    digest = (tmp_path / "digest").read_text()
    assert registry.digest(path, "1") == digest
    assert registry.unpacked(path, digest) == [gzip.decompress(layer.data) for layer in pushed.layers]
    pulled = podman("pull", "--quiet", f"{repository}@{digest}").strip()
    assert json.loads(podman("image", "inspect", pulled))[0]["Digest"] == digest
    assert _files(podman, pulled, tmp_path) == FILES


def test_an_image_of_another_making_keeps_its_digest(
    podman: Program, registry: Distribution, repository: str, path: str
) -> None:
    """An image that another client pushed, of schema 2, is pulled with its digest and its configuration."""
    pushed = image("made elsewhere", labels={"purpose": "to be kept"}, docker=True)
    registry.push(path, pushed, "1")
    assert podman("pull", "--quiet", f"{repository}:1").strip() == pushed.config.digest.removeprefix("sha256:")
    seen = json.loads(podman("image", "inspect", pushed.config.digest))[0]
    assert (seen["Digest"], seen["ManifestType"]) == (pushed.digest, DOCKER_MANIFEST)
    assert seen["Labels"] == {"purpose": "to be kept"}


def test_zstd_layers_are_pulled(
    podman: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """An image pushed with zstd layers is pulled and unpacked."""
    pushed = image("podman zstd")
    podman("pull", f"oci:{write_layout(pushed, tmp_path / 'pushed')}:latest")
    podman("push", "--format", "oci", "--compression-format", "zstd", pushed.config.digest, f"docker://{repository}:1")
    podman("rmi", "--force", pushed.config.digest)
    types = {layer["mediaType"] for layer in registry.manifest(path, "1").json["layers"]}
    assert types == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    registry.everything(path, "1")
    assert podman("pull", "--quiet", f"{repository}:1").strip() == pushed.config.digest.removeprefix("sha256:")
    assert _files(podman, pushed.config.digest, tmp_path) == FILES


def test_a_manifest_list_is_made_and_pushed(
    podman: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """A list that the client made has every image byte for byte, and another platform is pulled from it."""
    pushed = multi_arch("podman list")
    podman("manifest", "create", "localhost/list")
    podman("manifest", "add", "--all", "localhost/list", f"oci:{write_layout(pushed, tmp_path / 'pushed')}:latest")
    podman(
        "manifest", "push", "--all", "--digestfile", tmp_path / "digest", "localhost/list", f"docker://{repository}:1"
    )
    stored = registry.everything(path, "1")
    assert registry.digest(path, "1") == (tmp_path / "digest").read_text()
    assert all(listed.everything().items() <= stored.items() for listed in pushed.children)
    pulled = podman("pull", "--quiet", "--arch", "s390x", f"{repository}:1").strip()
    assert json.loads(podman("image", "inspect", pulled))[0]["Architecture"] == "s390x"


def test_the_catalog_can_be_searched(podman: Program, registry: Distribution, repository: str, path: str) -> None:
    """`search` finds the repository by its name, and its tags."""
    for tag in ("1", "2"):
        registry.push(path, image("found"), tag)
    assert repository in podman("search", "--limit", "100", "--format", "{{.Name}}", repository).split()
    assert json.loads(podman("search", "--list-tags", "--format", "json", repository))[0]["Tags"] == ["1", "2"]


@pytest.mark.skipif(not RUNNABLE, reason="the program in the image is for amd64")
def test_a_pulled_image_runs(podman: Program, registry: Distribution, repository: str, path: str) -> None:
    """A container of a pulled image runs, with the upper layers over the lower ones."""
    registry.push(path, image("running"), "1")
    try:
        said = podman("run", "--rm", "--network", "none", f"{repository}:1")
    except ProgramFailed as error:
        if any(reason in str(error).lower() for reason in NO_LIMITS):
            pytest.skip(f"this machine runs no containers: {str(error)[-300:]}")
        raise
    assert said == "running\n"


def _files(podman: Program, pulled: str, tmp_path: Path) -> frozenset[str]:
    """The files of a container of this image, of those that it may have."""
    container = podman("create", "--network", "none", pulled).strip()
    podman("export", "--output", tmp_path / "files.tar", container)
    podman("rm", container)
    return exported(tmp_path / "files.tar")
