"""Labels of manifests, on both engines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import label
from quay.model.content import LABEL_LIMIT
from quay.model.label import LabelInvalid
from quay.model.repository import Repository
from tests.unit.model.pushing import Client, image


@pytest.fixture
def client(transaction: Transaction, user: Callable[..., object], make_repository: Callable[..., Repository]) -> Client:
    user("devtable")
    return Client(transaction, make_repository("devtable/app"))


@pytest.fixture
def manifest_id(client: Client) -> int:
    """A manifest that came with one label."""
    pushed = image("app")
    for blob in pushed.blobs():
        client.upload("app")
        assert blob.digest
    return client.put(pushed, "latest", labels={"maintainer": "me"}).manifest.id


def test_life_of_a_label(client: Client, manifest_id: int) -> None:
    """A label that was added is found and goes; what came with the image stays."""
    (came,) = label.labels(client.txn, manifest_id)
    assert (came.key, came.value, came.source) == ("maintainer", "me", "manifest")
    made = label.add(client.txn, client.repository.id, manifest_id, "stage/x", '{"a": 1}', "application/json")
    assert label.labels(client.txn, manifest_id) == [came, made]
    assert label.labels(client.txn, manifest_id, prefix="stage") == [made]
    assert label.labels(client.txn, manifest_id, prefix="%") == []
    assert label.find(client.txn, manifest_id, made.uuid) == made
    assert label.find(client.txn, manifest_id + 1, made.uuid) is None
    assert label.remove(client.txn, manifest_id + 1, made.uuid) is None
    assert label.remove(client.txn, manifest_id, made.uuid) == made
    assert label.remove(client.txn, manifest_id, made.uuid) is None
    with pytest.raises(LabelInvalid, match="came with the image"):
        label.remove(client.txn, manifest_id, came.uuid)


@pytest.mark.parametrize("key", ["", "a", "-a", "a-", "a b", "ä/b", "a\nb", "a" * 256])
def test_keys(client: Client, manifest_id: int, key: str) -> None:
    """A key is a name."""
    with pytest.raises(LabelInvalid, match="cannot be the key of a label"):
        label.add(client.txn, client.repository.id, manifest_id, key, "", None)


@pytest.mark.parametrize("value", ["{", "", "[" * 10_000])
def test_values(client: Client, manifest_id: int, value: str) -> None:
    """A value that is said to be JSON is JSON; what is plain may be anything of a sensible length."""
    with pytest.raises(LabelInvalid, match="is not JSON"):
        label.add(client.txn, client.repository.id, manifest_id, "key", value, "application/json")
    assert label.add(client.txn, client.repository.id, manifest_id, "key", value, None).media_type == "text/plain"
    with pytest.raises(LabelInvalid, match="characters at most"):
        label.add(client.txn, client.repository.id, manifest_id, "key", "x" * (label.VALUE_LIMIT + 1), None)


def test_enough(client: Client, manifest_id: int) -> None:
    """A manifest has so many labels and no more."""
    for number in range(LABEL_LIMIT - 1):
        label.add(client.txn, client.repository.id, manifest_id, f"key-{number}", "", None)
    with pytest.raises(LabelInvalid, match="can have no more"):
        label.add(client.txn, client.repository.id, manifest_id, "key", "", None)
