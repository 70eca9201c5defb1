"""Bells: who hears which, that each dismisses for himself, and how they go."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quay.database import Transaction
from quay.model import bell, namespace, permission, team
from quay.model.bell import Audience
from quay.model.namespace import Namespace
from tests.unit.model.conftest import MakeRepository, MakeUser


@pytest.fixture
def people(
    transaction: Transaction, user: MakeUser, organization: Callable[[str, Namespace], Namespace]
) -> dict[str, Namespace]:
    """An owner of an organization, a member of its team `readers`, and a stranger."""
    found = {name: user(name) for name in ("owner", "reader", "stranger")}
    found["buynlarge"] = organization("buynlarge", found["owner"])
    return found


@pytest.fixture
def readers(transaction: Transaction, people: dict[str, Namespace]) -> int:
    made = team.create(transaction, people["buynlarge"].id, "readers", "member")
    team.add_member(transaction, made, people["reader"].id)
    return made


def heard(txn: Transaction, who: Namespace) -> list[str]:
    return [each.kind for each in bell.page(txn, who.id, limit=100)]


def test_targets(transaction: Transaction, people: dict[str, Namespace], readers: int) -> None:
    """A user hears what is for him, an administrator what is for his organization, a member what is for his team."""
    bell.ring(transaction, "for-reader", {"a": 1}, Audience(target_id=people["reader"].id))
    bell.ring(transaction, "for-owners", {}, Audience(target_id=people["buynlarge"].id))
    bell.ring(transaction, "for-readers", {}, Audience(team_id=readers))
    assert heard(transaction, people["reader"]) == ["for-readers", "for-reader"]
    assert heard(transaction, people["owner"]) == ["for-owners"]
    assert heard(transaction, people["stranger"]) == []


def test_view(transaction: Transaction, people: dict[str, Namespace], readers: int) -> None:
    """A bell says what it is, since when, and for which organization."""
    uuid = bell.ring(transaction, "kind", {"a": 1}, Audience(target_id=people["reader"].id))
    found = bell.find(transaction, people["reader"].id, uuid)
    assert found is not None
    assert (found.uuid, found.kind, found.details, found.organization) == (uuid, "kind", {"a": 1}, None)
    assert (found.created_ms, found.dismissed) == (transaction.now_ms, False)
    for audience in (Audience(target_id=people["buynlarge"].id), Audience(team_id=readers)):
        bell.ring(transaction, "kind", {}, audience)
    for name in ("owner", "reader"):
        assert bell.page(transaction, people[name].id, limit=1)[0].organization == "buynlarge"


def test_others_do_not_see_it(transaction: Transaction, people: dict[str, Namespace], readers: int) -> None:
    """Whom it is not for can neither see nor dismiss it."""
    uuids = [
        bell.ring(transaction, "kind", {}, Audience(target_id=people["reader"].id)),
        bell.ring(transaction, "kind", {}, Audience(target_id=people["buynlarge"].id)),
        bell.ring(transaction, "kind", {}, Audience(team_id=readers)),
    ]
    for uuid in uuids:
        assert bell.find(transaction, people["stranger"].id, uuid) is None
        assert bell.dismiss(transaction, people["stranger"].id, uuid) is None
    assert bell.find(transaction, people["reader"].id, uuids[1]) is None


def test_dismiss(transaction: Transaction, people: dict[str, Namespace], readers: int) -> None:
    """Each dismisses for himself, as often as he likes, and may take it back."""
    team.add_member(transaction, readers, people["stranger"].id)
    uuid = bell.ring(transaction, "kind", {}, Audience(team_id=readers))
    reader, stranger = people["reader"], people["stranger"]
    for _ in range(2):
        dismissed = bell.dismiss(transaction, reader.id, uuid)
        assert dismissed is not None
        assert dismissed.dismissed
    assert heard(transaction, reader) == []
    assert heard(transaction, stranger) == ["kind"]
    assert bell.find(transaction, reader.id, uuid) == dismissed
    bell.dismiss(transaction, reader.id, uuid, False)
    assert heard(transaction, reader) == ["kind"]


def test_pages(transaction: Transaction, people: dict[str, Namespace]) -> None:
    """The latest come first, and dismissed ones leave no holes."""
    reader = people["reader"].id
    uuids = [bell.ring(transaction, f"kind-{number}", {}, Audience(target_id=reader)) for number in range(7)]
    bell.dismiss(transaction, reader, uuids[5])
    pages = [bell.page(transaction, reader, skip=skip, limit=3) for skip in (0, 3, 6)]
    assert [[each.kind[-1] for each in page] for page in pages] == [["6", "4", "3"], ["2", "1", "0"], []]
    assert bell.page(transaction, reader, skip=10**18, limit=3) == []


def test_silence(transaction: Transaction, people: dict[str, Namespace]) -> None:
    """What has become needless is found by its path."""
    for path in ("a/1", "a/1", "a/2", None):
        bell.ring(transaction, str(path), {}, Audience(target_id=people["reader"].id), lookup_path=path)
    assert bell.silence(transaction, "a/1") == 2
    assert bell.silence(transaction, "a/%") == 0
    assert heard(transaction, people["reader"]) == ["None", "a/2"]


def test_prune(transaction: Transaction, people: dict[str, Namespace]) -> None:
    """Old bells go, a few at a time."""
    for number in range(4):
        bell.ring(transaction, f"kind-{number}", {}, Audience(target_id=people["reader"].id))
        transaction.now_ms += 1000
    assert bell.prune(transaction, transaction.now_ms - 1500, 2) == 2
    assert bell.prune(transaction, transaction.now_ms - 1500, 2) == 1
    assert heard(transaction, people["reader"]) == ["kind-3"]


def test_audience(
    transaction: Transaction, people: dict[str, Namespace], readers: int, make_repository: MakeRepository
) -> None:
    """Of a private repository only those may be told who may pull from it; of a public one, every user."""
    secret, known = make_repository("buynlarge/secret"), make_repository("buynlarge/known", public=True)
    permission.grant(transaction, secret.id, grantee_id=people["reader"].id, role=permission.Role.READ)
    of_organization = Audience(target_id=people["buynlarge"].id)
    for kind, name, told in (
        ("user", "reader", Audience(target_id=people["reader"].id)),
        ("user", "owner", Audience(target_id=people["owner"].id)),
        ("user", "stranger", None),
        ("user", "buynlarge", None),
        ("user", "nobody", None),
        ("org", "buynlarge", of_organization),
        ("org", "reader", None),
        ("team", "readers", Audience(team_id=readers)),
        ("team", "nobody", None),
        ("moon", "reader", None),
    ):
        assert bell.audience(transaction, secret, kind, name) == told, (kind, name)
    assert bell.audience(transaction, known, "user", "stranger") == Audience(target_id=people["stranger"].id)
    namespace.set_enabled(transaction, people["stranger"].id, False)
    assert bell.audience(transaction, known, "user", "stranger") is None
    own = make_repository("owner/own")
    assert bell.audience(transaction, own, "org", "buynlarge") is None
    assert bell.audience(transaction, own, "team", "readers") is None
