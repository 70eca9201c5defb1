"""Images as tar files: what real clients make of ours, and what becomes of theirs."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.clients.distribution import Distribution
from tests.clients.images import (
    FILES,
    Content,
    artifact,
    digest_of,
    exported,
    held,
    image,
    multi_arch,
    write_layout,
)
from tests.clients.programs import Program
from tests.server import RunningQuay, User

pytestmark = pytest.mark.clients


@attrs.frozen
class Carrier:
    """Somebody who carries the images of one repository as files."""

    registry: Distribution
    path: str
    user: User

    def fetch(self, reference: str, where: Path, query: str = "") -> Path:
        """The archive of `reference`, in the file `where`."""
        where.write_bytes(self._ask("GET", f"manifest/{reference}/archive?{query}").body)
        return where

    def send(self, archive: Path, query: str = "") -> dict[str, Any]:
        """What the registry says of the archive."""
        said: dict[str, Any] = self._ask("POST", f"archive?{query}", archive.read_bytes()).json
        return said

    def _ask(self, method: str, rest: str, body: bytes = b"") -> Any:
        shown = base64.b64encode(f"{self.user.name}:{self.user.password}".encode()).decode()
        headers = {"Authorization": f"Basic {shown}"}
        return self.registry.ask(200, method, f"/api/v1/repository/{self.path}/{rest}", body, headers)


@pytest.fixture
def carrier(registry: Distribution, dev: User, path: str) -> Carrier:
    """Somebody who may write to a repository that is there, because it holds an image already."""
    registry.push(path, image("before"), "before")
    return Carrier(registry, path, dev)


# --- what clients make of ours ------------------------------------------------------------------------------------


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "v2s2"])
def test_podman_loads_a_docker_archive(
    carrier: Carrier, podman: Program, repository: str, tmp_path: Path, docker: bool
) -> None:
    """podman knows the image by the name under which the registry has it, and finds every file in it."""
    pushed = image(f"load {docker}", docker=docker)
    carrier.registry.push(carrier.path, pushed, "1")
    loaded = podman("load", "--quiet", "--input", carrier.fetch("1", tmp_path / "1.tar"))
    assert f"{repository}:1" in loaded
    assert json.loads(podman("image", "inspect", f"{repository}:1"))[0]["Id"] == pushed.config.digest[7:]
    assert _files(podman, f"{repository}:1", tmp_path) == FILES


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "v2s2"])
def test_skopeo_reads_a_docker_archive(carrier: Carrier, skopeo: Program, tmp_path: Path, docker: bool) -> None:
    """skopeo finds the config as it was pushed, and the layers as they are unpacked."""
    pushed = image(f"skopeo {docker}", docker=docker)
    carrier.registry.push(carrier.path, pushed, "1")
    archive = carrier.fetch("1", tmp_path / "1.tar", "format=docker")
    skopeo("copy", "--quiet", f"docker-archive:{archive}", f"dir:{tmp_path / 'copied'}")
    unpacked = {digest_of(gzip.decompress(layer.data)) for layer in pushed.layers}
    assert {pushed.config.digest} | unpacked <= held(tmp_path / "copied").keys()


def test_a_docker_archive_has_the_image_for_one_platform(carrier: Carrier, skopeo: Program, tmp_path: Path) -> None:
    """Of an index, it has the image for the platform that was asked for."""
    pushed = multi_arch("platforms")
    carrier.registry.push(carrier.path, pushed, "1")
    archive = carrier.fetch("1", tmp_path / "1.tar", "platform=linux/s390x")
    said = skopeo("inspect", "--config", "--raw", f"docker-archive:{archive}")
    assert json.loads(said)["architecture"] == "s390x"


@pytest.mark.parametrize("docker", [False, True], ids=["index", "list"])
def test_skopeo_reads_an_oci_layout(carrier: Carrier, skopeo: Program, tmp_path: Path, docker: bool) -> None:
    """The layout of an index has every byte of all its platforms."""
    pushed = multi_arch(f"layout {docker}", docker=docker)
    carrier.registry.push(carrier.path, pushed, "1")
    archive = carrier.fetch("1", tmp_path / "1.tar", "format=oci")
    skopeo("copy", "--quiet", "--all", "--preserve-digests", f"oci-archive:{archive}", f"dir:{tmp_path / 'copied'}")
    assert pushed.everything().items() <= held(tmp_path / "copied").items()


def test_skopeo_finds_a_tag_in_an_oci_layout(carrier: Carrier, skopeo: Program, tmp_path: Path) -> None:
    """The tag is in the layout, and with referrers the image is found by it among them."""
    pushed = image("signed")
    carrier.registry.push(carrier.path, pushed, "1")
    signature = artifact("application/vnd.example.signature", subject=pushed)
    carrier.registry.push(carrier.path, signature, signature.digest)
    archive = carrier.fetch("1", tmp_path / "1.tar", "format=oci&referrers=true")
    skopeo("copy", "--quiet", f"oci-archive:{archive}:1", f"dir:{tmp_path / 'copied'}")
    assert pushed.everything().items() <= held(tmp_path / "copied").items()
    with tarfile.open(archive) as tar:
        listed = json.load(tar.extractfile("index.json"))["manifests"]  # type: ignore[arg-type]
    assert [one["digest"] for one in listed] == [pushed.digest, signature.digest]


# --- what becomes of theirs ---------------------------------------------------------------------------------------


def packed(archive: Path, how: str) -> Path:
    """The archive as it comes from the program that compresses it."""
    if how == "plain":
        return archive
    subprocess.run([how, "--quiet", "--keep", archive], check=True)
    return archive.with_name(f"{archive.name}.{'gz' if how == 'gzip' else 'zst'}")


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_of_skopeo(carrier: Carrier, skopeo: Program, tmp_path: Path, kind: str, how: str) -> None:
    """The config is the one that was saved, and the layers unpack to the same bytes; an OCI layout keeps its digest."""
    saved = image(f"skopeo {kind} {how}")
    archive = tmp_path / "saved.tar"
    name = f"{kind}:{archive}:" + ("example.com/some/image:1" if kind == "docker-archive" else "1")
    skopeo("copy", "--quiet", f"oci:{write_layout(saved, tmp_path / 'layout')}:latest", name)
    said = carrier.send(packed(archive, how))
    assert said["tags"] == ["1"]
    assert said["digests"] == [carrier.registry.digest(carrier.path, "1")]
    assert (said["digests"] == [saved.digest]) is (kind == "oci-archive")
    _check(carrier, "1", saved)
    skopeo("copy", "--quiet", f"docker://{carrier.registry.host}/{carrier.path}:1", f"dir:{tmp_path / 'pulled'}")
    assert saved.config.data in held(tmp_path / "pulled").values()


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_of_podman(carrier: Carrier, podman: Program, tmp_path: Path, kind: str) -> None:
    """What podman saves comes under the tag that it had."""
    saved = image(f"podman {kind}")
    podman("pull", f"oci:{write_layout(saved, tmp_path / 'layout')}:latest")
    podman("tag", saved.config.digest, f"localhost/{kind}:v7")
    podman("save", "--quiet", "--format", kind, "--output", tmp_path / "saved.tar", f"localhost/{kind}:v7")
    assert carrier.send(tmp_path / "saved.tar")["tags"] == ["v7"]
    _check(carrier, "v7", saved)


def test_several_images_in_one_archive_of_podman(carrier: Carrier, podman: Program, tmp_path: Path) -> None:
    """Every image has the tags that the archive names, those with several of them too."""
    first, second = image("first of several"), image("second of several")
    for number, saved in enumerate((first, second)):
        podman("pull", f"oci:{write_layout(saved, tmp_path / f'layout{number}')}:latest")
        podman("tag", saved.config.digest, f"localhost/several:{number}")
    podman("tag", first.config.digest, "localhost/several:one-more")
    names = [f"localhost/several:{name}" for name in ("0", "1", "one-more")]
    podman("save", "--quiet", "--multi-image-archive", "--output", tmp_path / "saved.tar", *names)
    assert sorted(carrier.send(tmp_path / "saved.tar")["tags"]) == ["0", "1", "one-more"]
    for tag, saved in (("0", first), ("1", second), ("one-more", first)):
        _check(carrier, tag, saved)


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_archives_of_buildah(carrier: Carrier, buildah: Program, tmp_path: Path, kind: str) -> None:
    """What buildah built goes straight into an archive, and from there under a tag that somebody chooses."""
    (tmp_path / "word").write_text("built\n")
    container = buildah("from", "scratch").strip()
    buildah("copy", container, tmp_path / "word", "/word")
    built = buildah("commit", "--quiet", "--rm", container, f"localhost/{kind}:built").strip()
    buildah("push", "--quiet", built, f"{kind}:{tmp_path / 'built.tar'}")
    assert carrier.send(tmp_path / "built.tar", "tag=chosen")["tags"] == ["chosen"]
    manifest = carrier.registry.manifest(carrier.path, "chosen").json
    assert manifest["config"]["digest"] == f"sha256:{built}"


def test_ours_come_back_as_they_went(carrier: Carrier, tmp_path: Path) -> None:
    """What was taken out of the registry, and is brought back when it is gone, has the same digests, referrers too."""
    pushed = multi_arch("round trip")
    carrier.registry.push(carrier.path, pushed, "1")
    signature = artifact("application/vnd.example.signature", subject=pushed)
    carrier.registry.push(carrier.path, signature, signature.digest)
    archive = carrier.fetch("1", tmp_path / "1.tar", "format=oci&referrers=true")
    other = Carrier(carrier.registry, f"{carrier.path}-other", carrier.user)
    carrier.registry.push(other.path, image("before"), "before")
    said = other.send(archive)
    assert (said["tags"], said["digests"]) == (["1"], [pushed.digest, signature.digest])
    assert other.registry.everything(other.path, "1") == pushed.everything()
    assert [one["digest"] for one in other.registry.referrers(other.path, pushed.digest)] == [signature.digest]


def test_a_layout_that_tar_packed(carrier: Carrier, tmp_path: Path) -> None:
    """A layout that somebody packed with tar himself is as good as one that a client made."""
    pushed = multi_arch("by hand")
    layout = write_layout(pushed, tmp_path / "layout")
    subprocess.run(
        ["tar", "--create", "--zstd", "--file", tmp_path / "made.tar", "--directory", layout, "."], check=True
    )
    assert carrier.send(tmp_path / "made.tar")["tags"] == ["latest"]
    assert carrier.registry.everything(carrier.path, "latest") == pushed.everything()


def _check(carrier: Carrier, tag: str, saved: Content) -> None:
    """The registry has this image under `tag`, though perhaps otherwise compressed."""
    assert carrier.registry.manifest(carrier.path, tag).json["config"]["digest"] == saved.config.digest
    assert carrier.registry.unpacked(carrier.path, tag) == [gzip.decompress(layer.data) for layer in saved.layers]


def _files(podman: Program, name: str, directory: Path) -> frozenset[str]:
    container = podman("create", name).strip()
    try:
        podman("export", "--output", directory / "exported.tar", container)
    finally:
        podman("rm", container)
    return exported(directory / "exported.tar")


def test_curl_pipes_an_archive_into_podman(
    carrier: Carrier, podman: Program, quay: RunningQuay, repository: str, tmp_path: Path
) -> None:
    """One line of shell brings an image to an engine that has no login: curl, a password, and a pipe."""
    carrier.registry.push(carrier.path, image("piped"), "1")
    url = f"{quay.url}/api/v1/repository/{carrier.path}/manifest/1/archive"
    user = f"{carrier.user.name}:{carrier.user.password}"
    made = subprocess.run(["curl", "--silent", "--fail", "--user", user, url], check=True, capture_output=True).stdout
    loaded = subprocess.run([*podman.command, "load"], env=podman.env, input=made, check=True, capture_output=True)
    assert f"{repository}:1" in loaded.stdout.decode()
