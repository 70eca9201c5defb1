"""`quay import`: what it takes, where it gets a password from, and what it says of how it is called."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quay.cli import quay
from quay.cli.importing import _credentials, _has_password
from quay.config.surroundings import Surroundings

PASSWORD = "secret-there"


def run(*arguments: str, stdin: str = "", **environ: str) -> Result:
    return CliRunner().invoke(quay, ["import", *arguments], obj=environ, input=stdin)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("registry", "r.example"), "--all"),
        (("registry", "r.example", "--all", "--repository", "a/*"), "--all"),
        (("registry", "r.example", "--all", "--username", "me"), "$SOURCE_PASSWORD"),
        (("registry", "r.example", "--all", "--password-stdin"), "--username"),
        (("registry", "r.example", "--all", "--quay-api"), "$SOURCE_TOKEN"),
        (("quay", "--database", "postgresql://q:secret@db/quay"), "$PGPASSWORD"),
    ],
)
def test_called_wrongly(arguments: tuple[str, ...], said: str) -> None:
    """Whoever calls it wrongly is told what is missing, and no password is repeated."""
    result = run(*arguments)
    assert (result.exit_code, said in result.output) == (2, True), result.output
    assert "secret" not in result.output


def test_there_is_no_option_for_a_password() -> None:
    """No password can be given as an argument, where every user of the machine could read it."""
    assert run("registry", "r.example", "--all", "--username", "me", "--password", PASSWORD).exit_code == 2


def test_passwords_in_urls() -> None:
    """Passwords are found wherever a URL of a database may have them."""
    assert _has_password("postgresql://q:secret@db/quay")
    assert _has_password("postgresql:///quay?host=/run&password=secret")
    assert not _has_password("postgresql://q@db:5432/quay")
    assert not _has_password("sqlite:////path/quay.db")


def auth_file(tmp_path: Path, **auths: str) -> Path:
    """What podman login writes."""
    file = tmp_path / "auth.json"
    coded = {host: {"auth": base64.b64encode(pair.encode()).decode()} for host, pair in auths.items()}
    file.write_text(json.dumps({"auths": coded}))
    return file


def credentials(file: Path | None, url: str, **environ: str) -> tuple[str, str] | None:
    found = _credentials(Surroundings(None, environ), url, None, False, file)
    return None if found is None else (found.username, found.password)


def test_the_file_of_podman(tmp_path: Path) -> None:
    """What docker or podman has written down is used for the registry that it is for; the environment may name it."""
    file = auth_file(tmp_path, **{"r.example:5000": "me:se:cret", "https://index.docker.io/v1/": "hub:h"})
    assert credentials(file, "https://r.example:5000/") == ("me", "se:cret")
    assert credentials(None, "r.example:5000", REGISTRY_AUTH_FILE=str(file)) == ("me", "se:cret")
    assert credentials(file, "docker.io") == ("hub", "h")
    assert credentials(file, "other.example") is None
    assert credentials(None, "r.example:5000") is None


def test_the_environment() -> None:
    """The password of a user may be in the environment."""
    found = _credentials(Surroundings(None, {"SOURCE_PASSWORD": PASSWORD}), "r.example", "me", False, None)
    assert found is not None and (found.username, found.password) == ("me", PASSWORD)
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize("text", ["{", "{}", '{"auths":{"r.example":{}}}', '{"auths":{"r.example":{"auth":"%"}}}'])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    """A file without a password that could be used is told in a sentence."""
    file = tmp_path / "auth.json"
    file.write_text(text)
    result = run("registry", "r.example", "--all", "--auth-file", str(file), QUAY_DATA=str(tmp_path))
    assert (result.exit_code, "no password" in result.output) == (1, True), result.output
