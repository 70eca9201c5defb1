"""What the configuration says about other servers, and what becomes of it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from quay.config import Config, parse
from quay.egress import EgressRefused
from quay.service.outside import AuthoritiesUnusable, authorities, egress_of, letters_of, methods_of, place_of
from tests.unit.egress.test_egress import certificate


def configured(tmp_path: Path, text: str = "") -> Config:
    return parse(text, {}, tmp_path, data=str(tmp_path))


def test_networks(tmp_path: Path) -> None:
    """EGRESS_NETWORKS opens what it lists, WEBHOOK_HOSTNAME_BLACKLIST closes hosts, and the rest is as by default."""
    config = configured(tmp_path, "EGRESS_NETWORKS: [10.0.0.0/8]\nWEBHOOK_HOSTNAME_BLACKLIST: [Vault.example]")
    assert config.egress_networks == (ipaddress.ip_network("10.0.0.0/8"),)
    egress = egress_of(Clock(), config)
    egress.check("http://10.1.2.3/")
    for url in ("http://vault.example/", "http://192.168.0.1/", "http://127.0.0.1/"):
        with pytest.raises(EgressRefused):
            egress.check(url)


def test_place(tmp_path: Path) -> None:
    """Who is told of a repository is told where clients reach it; without a name, that is where the server listens."""
    named = place_of(configured(tmp_path, "SERVER_HOSTNAME: registry.example:8443\nEXTERNAL_TLS_TERMINATION: true"))
    assert (named.host, named.url) == ("registry.example:8443", "https://registry.example:8443")
    assert place_of(configured(tmp_path, "LISTEN: 127.0.0.1:8080")).url == "http://127.0.0.1:8080"


def methods(config: Config) -> list[str]:
    """The methods of notification that there are."""
    egress = egress_of(Clock(), config)
    database: Any = None
    return list(methods_of(Clock(), database, egress, letters_of(Clock(), config, egress)))


def test_letters(tmp_path: Path) -> None:
    """E-mail is a method where there is a mail server, and only there."""
    given = "MAIL_SERVER: '[::1]'\nMAIL_DEFAULT_SENDER: quay@x.example\nMAIL_USERNAME: a\nMAIL_PASSWORD: b"
    assert methods(configured(tmp_path, given)) == ["webhook", "slack", "quay_notification", "email"]
    assert methods(configured(tmp_path)) == ["webhook", "slack", "quay_notification"]


def test_authorities(tmp_path: Path) -> None:
    """A PEM file of CAs is taken, with whatever else is in it."""
    path = tmp_path / "ca.pem"
    path.write_bytes(b"first\n" + certificate("one.example").dumpPEM() + certificate("two.example").dumpPEM() + b"end")
    assert authorities(path) is not None


@pytest.mark.parametrize("content", [None, b"", b"nothing", b"-----END CERTIFICATE-----", b"\xff\0"])
def test_no_authorities(tmp_path: Path, content: bytes | None) -> None:
    """What is no such file is told to the administrator in a sentence that names it."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AuthoritiesUnusable) as unusable:
        authorities(path)
    assert str(unusable.value).startswith(f"EGRESS_CA {path} ")
