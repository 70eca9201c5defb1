"""What a machine says of itself is suggested to whoever sets it up."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from quay.setup import machine

FIB = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.0.0.0/8 2 0 2
        |-- 10.0.0.0
           /8 link UNICAST
        |-- 10.0.0.5
           /32 host LOCAL
     |-- 10.255.255.255
        /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
"""
INET6 = """\
fd000000000000000000000000000005 02 40 00 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


def test_addresses_of_this_machine() -> None:
    """They are addresses, each once, none link-local, and a loopback's is never before another's."""
    found = [ip_address(text) for text in machine.addresses()]
    assert found
    assert len(set(found)) == len(found)
    assert not any(each.is_link_local or each.is_unspecified for each in found)
    loopback = [each.is_loopback for each in found]
    assert loopback == sorted(loopback)


def test_names_of_this_machine() -> None:
    """localhost is there, and last."""
    assert machine.names()[-1] == "localhost"


def test_kernel_tables(tmp_path: Path) -> None:
    """The addresses that the kernel answers for are read from its tables; networks and broadcasts are none."""
    ipv4, ipv6 = tmp_path / "fib_trie", tmp_path / "if_inet6"
    ipv4.write_text(FIB)
    ipv6.write_text(INET6)
    assert [str(each) for each in machine.in_ipv4_table(ipv4)] == ["10.0.0.5", "127.0.0.1"]
    assert [str(each) for each in machine.in_ipv6_table(ipv6)] == ["fd00::5", "::1"]


def test_without_kernel_tables(tmp_path: Path) -> None:
    """Where they cannot be read, nothing is in them."""
    assert machine.in_ipv4_table(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("[::1]", True),
        ("::1", True),
        ("a.localhost", True),
        ("10.0.0.5", False),
        ("registry", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """What means the machine itself, for itself only, is no name for others."""
    assert machine.is_loopback(host) is loopback
