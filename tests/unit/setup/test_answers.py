"""Answers are values or sentences, and never give a secret away."""

from __future__ import annotations

from pathlib import Path

import pytest

from quay.config import DatabaseUri
from quay.config.secrets import Vault
from quay.setup import AnswersWrong, Keeping, Names, read_answers
from quay.setup.answers import host_of

VAULT = Vault({"SECRET": "from the environment"}, Path("/data"))
NAMES = {"hostname": "registry.example.org:8443", "listen": ["0.0.0.0:8443"]}


def test_names() -> None:
    """What a certificate should be for: the name without its port, and the others, each once."""
    answers = {**NAMES, "others": ["registry.example.org", "[fd00::5]", "10.0.0.5"]}
    names = read_answers(Names, answers, VAULT)
    assert names.host == "registry.example.org"
    assert names.called == ("registry.example.org", "fd00::5", "10.0.0.5")
    assert names.tls == "own"


@pytest.mark.parametrize(
    ("hostname", "host"),
    [("a", "a"), ("a:1", "a"), ("[::1]:443", "::1"), ("[::1]", "::1"), ("10.0.0.5:1", "10.0.0.5")],
)
def test_host_of(hostname: str, host: str) -> None:
    """The host is what stands before the port, without brackets."""
    assert host_of(hostname) == host


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"hostname": "https://registry.example.org"}, "hostname: .* has a scheme or a path"),
        ({"listen": ["8443"]}, r"listen\[0\]: '8443' is not an address and a port"),
        ({"tls": "none"}, "tls: 'none' is not one of own, given, request, proxy"),
        ({"proxies": ["everybody"]}, r"proxies\[0\]: 'everybody' is not a network"),
        ({"hostnames": "x"}, "there is no option 'hostnames'.*Did you mean hostname"),
    ],
)
def test_what_cannot_be_meant(wrong: dict[str, object], sentence: str) -> None:
    """Each wrong answer is a sentence that begins with its name."""
    with pytest.raises(AnswersWrong, match=sentence):
        read_answers(Names, {**NAMES, **wrong}, VAULT)


def test_all_at_once() -> None:
    """Several wrong answers are as many sentences."""
    with pytest.raises(AnswersWrong) as wrong:
        read_answers(Names, {"hostname": "a b", "listen": ["x"]}, VAULT)
    assert len(wrong.value.problems) == 2


def test_the_address_of_a_database() -> None:
    """Whatever is in a name or a password, the address is one that the configuration understands."""
    answers = {
        "database": "postgresql",
        "host": "fd00::7",
        "user": "us/er",
        "password": "p@ss:w/o#r%d",
        "name": "my db",
        "sslmode": "verify-full",
    }
    uri = read_answers(Keeping, answers, VAULT).uri()
    assert uri == "postgresql://us%2Fer:p%40ss%3Aw%2Fo%23r%25d@[fd00::7]:5432/my%20db?sslmode=verify-full"
    assert DatabaseUri.parse(uri, Path("/")).place == "postgresql://[fd00::7]:5432/my%20db"


def test_secrets() -> None:
    """A password may be elsewhere, and is in no repr."""
    keeping = read_answers(Keeping, {"database": "postgresql", "password": {"env": "SECRET"}}, VAULT)
    assert keeping.password is not None
    assert keeping.password.reveal() == "from the environment"
    assert "from the environment" not in repr(keeping)
