"""skopeo: every kind of manifest there and back, copies within the registry, lists, deletions and refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.clients.distribution import Distribution
from tests.clients.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    digest_of,
    held,
    image,
    multi_arch,
    write_directory,
    write_layout,
)
from tests.clients.programs import Program
from tests.server import RunningQuay, User

pytestmark = pytest.mark.clients

EXACT = ("copy", "--quiet", "--preserve-digests")


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "v2s2"])
def test_an_image_comes_back_as_it_went(
    skopeo: Program, registry: Distribution, repository: str, path: str, tmp_path: Path, docker: bool
) -> None:
    """What is pulled has every byte of what was pushed, manifest, configuration and layers."""
    pushed = image(f"skopeo {docker}", labels={"purpose": "round trip"}, docker=docker)
    skopeo(*EXACT, f"dir:{write_directory(pushed, tmp_path / 'pushed')}", f"docker://{repository}:1")
    skopeo(*EXACT, f"docker://{repository}:1", f"dir:{tmp_path / 'pulled'}")
    assert registry.everything(path, "1") == pushed.everything()
    assert registry.manifest(path, "1").headers["content-type"] == (DOCKER_MANIFEST if docker else OCI_MANIFEST)
    assert pushed.everything().items() <= held(tmp_path / "pulled").items()


@pytest.mark.parametrize("docker", [False, True], ids=["index", "list"])
def test_an_index_comes_back_as_it_went(
    skopeo: Program, registry: Distribution, repository: str, path: str, tmp_path: Path, docker: bool
) -> None:
    """`--all` moves the index and the images of all its platforms, byte for byte."""
    pushed = multi_arch(f"skopeo {docker}", docker=docker)
    skopeo(*EXACT, "--all", f"dir:{write_directory(pushed, tmp_path / 'pushed')}", f"docker://{repository}:1")
    skopeo(*EXACT, "--all", f"docker://{repository}:1", f"dir:{tmp_path / 'pulled'}")
    assert registry.everything(path, "1") == pushed.everything()
    assert registry.manifest(path, "1").headers["content-type"] == (DOCKER_LIST if docker else OCI_INDEX)
    assert pushed.everything().items() <= held(tmp_path / "pulled").items()


def test_an_oci_layout_is_filled_from_the_registry(
    skopeo: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """An index goes from one OCI layout to another through the registry and stays what it is."""
    pushed = multi_arch("layout")
    skopeo(*EXACT, "--all", f"oci:{write_layout(pushed, tmp_path / 'pushed')}:latest", f"docker://{repository}:1")
    skopeo(*EXACT, "--all", f"docker://{repository}@{pushed.digest}", f"oci:{tmp_path / 'pulled'}:latest")
    assert pushed.everything().items() <= held(tmp_path / "pulled").items()


def test_an_image_of_another_platform_is_chosen_from_an_index(
    skopeo: Program, registry: Distribution, repository: str, path: str
) -> None:
    """The client finds the image of the platform that it wants."""
    pushed = multi_arch("platforms")
    registry.push(path, pushed, "1")
    chosen = skopeo("--override-arch", "s390x", "inspect", "--config", "--raw", f"docker://{repository}:1")
    wanted = next(one for one in pushed.children if one.facts["platform"]["architecture"] == "s390x")
    assert chosen.encode() == wanted.config.data


def test_schema_1_is_pushed_and_pulled(
    skopeo: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """A signed manifest of schema 1 keeps its bytes, its digest and the layers that it names."""
    pushed = image("schema 1", docker=True)
    source = write_directory(pushed, tmp_path / "pushed")
    skopeo("copy", "--format", "v2s1", f"dir:{source}", f"docker://{repository}:1")
    skopeo("copy", f"docker://{repository}:1", f"dir:{tmp_path / 'pulled'}")
    stored, pulled = registry.manifest(path, "1"), tmp_path / "pulled" / "manifest.json"
    assert stored.headers["content-type"] == SCHEMA1
    assert pulled.read_bytes() == stored.body
    assert skopeo("manifest-digest", pulled).strip() == stored.headers["docker-content-digest"]
    layers = {layer.digest: layer.data for layer in pushed.layers}
    assert layers.items() <= held(tmp_path / "pulled").items()
    assert layers.keys() <= {layer["blobSum"] for layer in stored.json["fsLayers"]}


def test_layers_may_be_zstd(
    skopeo: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """Layers that the client compresses with zstd are kept as such, and unpack to what they were."""
    layout = write_layout(image("zstd"), tmp_path / "pushed")
    recompress = ("--format", "oci", "--dest-compress-format", "zstd")
    skopeo("copy", *recompress, f"oci:{layout}:latest", f"docker://{repository}:1")
    skopeo(*EXACT, f"docker://{repository}:1", f"dir:{tmp_path / 'pulled'}")
    types = [layer["mediaType"] for layer in registry.manifest(path, "1").json["layers"]]
    assert types == ["application/vnd.oci.image.layer.v1.tar+zstd"] * 3
    assert registry.everything(path, "1").items() <= held(tmp_path / "pulled").items()


def test_a_manifest_can_be_inspected(skopeo: Program, registry: Distribution, repository: str, path: str) -> None:
    """`inspect --raw` gives the very bytes; `inspect` the digest, the labels and the tags."""
    pushed = image("inspected", labels={"purpose": "to be seen"})
    registry.push(path, pushed, "1")
    assert digest_of(skopeo("inspect", "--raw", f"docker://{repository}:1").encode()) == pushed.digest
    seen = json.loads(skopeo("inspect", f"docker://{repository}@{pushed.digest}"))
    assert seen["Digest"] == pushed.digest
    assert seen["Labels"] == {"purpose": "to be seen"}
    assert seen["RepoTags"] == ["1"]


def test_a_copy_between_repositories_mounts_the_layers(
    skopeo: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """No layer of an image that is copied within the registry is uploaded again; the client mounts no configuration."""
    pushed = image("mounted")
    skopeo(*EXACT, f"dir:{write_directory(pushed, tmp_path / 'pushed')}", f"docker://{repository}:1")
    said = skopeo.remarks("--debug", *EXACT, f"docker://{repository}:1", f"docker://{repository}-copy:1")
    assert registry.everything(f"{path}-copy", "1") == pushed.everything()
    assert re.findall(r"Upload of layer (\S+) complete", said) == [pushed.config.digest]


def test_a_repository_is_synchronized_out_and_in(
    skopeo: Program, registry: Distribution, quay: RunningQuay, repository: str, path: str, tmp_path: Path
) -> None:
    """`sync` takes every tag of a repository to a directory, and into another repository."""
    pushed = {"one": image("sync one"), "two": multi_arch("sync two"), "three": image("sync three", docker=True)}
    for tag, content in pushed.items():
        registry.push(path, content, tag)
    sync = ("sync", "--all", "--preserve-digests")
    skopeo(*sync, "--src", "docker", "--dest", "dir", repository, tmp_path)
    name = path.removeprefix("dev/")
    skopeo(*sync, "--src", "dir", "--dest", "docker", tmp_path, f"{quay.host}/dev/synchronized")
    for tag, content in pushed.items():
        assert registry.everything(f"dev/synchronized/{name}", tag) == content.everything()


def test_tags_are_listed(skopeo: Program, registry: Distribution, repository: str, path: str) -> None:
    """`list-tags` names every tag of the repository."""
    for tag in ("beta", "alpha", "1.0"):
        registry.push(path, image("tags"), tag)
    assert json.loads(skopeo("list-tags", f"docker://{repository}"))["Tags"] == ["1.0", "alpha", "beta"]


def test_a_deleted_image_is_gone(skopeo: Program, registry: Distribution, repository: str, path: str) -> None:
    """`delete` takes away the image with all its tags, and no other; it can be pushed again."""
    doomed, other = image("doomed"), image("other")
    for tag, content in {"1": doomed, "latest": doomed, "2": other}.items():
        registry.push(path, content, tag)
    skopeo("delete", f"docker://{repository}:1")
    assert "was deleted" in skopeo.refused("inspect", f"docker://{repository}:latest")
    assert json.loads(skopeo("list-tags", f"docker://{repository}"))["Tags"] == ["2"]
    registry.push(path, doomed, "1")
    assert registry.everything(path, "1") == doomed.everything()


def test_a_wrong_password_is_refused(
    skopeo: Program, dev: User, quay: RunningQuay, repository: str, tmp_path: Path
) -> None:
    """Neither login nor pull nor push succeed with a wrong password, and the client says why."""
    wrong = f"{dev.name}:{dev.password}-wrong"
    layout = write_layout(image("never"), tmp_path / "never")
    anew = ("login", "--tls-verify=false", "--authfile", tmp_path / "auth.json", "--username", dev.name)
    for said in (
        skopeo.refused(*anew, "--password-stdin", quay.host, stdin=f"{dev.password}-wrong"),
        skopeo.refused("inspect", "--creds", wrong, f"docker://{repository}:1"),
        skopeo.refused("copy", "--dest-creds", wrong, f"oci:{layout}:latest", f"docker://{repository}:1"),
    ):
        assert "invalid username/password" in said


def test_a_login_is_remembered(
    skopeo: Program, registry: Distribution, dev: User, quay: RunningQuay, repository: str, path: str, tmp_path: Path
) -> None:
    """After a login the client pulls; after a logout it does not."""
    registry.push(path, image("login"), "1")
    auth = ("--authfile", tmp_path / "auth.json")
    plain = "--tls-verify=false"
    skopeo("login", plain, *auth, "--username", dev.name, "--password-stdin", quay.host, stdin=dev.password)
    assert json.loads(skopeo("inspect", *auth, f"docker://{repository}:1"))["Digest"] == image("login").digest
    skopeo("logout", *auth, quay.host)
    skopeo.refused("inspect", *auth, f"docker://{repository}:1")


def test_anybody_may_pull_from_a_public_repository(
    skopeo: Program, open_quay: RunningQuay, dev: User, path: str, tmp_path: Path
) -> None:
    """What is public can be pulled without a password, but not pushed to."""
    pushed = image("public")
    layout = write_layout(pushed, tmp_path / "pushed")
    repository = f"{open_quay.host}/{path}"
    skopeo(*EXACT, f"oci:{layout}:latest", f"docker://{repository}:1")
    skopeo(*EXACT, "--src-no-creds", f"docker://{repository}:1", f"dir:{tmp_path / 'pulled'}")
    assert pushed.everything().items() <= held(tmp_path / "pulled").items()
    skopeo.refused("copy", "--dest-no-creds", f"oci:{layout}:latest", f"docker://{repository}:2")


def test_a_private_repository_is_closed(
    skopeo: Program, registry: Distribution, outsider: User, repository: str, path: str, tmp_path: Path
) -> None:
    """Neither somebody without a password nor a user without a right pulls, pushes or deletes."""
    pushed = image("private")
    registry.push(path, pushed, "1")
    layout = write_layout(pushed, tmp_path / "pushed")
    for credentials in ("no-creds", f"creds={outsider.name}:{outsider.password}"):
        skopeo.refused("inspect", f"--{credentials}", f"docker://{repository}:1")
        skopeo.refused("copy", f"--src-{credentials}", f"docker://{repository}:1", f"dir:{tmp_path / 'never'}")
        skopeo.refused("copy", f"--dest-{credentials}", f"oci:{layout}:latest", f"docker://{repository}:2")
        skopeo.refused("delete", f"--{credentials}", f"docker://{repository}:1")
    assert registry.everything(path, "1") == pushed.everything()
