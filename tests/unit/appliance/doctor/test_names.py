"""The names of the registry lead to its machine, or it is said where they lead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.doctor.names import look
from quay.condition import State
from tests.unit.appliance.doctor.patients import machine, only, patient, well

NAME = "registry.example.org"


def test_a_name_of_this_machine(tmp_path: Path) -> None:
    """A name that leads to an address of the machine is fine, and so is an address that is called by it."""
    host = machine(tmp_path, dns={NAME: ["10.0.0.5"]}, reverse={"10.0.0.5": NAME})
    assert well(look, patient(tmp_path, host, SERVER_HOSTNAME=NAME))


@pytest.mark.parametrize("found", [["10.9.9.9"], ["10.0.0.5", "10.9.9.9"]])
def test_a_name_of_another_machine(tmp_path: Path, found: list[str]) -> None:
    """One address that is not of this machine leads some clients elsewhere."""
    host = machine(tmp_path, dns={NAME: found})
    finding = only(look, patient(tmp_path, host, SERVER_HOSTNAME=f"{NAME}:8443"), State.WRONG)
    assert f"{NAME} leads to 10.9.9.9, which is no address of this machine" in finding.sentence
    assert finding.fix == f"getent ahosts {NAME}"


def test_a_name_of_the_proxy(tmp_path: Path) -> None:
    """Where a proxy is trusted, the name leads to it."""
    host = machine(tmp_path, dns={NAME: ["10.9.9.9"]})
    assert well(look, patient(tmp_path, host, SERVER_HOSTNAME=NAME, TRUSTED_PROXIES=["10.9.9.9"]))


def test_a_name_without_an_address(tmp_path: Path) -> None:
    """The fix has an address of this machine in it."""
    finding = only(look, patient(tmp_path, machine(tmp_path), SERVER_HOSTNAME=NAME), State.WRONG)
    assert "has no address here" in finding.sentence
    assert finding.fix == f"echo '10.0.0.5 {NAME}' >> /etc/hosts"


def test_a_name_that_only_this_machine_knows(tmp_path: Path) -> None:
    """As Debian writes it into /etc/hosts: others need the DNS."""
    host = machine(tmp_path, dns={NAME: ["127.0.1.1"]})
    assert "only the DNS" in only(look, patient(tmp_path, host, SERVER_HOSTNAME=NAME), State.REMARKABLE).sentence


def test_no_name_at_all(tmp_path: Path) -> None:
    """A registry without a name is remarkable."""
    assert "SERVER_HOSTNAME" in only(look, patient(tmp_path, machine(tmp_path)), State.REMARKABLE).sentence


def test_backwards_to_somebody_else(tmp_path: Path) -> None:
    """An address with a name that leads elsewhere is remarkable; one without a name is not."""
    host = machine(
        tmp_path, dns={NAME: ["10.0.0.5"], "old.example.org": ["10.0.0.9"]}, reverse={"10.0.0.5": "old.example.org"}
    )
    finding = only(look, patient(tmp_path, host, SERVER_HOSTNAME=NAME), State.REMARKABLE)
    assert finding.sentence == "10.0.0.5 is called old.example.org in the reverse DNS, which leads to 10.0.0.9."


@pytest.mark.parametrize(
    ("address", "keys", "state"),
    [
        ("10.0.0.5:8443", {}, State.FINE),
        ("10.9.9.9", {}, State.WRONG),
        ("[fd00::9]:8443", {}, State.WRONG),
        ("10.9.9.9", {"TRUSTED_PROXIES": ["10.9.9.9"]}, State.FINE),
    ],
)
def test_an_address_instead_of_a_name(tmp_path: Path, address: str, keys: dict[str, Any], state: State) -> None:
    """Sites without a DNS call the registry by its address: it has to be one of the machine."""
    first, *_ = look(patient(tmp_path, machine(tmp_path), SERVER_HOSTNAME=address, **keys))
    assert first.state is state
    assert "Clients call the registry" in first.sentence
