"""What most tests of the model begin with: somebody, and something of his."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import namespace, repository
from quay.model.namespace import Namespace
from quay.model.repository import Repository
from quay.oci.reference import RepositoryName

TWO_WEEKS = 14 * 24 * 3600

MakeUser = Callable[[str], Namespace]
MakeRepository = Callable[..., Repository]


@pytest.fixture
def user(transaction: Transaction) -> MakeUser:
    """Make a user of this name."""
    return lambda name: namespace.create_user(transaction, name, time_machine_s=TWO_WEEKS)


@pytest.fixture
def organization(transaction: Transaction) -> Callable[[str, Namespace], Namespace]:
    """Make an organization of this name for an owner."""
    return lambda name, owner: namespace.create_organization(
        transaction, name, owner_id=owner.id, time_machine_s=TWO_WEEKS
    )


@pytest.fixture
def make_repository(transaction: Transaction) -> MakeRepository:
    """Make a repository `name` in the namespace that the name says."""

    def make(name: str, *, creator_id: int | None = None, public: bool = False) -> Repository:
        parsed = RepositoryName.parse(name)
        owner = namespace.find(transaction, parsed.namespace)
        assert owner is not None
        return repository.create(transaction, parsed, namespace_id=owner.id, creator_id=creator_id, public=public)

    return make
