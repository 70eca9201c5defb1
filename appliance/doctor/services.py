"""Other servers: Redis, the mail server; and the proxies of the environment, which must not come in between."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Iterator, Mapping
from typing import Final

from appliance.doctor.patient import Patient, is_address
from quay.condition import Finding, fine, remarkable, wrong
from quay.coordination import probe as redis_probe
from quay.coordination.probe import RedisUnfit
from quay.setup.answers import host_of

REDIS: Final = "/docs/runbooks#everything-is-slow"
MAIL: Final = "/docs/runbooks#no-letters"
PROXY: Final = "/docs/runbooks#a-proxy-comes-in-between"
PATIENCE_S: Final = 5.0
GREETING: Final = 512

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ASSIGNED: Final = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_]+)=["']?([^"'\n]*)""", re.M)
ENVIRONMENTS: Final = ("/etc/environment", "/etc/sysconfig/docker", "/etc/default/docker")


def redis(patient: Patient) -> Iterator[Finding]:
    """Whether Redis answers, where there is one."""
    found = patient.config.events_redis
    if found is None:
        yield fine("One node needs no Redis, and none is configured.")
        return
    password = "" if found.password is None else found.password.reveal()
    try:
        redis_probe.probe(found.host, int(found.port), password=password, tls=found.ssl, database=int(found.db))
    except RedisUnfit as unfit:
        yield wrong(str(unfit), f"redis-cli -h {shlex.quote(found.host)} -p {int(found.port)} ping", REDIS)
    else:
        yield fine(f"Redis at {found.host}:{int(found.port)} answers.")


def mail(patient: Patient) -> Iterator[Finding]:
    """Whether the mail server greets, where there is one; nothing is sent, and nobody logs in."""
    config = patient.config
    if not config.mailing or config.mail_server is None:
        yield fine("No letters are sent, because no MAIL_SERVER is configured.")
        return
    server, port = config.mail_server.strip("[]"), int(config.mail_port)
    try:
        with socket.create_connection((server, port), timeout=PATIENCE_S) as connection:
            connection.settimeout(PATIENCE_S)
            said = connection.recv(GREETING)
    except OSError as error:
        yield wrong(
            f"The mail server {server}, port {port}, cannot be reached: {error.strerror or error}.",
            f"curl -v smtp://{server}:{port}",
            MAIL,
        )
        return
    if said.startswith(b"220"):
        yield fine(f"The mail server {server} greets.")
    else:
        yield wrong(
            f"What answers at {server}, port {port}, is no mail server.", f"curl -v smtp://{server}:{port}", MAIL
        )


def proxies(patient: Patient) -> Iterator[Finding]:
    """
    The server itself calls nobody through a proxy; but docker and podman on this machine do, and then do not get to
    the registry. Only the names of variables are shown: a proxy's address may have a password in it.
    """
    name = host_of(patient.config.hostname) if patient.config.hostname is not None else None
    found = False
    for place, variables in _environments(patient):
        used = sorted({key.upper() for key, value in variables.items() if key.upper() in _PROXIES and value})
        if not used:
            continue
        found = True
        spared = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
        if name is None or covers(spared, name):
            yield fine(f"{place} sets {', '.join(used)}, which leaves the registry alone.")
        else:
            yield remarkable(
                f"{place} sets {', '.join(used)}, and NO_PROXY does not have {name}: clients with these variables ask "
                "the proxy for the registry.",
                f"export NO_PROXY={shlex.quote(','.join(filter(None, [spared, name])))}",
                PROXY,
            )
    if not found:
        yield fine("No proxy is set in the environment.")


def _environments(patient: Patient) -> Iterator[tuple[str, Mapping[str, str]]]:
    yield "The environment", patient.host.environ
    for place in ENVIRONMENTS:
        yield place, dict(_ASSIGNED.findall(patient.host.read(place) or ""))
    for directory in ("docker.service.d", "crio.service.d", "containerd.service.d"):
        folder = patient.host.path(f"/etc/systemd/system/{directory}")
        for file in sorted(folder.glob("*.conf")) if folder.is_dir() else ():
            text = patient.host.read(f"/etc/systemd/system/{directory}/{file.name}") or ""
            lines = (word for line in text.splitlines() for word in _words(line))
            yield f"/etc/systemd/system/{directory}/{file.name}", dict(_ASSIGNED.findall("\n".join(lines)))


def _words(line: str) -> list[str]:
    """The assignments in a line of a unit."""
    key, _, value = line.strip().partition("=")
    if key != "Environment":
        return []
    try:
        return shlex.split(value)
    except ValueError:
        return []


def covers(spared: str, name: str) -> bool:
    """Whether a NO_PROXY keeps the proxy away from `name`: names, their endings, or all."""
    name = name.lower().rstrip(".")
    for each in spared.lower().replace(" ", ",").split(","):
        entry = each.strip().rpartition(":")[0] if each.rpartition(":")[2].isdecimal() and "[" not in each else each
        entry = entry.strip().lstrip("*").rstrip(".")
        if each.strip() == "*" or (entry and entry == name):
            return True
        if entry and not is_address(name) and name.endswith(entry if entry.startswith(".") else f".{entry}"):
            return True
    return False
