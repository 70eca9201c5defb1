"""Whom the registry may call: every way of writing an address that has fooled somebody, and what opens a network."""

from __future__ import annotations

import ipaddress

import pytest

from quay.egress import EgressFailed, EgressRefused, Policy, Target

PUBLIC = "93.184.216.34"


def networks(*names: str) -> Policy:
    return Policy(networks=tuple(ipaddress.ip_network(name) for name in names))


def allows(policy: Policy, address: str) -> bool:
    try:
        return bool(policy.choose("host.example", [ipaddress.ip_address(address)]))
    except EgressRefused:
        return False


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://Hooks.Example", "http://hooks.example/"),
        ("https://hooks.example:443/a?b=c#d", "https://hooks.example/a?b=c"),
        ("http://hooks.example:8080?x", "http://hooks.example:8080/?x"),
        ("http://hooks.example./", "http://hooks.example/"),
        ("http://192.0.2.1/", "http://192.0.2.1/"),
        ("http://[2001:DB8:0::1]:8443/", "http://[2001:db8::1]:8443/"),
        ("HTTPS://xn--bcher-kva.example/%20", "https://xn--bcher-kva.example/%20"),
        ("http://under_score.example/a@b", "http://under_score.example/a@b"),
    ],
)
def test_targets(url: str, canonical: str) -> None:
    """A URL has one spelling, and that is the one which is sent."""
    target = Target.parse(url)
    assert target.url == canonical
    assert Target.parse(target.url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example/path",
        "//hooks.example/",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "gopher://hooks.example/",
        "unix:///run/docker.sock",
        "javascript:alert(1)",
        "http:hooks.example",
        "http:///path",
        "http://",
        "http://user@hooks.example/",
        "http://user:password@hooks.example/",
        "http://hooks.example@127.0.0.1/",
        "http://hooks.example\\@127.0.0.1/",
        "http://hooks.example/\r\nX-Evil: 1",
        "http://hooks.example/a b",
        "http://hooks.example\n/",
        "http://hooks.example\0/",
        "http://\thooks.example/",
        "http://bücher.example/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://hooks.example:0/",
        "http://hooks.example:65536/",
        "http://hooks.example:99999999/",
        "http://hooks.example:-1/",
        "http://hooks.example:/",
        "http://hooks.example:8o/",
        "http://hooks%2eexample/",
        "http://-hooks.example/",
        "http://hooks..example/",
        "http://.example/",
        "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 200 + "example/",
        "http://hooks.example/" + "a" * 3000,
        "http://0/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://0X7F.1/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://127.000.000.001/",
        "http://127.0.0.1.1/",
        "http://256.0.0.1/",
        "http://1.2.3.0x/",
        "http://[::1/",
        "http://::1/",
        "http://[127.0.0.1]/",
        "http://[fe80::1%25eth0]/",
        "http://[::1]x/",
        "http://[v1.x]/",
    ],
)
def test_malformed(url: str) -> None:
    """What is not plainly a host and a path is refused before anything is looked up."""
    with pytest.raises(EgressRefused) as refused:
        Target.parse(url)
    assert str(refused.value).endswith(".")


CLOSED = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "192.88.99.1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2001::1",
    "::127.0.0.1",
    "100::1",
    "4000::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
]


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700::1111", f"::ffff:{PUBLIC}", "64:ff9b::5db8:d822"])
def test_public(address: str) -> None:
    """Public addresses may be called by default."""
    assert allows(Policy(), address)


@pytest.mark.parametrize("address", CLOSED + PRIVATE)
def test_closed_by_default(address: str) -> None:
    """Nothing on this machine, this link, or a private network may be called until an administrator opens it."""
    assert not allows(Policy(), address)


@pytest.mark.parametrize("address", CLOSED)
def test_special_addresses_stay_closed(address: str) -> None:
    """Listing everything opens the private networks, but never the metadata service or the machine itself."""
    assert not allows(networks("0.0.0.0/0", "::/0", "100.64.0.0/10", "fc00::/7"), address)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_networks_can_be_opened(address: str) -> None:
    """A network that is listed may be called, and what lies in it is judged by the address that is meant."""
    assert allows(networks("0.0.0.0/0", "::/0"), address)


def test_loopback_can_be_opened() -> None:
    """A listed network within a special range opens that much of it."""
    assert allows(networks("127.0.0.1/32"), "127.0.0.1")
    assert allows(networks("127.0.0.1/32"), "::ffff:127.0.0.1")
    assert not allows(networks("127.0.0.1/32"), "127.0.0.2")
    assert allows(networks("127.0.0.0/8"), "127.0.0.2")
    assert allows(networks("fe80::/10"), "fe80::1%eth0")


def test_every_address_is_judged() -> None:
    """Of several addresses only those that are open are used."""
    mixed = [ipaddress.ip_address(address) for address in ("10.0.0.1", PUBLIC, "::1")]
    assert Policy().choose("host.example", mixed) == [ipaddress.ip_address(PUBLIC)]
    with pytest.raises(EgressFailed):
        Policy().choose("host.example", [])


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://[::]/", "http://10.1.2.3/"])
def test_literal_addresses_are_judged_at_once(url: str) -> None:
    """An address in a URL is judged without a lookup, so that whoever writes it hears of it."""
    with pytest.raises(EgressRefused):
        Policy().check(Target.parse(url))


def test_forbidden_hosts() -> None:
    """A host that an administrator forbids is refused in any spelling."""
    policy = Policy(refused_hosts=frozenset({"Vault.Example."}))
    for url in ("http://vault.example/", "https://VAULT.example.:8443/"):
        with pytest.raises(EgressRefused):
            policy.check(Target.parse(url))
    policy.check(Target.parse("http://other.vault.example/"))


def test_redirects() -> None:
    """A redirect is read as relative to where it came from, and is judged like any URL; TLS is not given up."""
    start = Target.parse("https://hooks.example/a/b")
    assert start.follow("../c").url == "https://hooks.example/c"
    assert start.follow("//other.example/d").url == "https://other.example/d"
    for location in ("http://hooks.example/", "file:///etc/passwd", "gopher://x/", "https://u@hooks.example/", "//0/"):
        with pytest.raises(EgressRefused):
            start.follow(location)


def test_secrets_stay_in() -> None:
    """Neither the text of a target nor a refusal shows the path, in which services like Slack have their secret."""
    assert "s3cr3t" not in repr(Target.parse("https://hooks.example/s3cr3t?s3cr3t"))
    with pytest.raises(EgressRefused) as refused:
        Policy().check(Target.parse("http://127.0.0.1/s3cr3t"))
    assert "s3cr3t" not in str(refused.value)
