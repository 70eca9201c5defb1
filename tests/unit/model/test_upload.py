"""Uploads are found by their owner in their repository, and ended once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model.repository import Repository, delete
from quay.model.upload import begin_upload, end_upload, find_upload, stale_uploads
from quay.oci.errors import NameUnknown

UUID = "5f1d5a0e-9a0f-4a0a-8d27-0a6f9c2e1a55"


@pytest.fixture
def repositories(user: Callable[..., object], make_repository: Callable[..., Repository]) -> list[Repository]:
    user("devtable")
    return [make_repository(f"devtable/{name}") for name in ("one", "two")]


def test_found_by_its_owner(transaction: Transaction, repositories: list[Repository]) -> None:
    """Only the one who began an upload finds it, and only in the repository to which it goes."""
    one, two = (repository.id for repository in repositories)
    begun = begin_upload(transaction, UUID, one, "user:devtable", "local")
    assert find_upload(transaction, UUID, repository_id=one, owner="user:devtable") == begun
    assert find_upload(transaction, UUID, repository_id=two, owner="user:devtable") is None
    assert find_upload(transaction, UUID, repository_id=one, owner="user:other") is None
    assert find_upload(transaction, "other", repository_id=one, owner="user:devtable") is None


def test_ended_once(transaction: Transaction, repositories: list[Repository]) -> None:
    """Of two that end an upload, one is told that it did."""
    begin_upload(transaction, UUID, repositories[0].id, "user:devtable", "local")
    assert end_upload(transaction, UUID)
    assert not end_upload(transaction, UUID)


def test_stale(transaction: Transaction, repositories: list[Repository]) -> None:
    """Uploads that began before a time are listed, the oldest first."""
    for name in ("a", "b", "c"):
        begin_upload(transaction, name, repositories[0].id, "user:devtable", "local")
        transaction.now_ms += 1
    assert [upload.uuid for upload in stale_uploads(transaction, transaction.now_ms - 1, 10)] == ["a", "b"]
    assert [upload.uuid for upload in stale_uploads(transaction, transaction.now_ms, 1)] == ["a"]


def test_deleted_repository(transaction: Transaction, repositories: list[Repository]) -> None:
    """No upload begins in a repository that has been deleted, and those that had begun are gone with it."""
    one = repositories[0].id
    begin_upload(transaction, UUID, one, "user:devtable", "local")
    delete(transaction, one)
    assert find_upload(transaction, UUID, repository_id=one, owner="user:devtable") is None
    with pytest.raises(NameUnknown):
        begin_upload(transaction, "other", one, "user:devtable", "local")
