"""Referrers: listed by subject, present or not, filtered by type, in pages of constant cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from quay.database import Transaction
from quay.database.schema import manifest as manifest_row
from quay.model.content import delete_manifest
from quay.model.referrer import BATCH, PAGE_BYTES, page, referrers
from quay.model.repository import Repository
from quay.model.tag import delete_tag
from quay.model.time_machine import expire_tags
from quay.oci.manifest import Manifest
from tests.unit.model.pushing import HOUR, Client, assert_constant_cost, image, plans

APP = image("app")


@pytest.fixture
def client(transaction: Transaction, user: Callable[..., object], make_repository: Callable[..., Repository]) -> Client:
    user("devtable")
    return Client(transaction, make_repository("devtable/app"))


def listed(client: Client, subject: Manifest = APP, artifact_type: str | None = None) -> list[str]:
    found = referrers(*client.at, subject.digest, artifact_type=artifact_type, limit=100)
    return [referrer.descriptor.digest for referrer in found]


def test_descriptor(client: Client) -> None:
    """A referrer is described by its media type, digest, size, artifact type and annotations."""
    sbom = image("sbom", subject=APP, artifact_type="application/spdx+json", annotations={"by": "syft"})
    client.push(APP, "latest")
    client.push(sbom)
    found = referrers(*client.at, APP.digest, artifact_type=None, limit=10)
    assert [referrer.descriptor for referrer in found] == [sbom.descriptor()]


def test_absent_subject(client: Client) -> None:
    """A referrer may come before its subject, is listed at once, and is kept by the subject when that comes."""
    signature = image("signature", subject=APP)
    client.push(signature)
    assert listed(client) == [signature.digest]
    client.push(APP, "latest")
    client.later(HOUR)
    expire_tags(client.txn, 10)
    assert listed(client) == [signature.digest]


def test_gone_with_the_subject(client: Client) -> None:
    """Referrers of referrers go out of sight with the subject of all; one with a tag of its own stays."""
    signature = image("signature", subject=APP)
    countersignature = image("countersignature", subject=signature)
    client.push(APP, "latest")
    client.push(signature)
    client.push(countersignature)
    client.push(image("sbom", subject=APP), "sbom")
    delete_tag(*client.at, "latest")
    assert listed(client) == [image("sbom", subject=APP).digest]
    assert listed(client, signature) == []


def test_filter(client: Client) -> None:
    """The filter compares the artifact type, which of an image without one is the type of its config."""
    typed = image("typed", subject=APP, artifact_type="application/x")
    plain = image("plain", subject=APP)
    client.push(APP, "latest")
    client.push(typed)
    client.push(plain)
    assert listed(client, artifact_type="application/x") == [typed.digest]
    assert listed(client, artifact_type="application/vnd.oci.image.config.v1+json") == [plain.digest]
    assert listed(client, artifact_type="application/y") == []


def test_announced(client: Client) -> None:
    """Whoever changes the referrers of a subject announces it."""
    signature = image("signature", subject=APP)
    key = ("referrers", client.repository.id, APP.digest)
    client.push(signature)
    assert key in client.txn.changes
    txn = Transaction(client.txn.connection, client.txn.now_ms)
    delete_manifest(txn, client.repository.id, signature.digest)
    assert key in txn.changes


def test_pages_cost_the_same_everywhere(client: Client) -> None:
    """A page of 3,000 referrers is one range of an index, and the pages together are all."""
    client.push(APP, "latest")
    first = client.push(image("signature", subject=APP)).manifest
    values = client.txn.execute(sa.select(manifest_row).where(manifest_row.c.id == first.id)).one()._asdict()
    values.pop("id")
    rows = [values | {"digest": f"sha256:{number:064}"} for number in range(3_000)]
    client.txn.execute(sa.insert(manifest_row), rows)
    page = referrers(*client.at, APP.digest, artifact_type=None, limit=2_990)
    rest = referrers(*client.at, APP.digest, artifact_type=None, after_id=page[-1].id, limit=100)
    assert len({referrer.descriptor.digest for referrer in page + rest}) == 3_001
    assert_constant_cost(
        plans(
            client.txn,
            lambda: referrers(*client.at, APP.digest, artifact_type=None, after_id=page[-1].id, limit=5),
        )
    )


def test_a_page_ends_at_its_limit(client: Client) -> None:
    """Following the pages gives every referrer once, and the last page says that it is the last."""
    client.push(APP, "latest")
    wanted = [client.push(image(f"signature-{number}", subject=APP)).manifest.digest for number in range(2 * BATCH + 5)]
    seen: list[str] = []
    after, more = 0, True
    while more:
        found, more = page(*client.at, APP.digest, artifact_type=None, after_id=after, limit=BATCH + 3)
        seen += [referrer.descriptor.digest for referrer in found]
        after = found[-1].id
    assert seen == wanted


def test_a_page_of_large_referrers_is_short(client: Client) -> None:
    """Annotations of a manifest's size cannot make a page larger than a manifest too many."""
    client.push(APP, "latest")
    for number in range(BATCH + 5):
        client.push(image(f"large-{number}", subject=APP, annotations={"text": "x" * (PAGE_BYTES // 4)}))
    found, more = page(*client.at, APP.digest, artifact_type=None, after_id=0, limit=1000)
    assert (len(found), more) == (4, True)
    seen = len(found)
    while more:
        found, more = page(*client.at, APP.digest, artifact_type=None, after_id=found[-1].id, limit=1000)
        seen += len(found)
    assert seen == BATCH + 5
