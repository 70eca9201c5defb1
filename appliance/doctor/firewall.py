"""
The firewall of this machine, as far as it shows itself: whether it has the ports open. What is said here is a hint:
only a call from another machine proves it.

Source: firewall-cmd(1), ufw(8), nft(8) "Chains", iptables(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from appliance.doctor.patient import Patient
from quay.condition import Finding, fine, remarkable, unseen

CLOSED: Final = "/docs/runbooks#not-reachable"

_TABLE: Final = re.compile(r"table (\S+ \S+) \{")
_CHAIN: Final = re.compile(r"chain (\S+) \{([^{}]*hook input[^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", re.S)
_SERVICES: Final = {80: "http", 443: "https"}


def look(patient: Patient) -> Iterator[Finding]:
    """Those that are there; one that answers for the others comes first."""
    ports = sorted({endpoint.port for endpoint in patient.ports if not endpoint.is_loopback and endpoint.port})
    if not ports:
        yield fine("The server listens for this machine only, which no firewall keeps from it.")
        return
    for ask in (_firewalld, _ufw, _nft, _iptables):
        found = list(ask(patient, ports))
        if found:
            yield from found
            return
    if patient.host.is_root:
        yield fine("No firewall shows itself on this machine.")
    else:
        yield unseen("The rules of the kernel's firewall are shown to root only.", f"nc -vz HOST {ports[0]}")


def _judged(name: str, closed: list[int], ports: list[int], fix: str) -> Finding:
    if closed:
        listed = ", ".join(map(str, closed))
        return remarkable(f"{name} is active, and does not seem to let anybody in at port {listed}.", fix, CLOSED)
    return fine(f"{name} is active, and lets clients in at port {', '.join(map(str, ports))}.")


def _firewalld(patient: Patient, ports: list[int]) -> Iterator[Finding]:
    said = patient.host.run(("firewall-cmd", "--state"))
    if said is None or said.text.strip() != "running":
        return
    shown = patient.host.run(("firewall-cmd", "--list-all"))
    if shown is None or shown.status:
        yield unseen("firewalld is active, and shows its rules to root only.", "firewall-cmd --list-all")
        return
    words = set(re.findall(r"[\w/-]+", shown.text))
    closed = [port for port in ports if not _opened(words, port)]
    adding = " ".join(f"--add-port={port}/tcp" for port in closed)
    yield _judged("firewalld", closed, ports, f"firewall-cmd --permanent {adding} && firewall-cmd --reload")


def _opened(words: set[str], port: int) -> bool:
    """Whether a port, a service or a range of ports is among the words."""
    ranges = (word.removesuffix("/tcp").split("-") for word in words if re.fullmatch(r"\d+-\d+/tcp", word))
    return (
        f"{port}/tcp" in words
        or _SERVICES.get(port, "") in words
        or any(int(first) <= port <= int(last) for first, last in ranges)
    )


def _ufw(patient: Patient, ports: list[int]) -> Iterator[Finding]:
    said = patient.host.run(("ufw", "status"))
    if said is None or "Status: active" not in said.text:
        return
    closed = [port for port in ports if not re.search(rf"^{port}(/tcp)?\s.*ALLOW", said.text, re.M)]
    yield _judged("ufw", closed, ports, " && ".join(f"ufw allow {port}/tcp" for port in closed))


def _nft(patient: Patient, ports: list[int]) -> Iterator[Finding]:
    said = patient.host.run(("nft", "list", "ruleset"))
    if said is None or said.status:
        return
    strict = [found for found in _CHAIN.finditer(said.text) if _refuses(found[2])]
    if not strict:
        return
    closed = [port for port in ports if not _accepts(said.text, port)]
    *_, table = _TABLE.finditer(said.text, 0, strict[0].start())
    rule = f"nft insert rule {table[1]} {strict[0][1]} tcp dport '{{ {', '.join(map(str, closed))} }}' accept"
    yield _judged("The firewall of the kernel (nftables)", closed, ports, rule)


def _refuses(chain: str) -> bool:
    """Whether what no rule lets in stays outside."""
    last = chain.strip().splitlines()[-1].strip()
    return "policy drop" in chain or last in ("drop", "reject") or last.startswith(("counter drop", "reject "))


def _accepts(rules_of_all: str, port: int) -> bool:
    """Whether a rule lets the port in, in whichever chain: those of the input jump to others."""
    rules = [line for line in rules_of_all.splitlines() if "accept" in line and "dport" in line]
    return any(_within(re.findall(r"(\d+)(?:-(\d+))?", rule.partition("dport")[2]), port) for rule in rules) or (
        port in _SERVICES and any(re.search(rf"\b{_SERVICES[port]}\b", rule) for rule in rules)
    )


def _within(ranges: list[tuple[str, str]], port: int) -> bool:
    return any(int(first) <= port <= int(last or first) for first, last in ranges)


def _iptables(patient: Patient, ports: list[int]) -> Iterator[Finding]:
    said = patient.host.run(("iptables", "-S"))
    if said is None or said.status:
        return
    strict = re.search(r"^-P INPUT DROP|^-A INPUT -j (DROP|REJECT)", said.text, re.M)
    if strict is None:
        return
    others = ("-A FORWARD", "-A OUTPUT", "-A DOCKER")
    lines = [line for line in said.text.splitlines() if not line.startswith(others)]
    rules = [line for line in lines if "-j ACCEPT" in line and "dport" in line]
    found = [re.findall(r"(\d+)(?::(\d+))?", rule.partition("dport")[2]) for rule in rules]
    closed = [port for port in ports if not any(_within(each, port) for each in found)]
    fix = " && ".join(f"iptables -I INPUT -p tcp --dport {port} -j ACCEPT" for port in closed)
    yield _judged("The firewall of the kernel (iptables)", closed, ports, fix)
