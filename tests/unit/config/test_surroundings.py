"""Where a process finds its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from quay.config import ConfigError, settle
from quay.config.surroundings import FILENAME, Surroundings


def test_the_file_in_the_data_directory(tmp_path: Path) -> None:
    """It is found if it is there; one that is given goes before it."""
    surroundings = Surroundings.of(None, {"QUAY_DATA": str(tmp_path)})
    assert surroundings.found is None
    (tmp_path / FILENAME).touch()
    assert surroundings.found == tmp_path / FILENAME
    assert Surroundings.of(Path("other.yaml"), {"QUAY_DATA": str(tmp_path)}).found == Path("other.yaml")


def test_a_data_directory_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may not see whether there is one is told so, and does not get the defaults."""

    def refused(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    surroundings = Surroundings.of(None, {"QUAY_DATA": str(tmp_path)})
    monkeypatch.setattr(Path, "is_file", refused)
    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(ConfigError, match=f"{FILENAME} cannot be read: Permission denied"):
        settle(surroundings)
