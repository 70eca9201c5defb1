"""From answers to a configuration file: only what they are about changes, and what could not be used is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quay.config import default_text, parse
from quay.config.secrets import Vault
from quay.setup import AnswersWrong, Keeping, Names, Plan, plan, read_answers

DATA = Path("/data")
VAULT = Vault({}, DATA)
NAMES = {"hostname": "registry.example.org", "listen": ["0.0.0.0:443"], "plain": ["0.0.0.0:80"]}
POSTGRESQL = {"database": "postgresql", "host": "db", "password": "hush"}


def planned(
    text: str | None = None, environ: dict[str, str] | None = None, keeping: dict[str, Any] | None = None, **names: Any
) -> Plan:
    answers = read_answers(Names, {**NAMES, **names}, VAULT)
    return plan(text, answers, read_answers(Keeping, keeping or {}, VAULT), environ or {}, DATA)


def test_without_a_file() -> None:
    """The commented default file is filled in, and can be used."""
    made = planned()
    config = made.config
    assert str(config.hostname) == "registry.example.org"
    assert [str(each) for each in config.listen] == ["0.0.0.0:443"]
    assert config.tls_certificate == config.tls_key == DATA / "tls/server.pem"
    assert config.data == DATA
    assert config.scheme == "https"
    assert made.text.count("\n# ") == default_text().count("\n# ")
    assert parse(made.text, {}, DATA).warnings == ()


def test_what_a_file_says_besides_stays() -> None:
    """Keys and comments that the answers are not about stay as they are, the database among them."""
    text = "# ours\nREGISTRY_TITLE: Ours\nDB_URI: postgresql://u:p@db/quay\nSECRET_KEY: 0123456789abcdef\n"
    made = planned(text)
    assert made.text.startswith(text)
    assert set(made.changes) == {"SERVER_HOSTNAME", "LISTEN", "PLAIN_LISTEN", "TLS_CERTIFICATE", "TLS_KEY"}


def test_nothing_to_change() -> None:
    """When the file says it all, there is nothing left to write."""
    made = planned(planned().text)
    assert made.changes == {}


def test_behind_a_proxy() -> None:
    """With a proxy in front, nothing here speaks TLS, and clients are told https."""
    config = planned(planned().text, tls="proxy", proxies=["10.0.0.0/24"]).config
    assert (config.tls_certificate, config.tls_key, config.plain_listen) == (None, None, ())
    assert config.external_tls_termination
    assert config.scheme == "https"
    assert [str(each) for each in config.trusted_proxies] == ["10.0.0.0/24"]


def test_and_back() -> None:
    """Who gives the proxy up again gets what he had."""
    there = planned(tls="proxy", proxies=["10.0.0.5"])
    assert planned(there.text).config == planned().config


def test_places() -> None:
    """A database, a Redis and a directory that were answered are in the file."""
    redis = {"host": "redis", "password": "hush2"}
    config = planned(keeping={**POSTGRESQL, "redis": redis, "blobs": "/srv/blobs"}).config
    assert config.database_uri.place == "postgresql://db:5432/quay"
    assert config.events_redis is not None
    assert config.events_redis.password is not None
    assert config.events_redis.password.reveal() == "hush2"
    assert config.storage["default"].options == {"storage_path": "/srv/blobs"}


def test_no_secret_is_shown() -> None:
    """What is shown of the changes has no password in it, and neither has the repr."""
    made = planned(keeping={**POSTGRESQL, "redis": {"host": "redis", "password": "hush2"}})
    assert "hush" not in repr(made)
    assert "hush" not in repr(dict(made.changes))
    assert set(made.changes) >= {"DB_URI", "USER_EVENTS_REDIS"}


def test_the_environment_decides() -> None:
    """A variable that says something else is named; one that says the same is not."""
    environ = {"QUAY_LISTEN": "127.0.0.1:8080", "QUAY_SERVER_HOSTNAME": "registry.example.org", "QUAY_DATA": "/data"}
    assert planned(environ=environ).overridden == ("LISTEN",)


@pytest.mark.parametrize(
    "text", ["{LISTEN: '0.0.0.0:80'}\n", "LISTEN: 0.0.0.0:80\n...\n", "- a list\n", "LISTEN: [\n"], ids=repr
)
def test_a_file_that_cannot_be_edited(text: str) -> None:
    """A file that is not written line by line is refused, and how it should be is said."""
    with pytest.raises(AnswersWrong, match="cannot be changed line by line"):
        planned(text)


def test_a_file_that_could_not_be_used() -> None:
    """What contradicts the rest of the file is refused with the configuration's own sentence."""
    with pytest.raises(AnswersWrong, match="DEFAULT_TAG_EXPIRATION: 'soon' is not a duration"):
        planned("DEFAULT_TAG_EXPIRATION: soon\n")


def test_the_default_file_has_nothing_set() -> None:
    """Each key of the answers has its place in the default file, at its own comment."""
    made = planned(keeping={**POSTGRESQL, "blobs": "elsewhere"})
    assert len(made.text.splitlines()) == len(default_text().splitlines())
