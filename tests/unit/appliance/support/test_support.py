"""A bundle for those who help has everything they need, and no secret of anybody."""

from __future__ import annotations

import io
import json
import secrets
import tarfile
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
import yaml
from click.testing import CliRunner

from appliance.cli import quay
from appliance.doctor.patient import Patient, Said
from appliance.support import gathering
from appliance.support.bundle import packed, save
from appliance.support.gathering import Part, gather
from appliance.support.redaction import Redaction
from appliance.support.settings import shown
from quay.config import Secret, StorageLocation, parse
from quay.config.keys import SETTINGS, Redis
from quay.lock import prepare
from tests.unit.appliance.doctor.patients import NOW, machine, patient

LOG = """\
2026-11-27T12:00:00 host quay[1]: The setup console is at https://here/setup/?token={token}
2026-11-27T12:00:01 host quay[1]: connected to postgresql://quay:{password}@db/quay
2026-11-27T12:00:02 host quay[1]: Authorization: Bearer {bearer}
2026-11-27T12:00:03 host quay[1]: ada signed in from 10.0.0.7
"""


def secret() -> str:
    return f"Canary-{secrets.token_hex(12)}"


def planted() -> tuple[dict[str, Any], list[str]]:
    """A configuration with another secret wherever there may be one, and all of these."""
    keys: dict[str, Any] = {}
    planted: list[str] = []

    def plant() -> str:
        planted.append(secret())
        return planted[-1]

    for key, field in SETTINGS.items():
        kinds = [kind for kind in (field.type, *get_args(field.type)) if isinstance(kind, type)]
        if any(issubclass(kind, Secret) for kind in kinds):
            keys[key] = plant()
        if Redis in kinds:
            keys[key] = {"host": "127.0.0.1", "port": 1, "password": plant()}
    keys["DB_URI"] = f"postgresql://quay:{keys.pop('DB_URI')}@127.0.0.1:1/quay"
    keys |= {"LDAP_ADMIN_PASSWD": plant(), "GITHUB_LOGIN_CONFIG": {"CLIENT_SECRET": plant()}}  # of another Quay
    return keys, planted


def everything(parts: list[Part]) -> str:
    return "\n".join(part.text for part in parts)


@pytest.fixture(autouse=True)
def without_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their speed is the doctor's own test, and takes its time."""
    monkeypatch.setattr(gathering, "TABLE", [check for check in gathering.TABLE if check.name != "speed"])


@pytest.fixture
def whom(tmp_path: Path) -> tuple[Patient, list[str]]:
    """An installation full of secrets: in its configuration, its data directory, its environment and its log."""
    keys, found = planted()
    more = {"token": secret(), "password": keys["DB_URI"].split(":")[2].split("@")[0], "bearer": secret()}
    host = machine(
        tmp_path / "machine",
        programs={"journalctl": Said(0, LOG.format(**more))},
        environ={"QUAY_MAIL_PASSWORD": keys["MAIL_PASSWORD"], "https_proxy": f"http://a:{secret()}@proxy"},
    )
    return patient(tmp_path, host, **keys), [*found, *more.values()]


def test_no_secret(whom: tuple[Patient, list[str]]) -> None:
    """A secret is planted in every key that takes one, in the log and in the environment: none is in the bundle."""
    installation, planted = whom
    assert len(planted) > 8
    text = everything(gather(installation))
    assert "There is no Redis at 127.0.0.1:1" in text
    assert "is PostgreSQL running, and does it listen there?" in text
    assert "\x1b" not in text
    assert not [one for one in planted if one in text]
    assert "Canary" not in text
    assert "ada signed in from 10.0.0.7" in text
    assert "postgresql://127.0.0.1:1/quay" in text


def test_kept_secrets(tmp_path: Path) -> None:
    """Those that the installation has made for itself are known, however they are spelled."""
    whom = patient(tmp_path)
    key = secrets.token_bytes(48)
    (whom.config.data / "secret_key").write_bytes(key)
    hide = Redaction.of(whom.config)
    assert hide.known(f"it is {key.hex()}") == "it is ***"


def test_a_storage_with_a_key(tmp_path: Path) -> None:
    """Of a storage, only options that are known to be none are shown; its keys are known wherever they stand."""
    options = {"storage_path": "/srv", "s3_secret_key": "Canary-1", "whatever": "Canary-2"}
    location = StorageLocation("default", "S3Storage", options)
    config = attrs.evolve(patient(tmp_path).config, storage={"default": location})
    hidden = ["S3Storage", {"storage_path": "/srv", "s3_secret_key": "***", "whatever": "***"}]
    assert shown(config)["DISTRIBUTED_STORAGE_CONFIG"] == {"default": hidden}
    assert Redaction.of(config).known("it is Canary-1") == "it is ***"


@pytest.mark.parametrize(
    ("said", "hidden"),
    [
        ("Authorization: Basic YWRhOnBhc3N3b3JkMTIz", "Authorization: Basic ***"),
        ("GET /setup/?token=abc-def HTTP", "GET /setup/?token=*** HTTP"),
        ("to https://ada:hunter2@example.org/x", "to https://ada:***@example.org/x"),
        ("'client_secret': 'hunter2', 'name'", "'client_secret': '***', 'name'"),
        ("name=x&passwd=hunter2:3&next=y", "name=x&passwd=***&next=y"),
        ("DB_PASSWORD: hunter2", "DB_PASSWORD: ***"),
        ("got eyJhbGciOiJSUzI1.eyJzdWIiOiJh.c2ln here", "got *** here"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\nnext", "***\nnext"),
        ("ada pushed acme/web:latest", "ada pushed acme/web:latest"),
    ],
)
def test_what_looks_like_one(said: str, hidden: str) -> None:
    """Secrets of others are known by their looks."""
    assert Redaction(()).alike(said) == hidden


def test_a_hostile_log() -> None:
    """However long a word is, it is read through once."""
    for word in ("a", "a-", "eyJ-", "token", "://a:", "Bearer ", "-----BEGIN PRIVATE KEY-----", "passwd=", "= ", " "):
        text = word * (200_000 // len(word))
        assert len(Redaction(()).alike(text)) <= 2 * len(text)


def test_the_configuration_is_whole(tmp_path: Path) -> None:
    """Every key is shown with its value, and can be read again where it is no secret."""
    config = patient(
        tmp_path, FEATURE_SIGNING=True, TAG_EXPIRATION_OPTIONS=["1d"], TRUSTED_PROXIES=["10.0.0.0/8"]
    ).config
    value = shown(config)
    assert set(value) == set(SETTINGS)
    assert value["FEATURE_SIGNING"] is True
    assert value["TRUSTED_PROXIES"] == ["10.0.0.0/8"]
    assert value["DISTRIBUTED_STORAGE_CONFIG"]["default"][0] == "LocalStorage"
    again = parse(yaml.safe_dump({key: each for key, each in value.items() if key != "DB_URI"}), {}, tmp_path)
    assert again.trusted_proxies == config.trusted_proxies


def test_a_broken_configuration(tmp_path: Path) -> None:
    """What is wrong with it is said, and nothing of it is shown."""
    whom = Patient(patient(tmp_path).config, machine(tmp_path / "machine"), None, ("LISTEN: is nothing.",))
    parts = {part.name: part.text for part in gather(whom)}
    assert parts["configuration.yaml"] == "# LISTEN: is nothing.\n"


def test_the_file(tmp_path: Path) -> None:
    """One archive, for its owner only, that takes nobody's place."""
    file = tmp_path / "bundle.tar.gz"
    save(file, [Part("a.txt", "a", "text\n")], NOW)
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        assert tar.getnames() == ["quay-support-20261127-120000/a.txt"]
        member = tar.extractfile(tar.getmembers()[0])
        assert member is not None
        assert member.read() == b"text\n"
    with pytest.raises(FileExistsError):
        save(file, [], NOW)
    assert packed([], "x", 0)[:2] == b"\x1f\x8b"


def test_the_command(tmp_path: Path) -> None:
    """What will be in it is shown before it is saved; without a terminal, nobody can be asked."""
    prepare(tmp_path / "data")
    environ = {"QUAY_DATA": str(tmp_path / "data")}
    file = tmp_path / "bundle.tar.gz"
    refused = CliRunner().invoke(quay, ["support", str(file)], obj=environ)
    assert (refused.exit_code, file.exists()) == (2, False)
    done = CliRunner().invoke(quay, ["support", "--yes", str(file)], obj=environ)
    assert done.exit_code == 0, done.output
    assert done.output.index("doctor.json") < done.output.index("Wrote ")
    with tarfile.open(fileobj=io.BytesIO(file.read_bytes())) as tar:
        names = {name.partition("/")[2]: name for name in tar.getnames()}
        found = tar.extractfile(names["database.json"])
        assert found is not None
        assert json.load(found)["there"] is False
    again = CliRunner().invoke(quay, ["support", "--yes", str(file)], obj=environ)
    assert again.exit_code == 1
    assert "is there already" in again.output
