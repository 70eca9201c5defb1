"""The dataset of the benchmarks, at a thousandth of its size."""

import pytest
import sqlalchemy as sa

from quay.database import once, schema
from quay.model import activity, logs, referrer, repository, seal, tag
from tests.benchmarks import dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The database, and what was said while it was made."""
    url = f"sqlite:///{tmp_path_factory.mktemp('dataset') / 'quay.db'}"
    said: list[str] = []
    dataset.make(url, dataset.Sizes().scaled(0.001), echo=said.append)
    return url, said


def _rows(txn, table):
    return txn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_there_is_so_much_of_everything(made):
    """Repositories, blobs and audit entries are as many as the factor says, besides what the images need."""
    url, _ = made
    assert once(url, _rows, schema.repository) == 10 + 2
    assert once(url, _rows, schema.blob) >= 200
    assert once(url, _rows, schema.audit) == 1000


def test_one_repository_has_the_tags(made):
    """All tags are in one repository, and can be listed in order."""
    url, _ = made
    tagged = once(url, repository.find, dataset.TAGGED)
    names = [dataset.tag_name(number) for number in range(10)]
    assert once(url, tag.tags, tagged.id, after=None, limit=100) == names


def test_one_manifest_has_the_referrers(made):
    """The subject is there, and its referrers are found by its digest."""
    url, _ = made
    referred = once(url, repository.find, dataset.REFERRED)
    digest = once(url, tag.resolve_tag, referred.id, dataset.SUBJECT).digest
    assert digest == dataset.image(dataset.SUBJECT).digest
    found = once(url, referrer.referrers, referred.id, digest, artifact_type=None, limit=10)
    assert len(found) == 1


def test_the_entries_of_the_audit_log_are_in_order(made):
    """The latest entry is that of the highest number."""
    url, _ = made
    latest = once(url, logs.page, logs.Selection(), limit=2)
    assert [one.entry.details["tag"] for one in latest.entries] == [dataset.tag_name(999), dataset.tag_name(998)]


def test_the_log_is_sealed_and_counted(made):
    """The server that gets the dataset has no old entries to seal, and knows how active the repository was."""
    url, _ = made
    assert once(url, seal.head).entries == 1000
    assert once(url, lambda txn: seal.extend(txn, b"", 10)) is None
    tagged = once(url, repository.find, dataset.TAGGED)
    assert once(url, activity.popularity, [tagged.id]) == {tagged.id: 1000}


def test_it_says_how_long_each_part_took(made):
    """Whoever waits for it knows what it does."""
    _, said = made
    assert [line.rpartition(":")[0] for line in said[1:3]] == ["10 repositories", "200 blobs"]


def test_a_factor_leaves_one_of_each():
    """However small the factor, no part of the dataset is missing."""
    assert dataset.Sizes().scaled(1e-9) == dataset.Sizes(1, 1, 1, 1, 1)
