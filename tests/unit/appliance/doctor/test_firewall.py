"""What the firewalls of Linux say of themselves is understood, and what to do about it is theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.doctor.firewall import look
from appliance.doctor.patient import Said
from quay.condition import State
from tests.unit.appliance.doctor.patients import machine, only, patient, states

LISTEN = ["0.0.0.0:443", "0.0.0.0:8080"]

FIREWALLD = """\
public (active)
  target: default
  interfaces: eth0
  services: cockpit dhcpv6-client {services} ssh
  ports: {ports}
"""
UFW = """\
Status: active

To                         Action      From
--                         ------      ----
22/tcp                     ALLOW       Anywhere
{rules}
"""
NFT = """\
table inet filter {{
	chain input {{
		type filter hook input priority filter; policy {policy};
		ct state {{ established, related }} accept
		iif "lo" accept
		{rule}
	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
	}}
}}
"""
IPTABLES = """\
-P INPUT {policy}
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
{rule}
"""


@pytest.mark.parametrize(
    ("programs", "closed", "fix"),
    [
        (
            {
                "firewall-cmd --state": "running\n",
                "firewall-cmd --list-all": FIREWALLD.format(services="https", ports=""),
            },
            "8080",
            "firewall-cmd --permanent --add-port=8080/tcp && firewall-cmd --reload",
        ),
        (
            {
                "firewall-cmd --state": "running\n",
                "firewall-cmd --list-all": FIREWALLD.format(services="https", ports="8000-9000/tcp"),
            },
            "",
            "",
        ),
        ({"ufw status": UFW.format(rules="443/tcp   ALLOW  Anywhere")}, "8080", "ufw allow 8080/tcp"),
        ({"ufw status": UFW.format(rules="443  ALLOW  Anywhere\n8080/tcp  ALLOW  10.0.0.0/8")}, "", ""),
        (
            {"nft list ruleset": NFT.format(policy="drop", rule="tcp dport { 22, 443 } accept")},
            "8080",
            "nft insert rule inet filter input tcp dport '{ 8080 }' accept",
        ),
        ({"nft list ruleset": NFT.format(policy="drop", rule="tcp dport { 22, 443, 8000-8100 } accept")}, "", ""),
        (
            {
                "nft list ruleset": NFT.format(policy="drop", rule="jump services")
                + "table inet filter {\n\tchain services {\n\t\ttcp dport 443 counter packets 0 bytes 0 accept\n\t}\n}"
            },
            "8080",
            "nft insert rule inet filter input tcp dport '{ 8080 }' accept",
        ),
        ({"nft list ruleset": NFT.format(policy="accept", rule="tcp dport 22 accept")}, "", ""),
        (
            {"iptables -S": IPTABLES.format(policy="DROP", rule="")},
            "443, 8080",
            "iptables -I INPUT -p tcp --dport 443 -j ACCEPT && iptables -I INPUT -p tcp --dport 8080 -j ACCEPT",
        ),
        (
            {
                "iptables -S": IPTABLES.format(
                    policy="ACCEPT",
                    rule="-A INPUT -p tcp -m multiport --dports 443,8000:8100 -j ACCEPT\n-A INPUT -j REJECT",
                )
            },
            "",
            "",
        ),
        ({"iptables -S": IPTABLES.format(policy="ACCEPT", rule="")}, "", ""),
    ],
)
def test_rules(tmp_path: Path, programs: dict[str, str], closed: str, fix: str) -> None:
    """Ports, ranges, services and policies count."""
    host = machine(tmp_path, programs={command: Said(0, text) for command, text in programs.items()})
    whom = patient(tmp_path, host, LISTEN=LISTEN)
    if closed:
        finding = only(look, whom, State.REMARKABLE)
        assert f"at port {closed}." in finding.sentence
        assert finding.fix == fix
    else:
        assert [state for state, _ in states(look, whom)] == [State.FINE]


def test_none(tmp_path: Path) -> None:
    """Root sees that there is none; others do not."""
    assert only(look, patient(tmp_path, machine(tmp_path), LISTEN=LISTEN), State.FINE)
    assert only(look, patient(tmp_path, machine(tmp_path, uid=1000), LISTEN=LISTEN), State.UNSEEN)


def test_for_this_machine_only(tmp_path: Path) -> None:
    """Nothing keeps a machine from itself."""
    assert "this machine only" in only(look, patient(tmp_path, LISTEN="127.0.0.1:8080"), State.FINE).sentence
