"""Changing keys of a file leaves everything else of it as somebody wrote it."""

from __future__ import annotations

import pytest

from quay.config import default_text
from quay.config.document import read_document
from quay.config.edit import edited

FILE = """\
# Ours. Ask Ada before you change LISTEN: it is in the firewall, too.
LISTEN: 10.0.0.5:8080   # the inner network
DISTRIBUTED_STORAGE_CONFIG:
  default:
    - LocalStorage
    - storage_path: /srv/blobs
# and this
REGISTRY_TITLE: Ours
SUPER_USERS:
- ada
- bob
"""


def test_only_what_is_asked() -> None:
    """A key is replaced where it stands, and every other line stays."""
    changed = edited(FILE, {"LISTEN": "0.0.0.0:443"})
    assert changed == FILE.replace("LISTEN: 10.0.0.5:8080   # the inner network", "LISTEN: 0.0.0.0:443")


@pytest.mark.parametrize("key", ["DISTRIBUTED_STORAGE_CONFIG", "SUPER_USERS"])
def test_an_entry_of_several_lines(key: str) -> None:
    """An entry goes with all its lines, and no other goes with it."""
    before, after = read_document(FILE).values, read_document(edited(FILE, {key: None})).values
    assert after == {name: value for name, value in before.items() if name != key}


def test_a_new_key_stands_at_its_comment() -> None:
    """In the commented default file, a key takes the place of the line that shows its default."""
    lines = edited(default_text(), {"SERVER_HOSTNAME": "registry.example.org:8443"}).splitlines()
    number = lines.index("SERVER_HOSTNAME: registry.example.org:8443")
    assert lines[number - 1].startswith("# How clients reach the registry")
    assert not any(line.startswith("#SERVER_HOSTNAME") for line in lines)


def test_a_new_key_without_a_comment_is_the_last() -> None:
    """Where the file does not speak of the key, it comes at the end."""
    assert edited(FILE, {"LOG_LEVEL": "debug"}) == FILE + "LOG_LEVEL: debug\n"


def test_twice() -> None:
    """Done again, nothing changes."""
    values = {"LISTEN": ["a", "b"], "TLS_KEY": "tls/server.pem", "REGISTRY_TITLE": None}
    once = edited(FILE, values)
    assert edited(once, values) == once


def test_values_that_yaml_would_take_for_something_else() -> None:
    """What is written is read back as it was given, whatever is in it."""
    odd = {"REGISTRY_TITLE": "yes: # no", "DB_URI": "postgresql://u:p%23@h/n?sslmode=prefer", "LISTEN": "[::1]:80"}
    assert {key: read_document(edited(FILE, odd)).values[key] for key in odd} == odd
