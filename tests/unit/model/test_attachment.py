"""What a list of tags tells beside its rows: signatures, attestations, SBOMs and platforms."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model.attachment import attached, kind_of, platforms
from quay.model.repository import Repository
from quay.model.tag import delete_tag
from quay.model.time_machine import lifetimes
from quay.oci.manifest import parse
from quay.oci.media_types import OCI_INDEX
from tests.unit.model.pushing import Client, image

APP = image("app")


@pytest.fixture
def client(transaction: Transaction, user: Callable[..., object], make_repository: Callable[..., Repository]) -> Client:
    user("devtable")
    made = Client(transaction, make_repository("devtable/app"))
    made.push(APP, "latest")
    return made


def cosign(suffix: str) -> str:
    return f"{APP.digest.replace(':', '-')}.{suffix}"


def test_tags_of_cosign(client: Client) -> None:
    """A manifest has what tags made of its digest attach to it, as long as they are there."""
    client.push(image("sig"), cosign("sig"))
    client.push(image("sbom"), cosign("sbom"))
    assert attached(*client.at, [APP.digest]) == {APP.digest: ["sbom", "signature"]}
    delete_tag(*client.at, cosign("sig"))
    assert attached(*client.at, [APP.digest]) == {APP.digest: ["sbom"]}


def test_referrers(client: Client) -> None:
    """A manifest has what refers to it, each kind once; nothing is nothing."""
    for name in ("one", "two"):
        client.push(image(name, subject=APP, artifact_type="application/spdx+json"))
    assert attached(*client.at, [APP.digest]) == {APP.digest: ["sbom"]}
    assert attached(*client.at, []) == {}
    assert attached(*client.at, [image("other").digest]) == {}


def test_of_another_repository(client: Client, make_repository: Callable[..., Repository]) -> None:
    """What is attached in one repository is not in another one."""
    client.push(image("sig", subject=APP), cosign("sig"))
    other = make_repository("devtable/other")
    assert attached(client.txn, other.id, [APP.digest]) == {}


def test_folded(client: Client) -> None:
    """A folded list leaves out those tags, and no others that look like them."""
    names = [cosign("sig"), cosign("att"), cosign("sbom"), cosign("sigs"), "sha256-short.sig", "sig"]
    for name in names:
        client.push(image(name), name)
    kept = {row.name for row in lifetimes(*client.at, active=True, folded=True, limit=100)}
    assert kept == {"latest", cosign("sigs"), "sha256-short.sig", "sig"}
    assert len(lifetimes(*client.at, active=True, limit=100)) == 7


def test_platforms(client: Client) -> None:
    """An index tells each platform once, in order, without those that are none."""
    on = [("linux", "amd64"), ("linux", "arm64", "v8"), ("linux", "amd64"), ("unknown", "unknown")]
    manifests = [
        APP.descriptor().as_json() | {"platform": dict(zip(("os", "architecture", "variant"), one, strict=False))}
        for one in on
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
    client.push(parse(raw, OCI_INDEX), "multi")
    (row,) = lifetimes(*client.at, name="multi", limit=1)
    assert platforms(*client.at, [row.manifest_id]) == {row.manifest_id: ["linux/amd64", "linux/arm64/v8"]}
    assert platforms(*client.at, []) == {}


@pytest.mark.parametrize(
    ("artifact_type", "kind"),
    [
        ("application/vnd.dev.cosign.artifact.sig.v1+json", "signature"),
        ("application/vnd.cncf.notary.signature", "signature"),
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "signature"),
        ("application/vnd.in-toto+json", "attestation"),
        ("application/vnd.cyclonedx+json", "sbom"),
        ("application/spdx+json", "sbom"),
        ("text/plain", "other"),
        (None, "other"),
    ],
)
def test_kinds(artifact_type: str | None, kind: str) -> None:
    """The type of an artifact says what it is to its subject."""
    assert kind_of(artifact_type) == kind
