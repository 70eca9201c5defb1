"""All that a registry has, in pages; and blobs that are found in whichever repository has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quay.database import Transaction
from quay.model import blob, inventory
from quay.oci.reference import Digest
from tests.unit.model.conftest import MakeRepository, MakeUser
from tests.unit.model.pushing import Client, image


def every(listed: Callable[..., Any], client: Client, limit: int) -> list[Any]:
    """All pages, one after the other."""
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page, after = listed(*client.at, after, limit)
        found += page.items() if isinstance(page, dict) else page
    return found


def test_pages(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """Tags of now, manifests in sight and blobs are listed to the last one, whatever the size of a page."""
    user("ada")
    client, other = (Client(transaction, make_repository(f"ada/{name}")) for name in ("app", "other"))
    images = [image(f"config {number}", layers=["base", f"layer {number}"]) for number in range(5)]
    for number, one in enumerate(images):
        client.push(one, f"v{number}", expires_after_s=60 if number == 4 else None)
    other.push(image("elsewhere"), "v0")
    client.push(images[0], "v1")
    for limit in (1, 2, 100):
        tags = dict(every(inventory.tags, client, limit))
        assert tags["ada/app:v1"] == images[0].digest
        assert set(tags) == {f"ada/app:v{number}" for number in range(5)}
        assert len(every(inventory.blobs, client, limit)) == 11
    assert images[1].digest not in every(inventory.manifests, client, 2)
    assert {images[0].digest, images[2].digest} < set(every(inventory.manifests, client, 2))
    client.later(61)
    assert "ada/app:v4" not in dict(every(inventory.tags, client, 100))


def test_adopted(transaction: Transaction, user: MakeUser, make_repository: MakeRepository) -> None:
    """A blob is linked from whichever repository has it, a private one of somebody else's, too; else nothing is."""
    user("ada")
    user("eve")
    source, target = Client(transaction, make_repository("ada/app")), Client(transaction, make_repository("eve/app"))
    digest = source.upload("a layer")
    adopted = blob.adopt_blob(*target.at, digest, lease_s=60)
    assert adopted is not None and adopted.size == 7
    assert blob.blob(*target.at, digest) == adopted
    assert blob.adopt_blob(*target.at, Digest.of(b"nobody has it"), lease_s=60) is None
