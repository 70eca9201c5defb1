"""Where Redis is, and how to be let in, without telling anybody the password."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.coordination.session import RedisAddress


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", RedisAddress("h")),
        ("redis://h:1/2", RedisAddress("h", 1, database=2)),
        ("redis://:p%40s@h/", RedisAddress("h", password="p@s")),
        ("rediss://u:p@h:6380", RedisAddress("h", 6380, username="u", password="p", tls=True)),
        ("redis://[::1]:7", RedisAddress("::1", 7)),
        ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
        ("unix://:p@/run/redis.sock", RedisAddress(path="/run/redis.sock", password="p")),
    ],
)
def test_parse(url: str, address: RedisAddress) -> None:
    """Every form of the URL gives its parts, with those that are left out as usual."""
    assert RedisAddress.parse(url) == address


@pytest.mark.parametrize(
    "url",
    ["", "h:6379", "http://:hunter2@h", "redis://:hunter2@", "redis://:hun/ter2@h", "redis://:hunter2@h:x",
     "redis://:hunter2@h/x", "redis://:hunter2@h:70000", "unix://:hunter2@", "redis://:hunter2@[h"],
)  # fmt: skip
def test_not_an_address(url: str) -> None:
    """What is no such URL is refused, by a sentence without a part of it, and so without the password."""
    with pytest.raises(ValueError, match="not the URL of a Redis") as refused:
        RedisAddress.parse(url)
    assert "hun" not in str(refused.value)
    assert refused.value.__suppress_context__


@given(st.text(st.characters(categories=["L", "N"]), min_size=12))
def test_secret(password: str) -> None:
    """The password is in neither form of an address that people read."""
    address = RedisAddress("h", password=password)
    assert password not in repr(address)
    assert password not in str(address)


@pytest.mark.parametrize("text", ["redis://h:6379/0", "rediss://h:1/2", "unix:///run/redis.sock"])
def test_written(text: str) -> None:
    """An address is written as it is read."""
    assert str(RedisAddress.parse(text)) == text
