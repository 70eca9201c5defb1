"""`quay setup`: without a browser, the same questions, the same judgement, and sentences for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from quay import authority, config
from quay.cli import quay
from quay.database import once
from quay.model import namespace
from quay.setup import CertificateFiles

ADA = {"name": "ada", "email": "ada@example.org", "password": "correct-horse"}
NAMES = {"hostname": "registry.example.org", "listen": ["127.0.0.1:0"], "plain": [], "others": ["10.0.0.5"]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def run(data: Path, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(quay, ["setup", *arguments], obj={"QUAY_DATA": str(data), **environ})


def answer(data: Path, answers: Any, *options: str, **environ: str) -> Result:
    file = data.parent / "answers.yaml"
    file.write_text(answers if isinstance(answers, str) else yaml.safe_dump(answers))
    return run(data, "--answers", str(file), *options, **environ)


def test_all_of_it(data: Path) -> None:
    """The administrator, the certificate and the configuration are there, and the next start needs nothing more."""
    done = answer(data, {"administrator": ADA, "names": NAMES, "storage": {"blobs": "there"}})
    assert done.exit_code == 0, done.output
    found = config.load(data / "quay.yaml", {})
    assert (str(found.hostname), found.scheme) == ("registry.example.org", "https")
    assert found.tls_certificate is not None
    assert found.tls_certificate.exists()
    made = once(found.database_url, namespace.find, "ada")
    assert made is not None
    assert made.superuser
    assert "correct-horse" not in done.output


def test_a_password_from_elsewhere(data: Path) -> None:
    """No password need be in the file."""
    given = {"administrator": {**ADA, "password": {"env": "SECRET"}}, "names": NAMES}
    assert answer(data, given, SECRET="correct-horse").exit_code == 0


def test_again(data: Path) -> None:
    """Done again, it changes nothing that was not answered otherwise, and makes no second administrator."""
    given = {"administrator": ADA, "names": NAMES}
    answer(data, given)
    text = (data / "quay.yaml").read_text()
    done = answer(data, {**given, "administrator": {**ADA, "name": "eve", "email": "eve@example.org"}})
    assert "has an administrator already: eve was not made" in done.output
    assert (data / "quay.yaml").read_text() == text


def test_a_rehearsal(data: Path) -> None:
    """With --dry-run everything is tried, and nothing is there afterwards."""
    done = answer(data, {"administrator": ADA, "names": NAMES, "storage": {"blobs": "there"}}, "--dry-run")
    assert done.exit_code == 0, done.output
    assert "SERVER_HOSTNAME: registry.example.org" in done.output
    assert not {"quay.yaml", "quay.db", "tls", "there"} & {path.name for path in data.iterdir()}


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ("", "is not a mapping of administrator, names and storage"),
        ("- a", "is not a mapping"),
        ("a: [", "answers.yaml"),
        ({"admin": ADA}, "admin: there is no such part; there are administrator, names and storage"),
        ({"names": "registry"}, "names: is not a mapping"),
        ({"administrator": {"name": "ada"}}, "administrator.email: is missing"),
        ({"administrator": {**ADA, "password": "short"}}, "administrator.password: Invalid password"),
        ({"names": {**NAMES, "hostname": "a b"}}, "hostname: 'a b' is not a host name"),
        ({"names": {**NAMES, "tls": "given"}}, "There is no certificate yet"),
        ({"administrator": {**ADA, "name": "A B"}, "names": NAMES}, "A B"),
        (
            {"names": NAMES, "storage": {"database": "mysql"}},
            "database: 'mysql' is not one of kept, sqlite",
        ),
        ({"names": NAMES, "storage": {"database": "postgresql", "host": "nowhere.invalid"}}, "not known to the DNS"),
    ],
)
def test_what_will_not_do(data: Path, answers: Any, sentence: str) -> None:
    """Each refusal is a sentence, and no configuration is written."""
    failed = answer(data, answers)
    assert failed.exit_code == 1, failed.output
    assert sentence in failed.output
    assert not (data / "quay.yaml").exists()


def test_a_certificate_in_a_file(data: Path, tmp_path: Path) -> None:
    """A certificate and its key are named by their files; without --dry-run they are taken."""
    from datetime import UTC, datetime

    from quay import authority

    now = datetime.now(UTC)
    pair = authority.issue(authority.found("Company", now), ["registry.example.org"], now)
    (tmp_path / "pair.pem").write_bytes(pair.pem)
    where = {"file": str(tmp_path / "pair.pem")}
    done = answer(data, {"names": {**NAMES, "tls": "given", "certificate": where, "key": where}})
    assert done.exit_code == 0, done.output
    assert (data / "tls" / "server.pem").read_bytes() == pair.pem


def test_the_address(data: Path) -> None:
    """`quay setup url` prints an address with a token, another one each time."""
    first, second = run(data, "url").output, run(data, "url").output
    assert first.startswith("http://127.0.0.1:8080/setup/?token=")
    assert first != second


def test_no_address_any_more(data: Path) -> None:
    """Where there is an administrator, it says who goes on, and how."""
    answer(data, {"administrator": ADA, "names": NAMES})
    failed = run(data, "url")
    assert failed.exit_code == 1
    assert "https://registry.example.org/setup/ after signing in" in failed.output


def test_switched_off(data: Path) -> None:
    """Without the console there is no address."""
    failed = run(data, "url", QUAY_FEATURE_SETUP_CONSOLE="false")
    assert failed.exit_code == 1
    assert "FEATURE_SETUP_CONSOLE is false" in failed.output


def test_nothing_asked(data: Path) -> None:
    """`quay setup` alone says what it can do."""
    shown = run(data)
    assert shown.exit_code == 0
    assert "--answers" in shown.output
    assert not data.exists()


# --- the authority


def test_another_authority(data: Path) -> None:
    """It is founded, made known beside the present one, and takes over when it is told to; both are named each time."""
    answer(data, {"administrator": ADA, "names": NAMES})
    files = CertificateFiles(data)
    own = files.authority()
    assert own is not None
    before = run(data, "authority")
    assert before.exit_code == 0 and before.output.count("SHA-256") == 1
    assert authority.fingerprint(own) in before.output
    founded = run(data, "authority", "--replace")
    assert founded.output.count("SHA-256 ") == 2 and "fetch /ca again" in founded.output
    assert files.authority() == own
    taken = run(data, "authority", "--take-over")
    assert taken.output.count("SHA-256 ") == 2 and "systemctl reload quay" in taken.output
    new, current = files.authority(), files.current()
    assert new is not None and current is not None and new != own
    assert authority.is_issued_by(current.certificate, new)
    again = run(data, "authority", "--take-over")
    assert again.exit_code == 1 and "No authority waits" in again.output


def test_no_authority(data: Path) -> None:
    """Where somebody else has made the certificate, there is none to be replaced."""
    found = run(data, "authority", "--replace")
    assert found.exit_code == 1
    assert "no authority of its own" in found.output
