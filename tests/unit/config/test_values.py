"""Durations, sizes, endpoints, host names, networks and numbers: what they accept, and how they refuse."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quay.config.values import (
    Authentication,
    Count,
    Duration,
    Endpoint,
    Hostname,
    Minutes,
    Port,
    Size,
    parse_network,
    shown,
)

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.none()),
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("30s", 30), ("55m", 3300), ("12h", 43200), ("1d", 86400), ("2w", 1209600), (90, 90)],
)
def test_duration(text: object, seconds: int) -> None:
    """A duration is a number and one of Quay's units, or a plain number of seconds."""
    assert Duration.parse(text) == seconds


def test_minutes() -> None:
    """Where Quay counts minutes, a plain number does, and a unit still means itself."""
    assert (Minutes.parse(55), Minutes.parse("1h")) == (3300, 3600)


@pytest.mark.parametrize(
    "text", ["", "2", "2 w", "w", "-1d", "1.5h", "2weeks", "9999999w", -1, 10**12, 1.5, True, None, []]
)
def test_no_duration(text: object) -> None:
    """Everything else is refused, negative times and more than a century included."""
    with pytest.raises(ValueError, match="duration"):
        Duration.parse(text)


@given(st.integers(0, 100 * 365 * 86400))
def test_duration_round_trip(seconds: int) -> None:
    """A duration written by `str` is read as the same duration."""
    assert Duration.parse(str(Duration(seconds))) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("20G", 20 * 10**9),
        ("512M", 512 * 10**6),
        ("20Gi", 20 * 2**30),
        ("1KiB", 1024),
        ("7", 7),
        (7, 7),
        ("2tb", 2 * 10**12),
    ],
)
def test_size(text: object, count: int) -> None:
    """A size counts bytes, in powers of 1000 as Quay does with bitmath, or in powers of 1024 if it says so."""
    assert Size.parse(text) == count


@pytest.mark.parametrize("text", ["", "0", 0, -1, "-1G", "1.5G", "G", "1 G", "1X", "9" * 40, True, None, 1.0])
def test_no_size(text: object) -> None:
    """Nothing, fractions and unknown units are no sizes."""
    with pytest.raises(ValueError, match="size"):
        Size.parse(text)


@given(st.integers(1, 10**17))
def test_size_round_trip(count: int) -> None:
    """A size written by `str` is read as the same size."""
    assert Size.parse(str(Size(count))) == count


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:8080", "127.0.0.1", 8080), ("[::1]:8080", "::1", 8080), ("0.0.0.0:0", "0.0.0.0", 0)],
)
def test_endpoint(text: str, host: str, port: int) -> None:
    """An endpoint is an address and a port, and is written as it was read."""
    endpoint = Endpoint.parse(text)
    assert (endpoint.host, endpoint.port, str(endpoint)) == (host, port, text)


@pytest.mark.parametrize(
    "text", ["", "8080", ":8080", "localhost:80", "1.2.3:80", "[::g]:1", "::1:80", "1.2.3.4:65536", 80]
)
def test_no_endpoint(text: object) -> None:
    """A name, a missing half and an impossible address or port are refused."""
    with pytest.raises(ValueError, match="not an address and a port"):
        Endpoint.parse(text)


def test_loopback() -> None:
    """An endpoint knows whether only this machine can reach it."""
    assert [Endpoint(host, 1).is_loopback for host in ("127.0.0.1", "::1", "0.0.0.0", "::")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "text", ["localhost", "registry.example.org:8443", "10.0.0.1:5000", "[2001:db8::1]:443", "a_b", "Q.io."]
)
def test_hostname(text: str) -> None:
    """A host name is a name or an address, with a port or without."""
    assert Hostname.parse(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "https://q", "q/x", "q:", "q:0", "q:65536", "-q", "q..r", "[1:2]:3", "q r", "q\n", "q" * 300, "a@b", 5, None],
)
def test_no_hostname(text: object) -> None:
    """A scheme, a path, an empty label, a line break or an impossible port makes no host name."""
    with pytest.raises(ValueError, match="host"):
        Hostname.parse(text)


def test_network() -> None:
    """A network is CIDR without host bits; one address is a network of one."""
    assert parse_network("10.0.0.0/8") == ipaddress.ip_network("10.0.0.0/8")
    assert parse_network("::1").prefixlen == 128
    for text in ("10.0.0.1/8", "10.0.0.0/33", "lan", "", 10, None):
        with pytest.raises(ValueError, match="not a network"):
            parse_network(text)


def test_count() -> None:
    """A count is a whole number in its range; true is none."""
    assert Count.parse(1) == 1
    for kind, value in ((Count, 0), (Count, True), (Count, "1"), (Count, 1.0), (Port, 65536), (Port, 0)):
        with pytest.raises(ValueError, match="whole number"):
            kind.parse(value)


def test_authentication() -> None:
    """What is to come is told apart from what does not exist."""
    assert Authentication.parse("AppToken") == "AppToken"
    with pytest.raises(ValueError, match="not implemented yet, so nobody could log in"):
        Authentication.parse("LDAP")
    for value in ("ldap", ["Database"], None, {}):
        with pytest.raises(ValueError, match="not a kind of authentication"):
            Authentication.parse(value)


@given(ANYTHING)
def test_only_value_errors(value: object) -> None:
    """Whatever YAML comes up with is either read or refused with a `ValueError`."""
    for kind in (Duration, Minutes, Size, Count, Port, Hostname, Endpoint, Authentication):
        try:
            kind.parse(value)
        except ValueError as error:
            assert str(error)


def test_shown_is_short() -> None:
    """A value that contains itself, or a billion laughs, is still shown in a line."""
    laughs: list[object] = ["ha"]
    for _ in range(40):
        laughs = [laughs] * 10
    laughs.append(laughs)
    assert len(shown(laughs)) < 1000
    assert len(shown("x" * 10**6)) < 100
