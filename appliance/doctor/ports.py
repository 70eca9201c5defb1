"""
Ports: whether the server listens where it should, who else does, and whether it answers through each of its URLs.

Source: Linux, proc_pid_net(5) (tcp, tcp6), proc_pid_fd(5).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from appliance.doctor import reach
from appliance.doctor.patient import Host, Patient
from quay.condition import Finding, fine, remarkable, unseen, wrong
from quay.config import Endpoint
from quay.setup.answers import host_of

TAKEN: Final = "/docs/runbooks#the-port-is-taken"
UNREACHED: Final = "/docs/runbooks#not-reachable"
_LISTENS: Final = "0A"


@attrs.frozen
class Listening:
    """A socket that listens: where, and its number in the kernel."""

    host: str
    port: int
    inode: str


def look(patient: Patient) -> Iterator[Finding]:
    """Who listens, then what it answers."""
    found = listening(patient.host)
    for endpoint in patient.ports:
        yield from _held(patient, endpoint, found)
    if patient.server is None:
        yield unseen("The server does not run, so nothing can be said of its answers.", "quay serve")
        return
    for url in reach.urls(patient):
        yield _answer(patient, url)


def listening(host: Host) -> list[Listening]:
    """Every TCP socket of the machine that listens."""
    found: list[Listening] = []
    for place in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (host.read(place) or "").splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTENS:
                address, _, port = fields[1].partition(":")
                found.append(Listening(_address(address), int(port, 16), fields[9]))
    return found


def _address(text: str) -> str:
    """Words of four bytes, each in the order of the processor, which is a little-endian one."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def _held(patient: Patient, endpoint: Endpoint, found: list[Listening]) -> Iterator[Finding]:
    holders = [each for each in found if _collides(each, endpoint)]
    pid = patient.server_pid
    if not holders:
        if patient.server is not None:
            yield wrong(
                f"A server runs ({patient.server}), but nothing listens on {endpoint}: it was started with another "
                "configuration, or is still starting.",
                "quay status",
                UNREACHED,
            )
        else:
            yield fine(f"{endpoint} is free.")
        return
    who = _owner(patient.host, holders[0].inode)
    if who is None:
        yield _unknown(patient, endpoint)
    elif who[0] == pid:
        yield fine(f"The server listens on {endpoint}.")
    else:
        yield wrong(
            f"{endpoint} is held by {who[1]} (process {who[0]}), so the server cannot listen there: stop that, or "
            "take another port.",
            f"ps -fp {who[0]}",
            TAKEN,
        )


def _unknown(patient: Patient, endpoint: Endpoint) -> Finding:
    if patient.server is not None:
        return fine(f"Something listens on {endpoint}, which is the server, as far as this user can see.")
    return remarkable(
        f"Something listens on {endpoint}, and the server does not run; root can see what it is.",
        f"ss -ltnp 'sport = :{endpoint.port}'",
        TAKEN,
    )


def who_listens(endpoint: Endpoint, host: Host) -> str | None:
    """Who listens there, as `nginx (process 12)`; None if nobody does, or it may not be seen who."""
    held = next((each for each in listening(host) if _collides(each, endpoint)), None)
    who = None if held is None else _owner(host, held.inode)
    return None if who is None else f"{who[1]} (process {who[0]})"


def _collides(held: Listening, endpoint: Endpoint) -> bool:
    everywhere = ("0.0.0.0", "::")  # noqa: S104  # compared, and nothing listens
    return held.port == endpoint.port and (
        held.host == endpoint.host or held.host in everywhere or endpoint.host in everywhere
    )


def _owner(host: Host, inode: str) -> tuple[int, str] | None:
    """The process that has this socket, and what it is called; None if it may not be seen."""
    wanted = f"socket:[{inode}]"
    for process in _processes(host):
        with suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if _target(descriptor) == wanted:
                    return int(process.name), (process / "comm").read_text(errors="replace").strip()
    return None


def _processes(host: Host) -> list[Path]:
    with suppress(OSError):
        return [path for path in host.path("/proc").iterdir() if path.name.isdecimal()]
    return []


def _target(descriptor: Path) -> str:
    try:
        return os.fspath(descriptor.readlink())
    except OSError:
        return ""


def _answer(patient: Patient, url: str) -> Finding:
    config = patient.config
    own = [f"{scheme}://{endpoint}" for scheme in ("http", "https") for endpoint in config.listen]
    called = host_of(config.hostname) if config.hostname is not None and url in own else None
    trust = reach.trust_of(config)
    try:
        answer = reach.ask(url, "/v2/", trust, name=called)
    except reach.Unreached as unreached:
        if isinstance(unreached, reach.Unbelieved) and trust.partial:
            return unseen(f"{url} shows a certificate of an authority that this user may not read: try as root.")
        return wrong(f"{url} does not answer. {unreached}", f"curl -v {url}/v2/", UNREACHED)
    if answer.status in (200, 401) and "docker-distribution-api-version" in answer.headers:
        return fine(f"{url} answers as a registry, in {answer.seconds * 1000:.0f} ms.")
    if answer.status == 503:
        return wrong(f"{url} answers 503: the server is starting, or a part of it fails.", "quay logs", UNREACHED)
    return wrong(
        f"{url} answers, with the status {answer.status}, but not as a registry: a proxy or another server is there.",
        f"curl -v {url}/v2/",
        UNREACHED,
    )
