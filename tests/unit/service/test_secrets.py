"""An installation without configured secrets makes its own, once."""

from quay.config import Secret
from quay.service.secrets import secret_of


def test_a_configured_secret_counts(tmp_path):
    """What the configuration says is used, and nothing is written."""
    assert secret_of(Secret("configured, and long"), tmp_path / "secret_key") == b"configured, and long"
    assert list(tmp_path.iterdir()) == []


def test_it_is_made_once(tmp_path):
    """The first start makes it, in a directory that may not be there yet; every later one finds it."""
    kept = tmp_path / "var" / "secret_key"
    made = secret_of(None, kept)
    assert len(made) == 48
    assert secret_of(None, kept) == made
    assert [path.name for path in kept.parent.iterdir()] == ["secret_key"]


def test_only_its_owner_reads_it(tmp_path):
    """The file is nobody else's to read."""
    kept = tmp_path / "secret_key"
    secret_of(None, kept)
    assert kept.stat().st_mode & 0o777 == 0o600


def test_two_installations_share_nothing(tmp_path):
    """Every installation has a secret of its own."""
    assert secret_of(None, tmp_path / "a") != secret_of(None, tmp_path / "b")
