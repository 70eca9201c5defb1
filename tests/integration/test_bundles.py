"""
Bundles between two real servers that know nothing of each other: what is pushed to one by a real client is pulled from
the other, though the load was killed in the middle; and with a receipt, only what is new travels.
"""

from __future__ import annotations

import json
import os
import random
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients import images
from tests.clients.distribution import Distribution
from tests.clients.images import Content, artifact, image, multi_arch, write_directory, write_layout
from tests.clients.programs import Program
from tests.conftest import missing
from tests.server import RunningQuay, ServerFailed

LIMIT = 2_500_000
"""Bytes of a volume: too few for the images below."""


class Site:
    """A server, with a superuser and a client of his."""

    def __init__(self, data: Path, env: Mapping[str, str] | None = None) -> None:
        self.data = data
        self.server = RunningQuay(data, env)
        self.user = self.server.add_user("dev", superuser=True)
        self.client = Distribution(self.server.host, self.user)

    def bundle(self, *arguments: object) -> str:
        return self.server.command("bundle", *map(str, arguments))

    def load(self, *arguments: object, crash_at: str = "") -> str:
        beside = RunningQuay(self.data, {"QUAY_CRASH_AT": crash_at})
        return beside.command("bundle", "load", *map(str, arguments))


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("near"), {"QUAY_CREATE_NAMESPACE_ON_PUSH": "true"})
    with site.server:
        yield site


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory, near: Site) -> Iterator[Site]:
    """A server that trusts the other one's key, and has never seen it."""
    site = Site(tmp_path_factory.mktemp("far"))
    key = site.data / "near.pem"
    near.bundle("key", key)
    site.bundle("trust", key)
    with site.server:
        yield site


@pytest.fixture
def skopeo(tmp_path: Path) -> Program:
    if not any((Path(place) / "skopeo").exists() for place in os.environ["PATH"].split(":")):
        missing("clients", "skopeo is not installed")
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    return Program(("skopeo", "--policy", str(policy)), env)


def heavy(word: str, megabytes: int = 2) -> Content:
    """An image with a layer that nothing makes smaller."""
    config = Content(images.OCI_CONFIG, json.dumps({"architecture": "amd64", "os": "linux", "said": word}).encode())
    layer = Content(images.OCI_LAYER, random.Random(word).randbytes(megabytes * 1_000_000))
    return images._manifest(images.OCI_MANIFEST, config, (layer,), "amd64")


def signature_of(subject: Content) -> Content:
    payload = Content("application/vnd.dev.cosign.simplesigning.v1+json", f"signed {subject.digest}".encode())
    return artifact("application/vnd.dev.cosign.artifact.sig.v1+json", payload, subject=subject)


def test_there_and_back(near: Site, far: Site, skopeo: Program, tmp_path: Path) -> None:
    """
    Images, an index, signatures of both kinds: pushed by skopeo, made into volumes, loaded by a process that is killed
    in the middle and begun again, pulled by skopeo: every byte is the same, and what had arrived was not read again.
    """
    web, base = multi_arch("there and back"), heavy("base", 6)
    pushing = ("copy", "--all", "--preserve-digests", "--dest-tls-verify=false", "--dest-creds", "dev:password123")
    for content, name in ((web, "acme/web:1.0"), (base, "acme/base:6")):
        source = write_directory(content, tmp_path / name.replace("/", "-"))
        skopeo(*pushing, f"dir:{source}", f"docker://{near.server.host}/{name}")
    near.client.push("acme/web", signature_of(web), "attached")  # by its subject, and under a tag that does not go
    near.client.push("acme/web", artifact("sig", Content("text/plain", b"cosign")), f"{_cosign(web)}.sig")

    bundle = tmp_path / "out" / "acme.bundle"
    bundle.parent.mkdir()
    near.bundle("make", bundle, "acme/web:1.*", "acme/base", "--max-size", LIMIT)
    volumes = sorted(bundle.parent.iterdir())
    assert len(volumes) == 3
    assert max(volume.stat().st_size for volume in volumes) <= LIMIT

    assert "It is whole." in far.bundle("verify", *reversed(volumes))
    with pytest.raises(ServerFailed):
        far.load(bundle.parent, crash_at="blob.linked:3")
    with pytest.raises(Exception, match="404"):
        far.client.manifest("acme/web", "1.0")
    said = far.load(bundle.parent)
    assert "3 tags loaded" in said
    assert _read_of(said) < sum(volume.stat().st_size for volume in volumes) - 6_000_000

    pulling = ("copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--src-creds", "dev:password123")
    for content, name in ((web, "acme/web:1.0"), (base, "acme/base:6")):
        target = tmp_path / f"pulled-{name.replace('/', '-')}"
        skopeo(*pulling, f"docker://{far.server.host}/{name}", f"dir:{target}")
        assert content.everything().items() <= images.held(target).items()
    listed = far.client.ask(200, "GET", f"/v2/acme/web/referrers/{web.digest}").json["manifests"]
    assert [one["digest"] for one in listed] == [signature_of(web).digest]
    assert far.client.everything("acme/web", f"{_cosign(web)}.sig")
    assert far.client.ask(404, "GET", "/v2/acme/web/manifests/attached")


def _cosign(content: Content) -> str:
    return content.digest.replace(":", "-")


def _read_of(said: str) -> float:
    number, unit = said.rpartition("Read: ")[2].rstrip(".\n").split()
    return float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20}[unit]


def test_a_receipt(near: Site, far: Site, tmp_path: Path) -> None:
    """With a receipt of the far side, only what is new is in the next bundle; and that can be loaded there."""
    first, second = image("one"), image("two")
    both = images.index(first, second)
    near.client.push("delta/app", first, "1")
    near.bundle("make", tmp_path / "first", "delta/*")
    far.load(tmp_path / "first")

    far.bundle("receipt", tmp_path / "receipt")
    far.bundle("key", tmp_path / "far.pem")
    near.client.push("delta/app", both, "2")
    near.bundle("trust", tmp_path / "far.pem", "--name", "far")
    near.bundle("make", tmp_path / "second", "delta/*", "--receipt", tmp_path / "receipt")

    with tarfile.open(tmp_path / "second") as tar:
        carried = {name.rpartition("/")[2] for name in tar.getnames() if name.startswith("blobs/")}
    known = {part.digest for part in first.walk() if not part.is_manifest}
    assert carried == {digest.removeprefix("sha256:") for digest in both.everything() if digest not in known}
    assert "without" in far.bundle("verify", tmp_path / "second")
    assert "1 tag loaded" in far.load(tmp_path / "second")
    assert far.client.everything("delta/app", "2") == both.everything()


def test_what_docker_saved(far: Site, tmp_path: Path) -> None:
    """What docker saves is taken under the names that it has, from an archive that is compressed."""
    one = image("others", docker=True)
    said = far.load(_saved(one, tmp_path / "saved.tar", "registry.example.com/others/saved:9"), "--accept-unsigned")
    assert "1 tag loaded" in said
    assert far.client.manifest("others/saved", "9").json["config"]["digest"] == one.config.digest


def _saved(content: Content, path: Path, name: str) -> Path:
    layout = write_layout(content, path.with_suffix(".saved"))
    places = [f"blobs/{part.digest.replace(':', '/')}" for part in content.children]
    (layout / "manifest.json").write_text(json.dumps([{"Config": places[0], "RepoTags": [name], "Layers": places[1:]}]))
    with tarfile.open(path, "w:gz") as tar:
        for part in (layout / "manifest.json", *sorted((layout / "blobs").rglob("*"))):
            tar.add(part, arcname=str(part.relative_to(layout)), recursive=False)
    return path
