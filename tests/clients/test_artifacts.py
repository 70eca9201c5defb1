"""
Artifacts: charts, signatures and bills of materials, over plain HTTP and through the clients that know of them.

Source: OCI Image Specification 1.1, "Guidelines for Artifact Usage"; OCI Distribution Specification 1.1, "Listing
Referrers"; cosign's signature specification; Helm, "Charts in OCI registries".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.conftest import logins, optional
from tests.clients.distribution import Distribution
from tests.clients.images import Content, artifact, held, image, index, layer, multi_arch, write_layout
from tests.clients.programs import Program
from tests.server import RunningQuay, User

pytestmark = pytest.mark.clients

SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SIGNED_PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SBOM = "application/spdx+json"
HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


def chart() -> Content:
    """A chart as helm pushes it."""
    files = {"demo/Chart.yaml": b"apiVersion: v2\nname: demo\nversion: 0.1.0\n", "demo/values.yaml": b"replicas: 1\n"}
    config = Content(HELM_CONFIG, b'{"name":"demo","version":"0.1.0","apiVersion":"v2"}')
    return artifact(HELM_CONFIG, layer(files, HELM_CHART), config=config)


def signature(subject: Content, *, attached: bool) -> Content:
    """A signature as cosign makes it, which names its subject only if it is `attached`."""
    payload = json.dumps({"critical": {"image": {"docker-manifest-digest": subject.digest}}}).encode()
    signed = Content(SIGNED_PAYLOAD, payload, facts={"annotations": {"dev.cosignproject.cosign/signature": "c2lnbmVk"}})
    return artifact(SIGNATURE, signed, subject=subject if attached else None, annotations={"signed-by": "somebody"})


def sbom(subject: Content) -> Content:
    return artifact(SBOM, Content(SBOM, b'{"spdxVersion":"SPDX-2.3"}'), subject=subject)


ARTIFACTS = {
    "chart": chart(),
    "any-type": artifact("application/x.anything.v1", Content("text/plain", b"anything\n")),
    "no-payload": artifact("application/x.note.v1", annotations={"note": "all is said in the annotations"}),
    "index": index(chart(), artifact("application/x.anything.v1", Content("text/plain", b"beside a chart\n"))),
}


@pytest.mark.parametrize("pushed", ARTIFACTS.values(), ids=ARTIFACTS.keys())
def test_an_artifact_comes_back_as_it_went(registry: Distribution, path: str, pushed: Content) -> None:
    """An artifact of any type keeps every byte, by its tag and by its digest."""
    registry.push(path, pushed, "1")
    assert registry.everything(path, "1") == pushed.everything()
    assert registry.everything(path, pushed.digest) == pushed.everything()


def test_referrers_are_listed_with_their_types(registry: Distribution, path: str) -> None:
    """A signature and a bill of materials are found at their subject, with types and annotations, and by type."""
    subject = image("signed")
    registry.push(path, subject, "1")
    attached = (signature(subject, attached=True), sbom(subject))
    for one in attached:
        registry.push(path, one, one.digest)
    listed = {one["digest"]: one for one in registry.referrers(path, subject.digest)}
    assert listed == {
        attached[0].digest: {
            **attached[0].descriptor,
            "artifactType": SIGNATURE,
            "annotations": {"signed-by": "somebody"},
        },
        attached[1].digest: {**attached[1].descriptor, "artifactType": SBOM},
    }
    assert [one["digest"] for one in registry.referrers(path, subject.digest, SBOM)] == [attached[1].digest]
    assert registry.referrers(path, subject.digest, "application/x.unknown") == []


def test_a_push_of_a_referrer_names_its_subject(registry: Distribution, path: str) -> None:
    """The answer says whose referrer it is, so that the client keeps no list itself; the subject may come later."""
    subject = multi_arch("subject")
    early = sbom(subject)
    for part in early.children:
        registry.put_blob(path, part.data)
    assert registry.put_manifest(path, early).headers["oci-subject"] == subject.digest
    assert [one["digest"] for one in registry.referrers(path, subject.digest)] == [early.digest]
    registry.push(path, subject, "1")
    assert [one["digest"] for one in registry.referrers(path, subject.digest)] == [early.digest]


def test_a_deleted_referrer_is_no_longer_listed(registry: Distribution, path: str) -> None:
    """Who takes a signature away finds the subject without it, and the subject itself untouched."""
    subject = image("unsigned again")
    registry.push(path, subject, "1")
    doomed = signature(subject, attached=True)
    registry.push(path, doomed, doomed.digest)
    registry.ask(202, "DELETE", f"/v2/{path}/manifests/{doomed.digest}")
    assert registry.referrers(path, subject.digest) == []
    assert registry.everything(path, "1") == subject.everything()


def test_a_signature_may_lie_at_a_tag(registry: Distribution, path: str) -> None:
    """What cosign puts at `sha256-<hex>.sig` is found there, and is no referrer."""
    subject = image("signed by tag")
    registry.push(path, subject, "1")
    tag = f"{subject.digest.replace(':', '-')}.sig"
    signed = signature(subject, attached=False)
    registry.push(path, signed, tag)
    assert registry.everything(path, tag) == signed.everything()
    assert registry.ask(200, "GET", f"/v2/{path}/tags/list").json["tags"] == ["1", tag]
    assert registry.referrers(path, subject.digest) == []


def test_skopeo_copies_a_signature_by_its_tag(
    skopeo: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """A client that knows nothing of artifacts copies one like an image."""
    subject = image("copied with its signature")
    signed = signature(subject, attached=False)
    source = write_layout(signed, tmp_path / "pushed")
    tag = f"{subject.digest.replace(':', '-')}.sig"
    skopeo("copy", "--preserve-digests", f"oci:{source}:latest", f"docker://{repository}:{tag}")
    skopeo("copy", "--preserve-digests", f"docker://{repository}:{tag}", f"dir:{tmp_path / 'pulled'}")
    assert registry.everything(path, tag) == signed.everything()
    assert signed.everything().items() <= held(tmp_path / "pulled").items()


@pytest.fixture(scope="module")
def login(workshop: Path, quay: RunningQuay, dev: User) -> Path:
    """A directory in which clients find that `dev` is logged in."""
    directory = workshop / "login"
    directory.mkdir()
    (directory / "config.json").write_text(logins(dev, quay.host))
    return directory


@pytest.fixture
def oras(home: Mapping[str, str], login: Path) -> Program:
    return optional("oras", home).having(DOCKER_CONFIG=login)


def test_oras_attaches_and_discovers(
    oras: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """Files are pushed, attached and discovered, and come back with the same bytes."""
    (tmp_path / "note.txt").write_text("attached\n")
    registry.push(path, image("oras"), "1")
    file = f"{tmp_path / 'note.txt'}:text/plain"
    loose = ("--plain-http", "--disable-path-validation")
    oras("attach", *loose, "--artifact-type", "application/x.note.v1", f"{repository}:1", file)
    (listed,) = registry.referrers(path, image("oras").digest)
    assert listed["artifactType"] == "application/x.note.v1"
    assert listed["digest"] in oras("discover", "--plain-http", "--format", "json", f"{repository}:1")
    assert b"attached\n" in registry.everything(path, listed["digest"]).values()
    oras("cp", "--recursive", "--from-plain-http", "--to-plain-http", f"{repository}:1", f"{repository}-copy:1")
    assert registry.referrers(f"{path}-copy", image("oras").digest) == [listed]


@pytest.fixture
def crane(home: Mapping[str, str], login: Path) -> Program:
    return optional("crane", home, "--insecure").having(DOCKER_CONFIG=login)


def test_crane_pushes_copies_and_validates(
    crane: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """An index goes up, is copied to another repository and found whole there."""
    pushed = multi_arch("crane")
    crane("push", "--index", write_layout(pushed, tmp_path / "pushed"), f"{repository}:1")
    (stored,) = registry.manifest(path, "1").json["manifests"]
    crane("copy", f"{repository}@{stored['digest']}", f"{repository}-copy:1")
    crane("validate", "--remote", f"{repository}-copy:1")
    assert registry.everything(f"{path}-copy", "1") == pushed.everything()


@pytest.fixture
def regctl(home: Mapping[str, str], login: Path, quay: RunningQuay) -> Program:
    client = optional("regctl", home).having(DOCKER_CONFIG=login, REGCTL_CONFIG=login / "regctl.json")
    client("registry", "set", "--skip-check", "--tls", "disabled", quay.host)
    return client


def test_regctl_copies_with_referrers(
    regctl: Program, registry: Distribution, repository: str, path: str, tmp_path: Path
) -> None:
    """An index comes out of an OCI layout byte for byte, and its referrers go with it to another repository."""
    pushed = multi_arch("regctl")
    regctl("image", "copy", f"ocidir://{write_layout(pushed, tmp_path / 'pushed')}:latest", f"{repository}:1")
    assert registry.everything(path, "1") == pushed.everything()
    attached = sbom(pushed)
    registry.push(path, attached, attached.digest)
    regctl("image", "copy", "--referrers", f"{repository}:1", f"{repository}-copy:1")
    assert [one["digest"] for one in registry.referrers(f"{path}-copy", pushed.digest)] == [attached.digest]
