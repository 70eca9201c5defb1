"""
`quay status`: how the server of this machine does, seen from outside: by systemd, by its `/health`, by the certificate
that it shows. Nothing here needs to be root, though root sees more.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import IntEnum
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from cryptography import x509

from appliance import systemd
from appliance.layout import Layout
from quay.backups import BackupFailed, Folder
from quay.config import Config
from quay.lock import holder

PATIENCE_S: Final = 10.0
LIMIT: Final = 65536
_SERVING: Final = re.compile(r"quay (?P<version>\S+) serves (?P<urls>[^;]+)")


class Health(IntEnum):
    """How it is, and with what the command exits (those of `systemctl status`)."""

    HEALTHY = 0
    ILL = 1
    STOPPED = 3


@attrs.frozen(kw_only=True)
class Status:
    """
    What was found. `services` are those of `/health`, which work or not; `trouble` says what is wrong, if anything is;
    what could not be found out is None.
    """

    health: Health
    trouble: str = ""
    version: str | None = None
    urls: tuple[str, ...] = ()
    since: str | None = None
    restarts: int | None = None
    services: Mapping[str, bool] = attrs.field(factory=dict)
    certificate_ends: datetime | None = None
    data: Path | None = None
    free: int | None = None
    total: int | None = None
    last_backup: datetime | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """All of it for JSON: times in ISO 8601, sizes in bytes."""
        found = attrs.asdict(self, value_serializer=lambda instance, field, value: _plain(value))
        return found | {"health": self.health.name.lower()}

    def lines(self, now: datetime) -> Iterator[str]:
        """All of it for people."""
        yield " ".join(filter(None, [f"Quay {self.version or ''}".strip(), _SAID[self.health], self.trouble]))
        for name, value in self._known(now):
            yield f"  {name:<12} {value}"

    def _known(self, now: datetime) -> Iterator[tuple[str, str]]:
        if self.urls:
            yield "Serves", ", ".join(self.urls)
        if self.since is not None:
            yield "Since", f"{self.since}{f', after {self.restarts} restarts' if self.restarts else ''}"
        for name, works in self.services.items():
            yield name.partition(":")[0].capitalize(), _works(name, works)
        if self.certificate_ends is not None:
            days = (self.certificate_ends - now).days
            yield "Certificate", f"ends on {self.certificate_ends:%Y-%m-%d}, in {days} days"
        if self.data is not None:
            room = f", {self.free / 2**30:.1f} of {self.total / 2**30:.1f} GiB free" if self.free and self.total else ""
            yield "Data", f"{self.data}{room}"
        if self.last_backup is not None:
            yield "Backup", f"the last one is of {self.last_backup:%Y-%m-%d %H:%M} UTC"


_SAID: Final = {Health.HEALTHY: "is healthy.", Health.ILL: "is not well:", Health.STOPPED: "does not run."}


def _works(name: str, works: bool) -> str:
    location = name.partition(":")[2]
    return f"{'works' if works else 'does not work'}{f' ({location})' if location else ''}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def look(layout: Layout, data: Path | None, config: Config | None) -> Status:
    """How the server does whose data are in `data`, with this configuration, as far as they are known."""
    unit = systemd.shown() if layout.data is not None else {}
    space = _space(data)
    known = Status(
        health=Health.STOPPED,
        data=data,
        free=space and space[0],
        total=space and space[1],
        last_backup=_last_backup(config),
    )
    if unit.get("LoadState") == "loaded" and unit.get("ActiveState") != "inactive":
        return _of_the_unit(known, unit, config)
    server = holder(data) if data is not None else None
    if server is None or config is None:
        return attrs.evolve(known, trouble="")
    return _asked(attrs.evolve(known, urls=_urls(config)))


def _of_the_unit(known: Status, unit: Mapping[str, str], config: Config | None) -> Status:
    said = unit.get("StatusText", "")
    serving = _SERVING.match(said)
    found = attrs.evolve(
        known,
        version=serving["version"] if serving else None,
        urls=tuple(serving["urls"].split(", ")) if serving else (),
        since=unit.get("ActiveEnterTimestamp") or None,
        restarts=int(unit.get("NRestarts") or 0),
    )
    state = unit.get("ActiveState")
    if state not in ("active", "reloading"):
        stopped = state in ("failed", "deactivating")
        trouble = f"systemd says that it is {state} ({unit.get('SubState')}). {said}".strip()
        return attrs.evolve(found, health=Health.STOPPED if stopped else Health.ILL, trouble=trouble)
    return _asked(found if serving or config is None else attrs.evolve(found, urls=_urls(config)))


def _urls(config: Config) -> tuple[str, ...]:
    scheme = "https" if config.tls_key is not None else "http"
    return tuple(f"{scheme}://{endpoint}" for endpoint in config.listen)


def _space(data: Path | None) -> tuple[int, int] | None:
    with suppress(OSError):
        if data is not None:
            usage = shutil.disk_usage(data)
            return usage.free, usage.total
    return None


def _last_backup(config: Config | None) -> datetime | None:
    if config is None or config.backup_directory is None:
        return None
    with suppress(BackupFailed):
        for _, record in Folder(config.backup_directory).records()[-1:]:
            return datetime.fromtimestamp(record.made_ms / 1000, UTC)
    return None


def _asked(known: Status) -> Status:
    """With what the server answers where it says that it serves."""
    if not known.urls:
        return attrs.evolve(known, health=Health.ILL, trouble="It runs, but does not say where it serves.")
    url = known.urls[0]
    try:
        services, ends = _health(url)
    except (OSError, HTTPException, ValueError) as error:
        return attrs.evolve(known, health=Health.ILL, trouble=f"{url}/health does not answer: {error or 'no answer'}.")
    bad = [name for name, works in services.items() if not works]
    trouble = f"{', '.join(bad)} {'does' if len(bad) == 1 else 'do'} not work." if bad else ""
    if ends is not None and ends <= datetime.now(UTC):
        trouble = f"The certificate has ended. {trouble}".strip()
    health = Health.ILL if trouble else Health.HEALTHY
    return attrs.evolve(known, health=health, trouble=trouble, services=services, certificate_ends=ends)


def _health(url: str) -> tuple[dict[str, bool], datetime | None]:
    """What `/health` says, and when the certificate ends that comes with it. Raises `OSError`, `ValueError`."""
    connection = _connection(url)
    try:
        connection.connect()
        der = connection.sock.getpeercert(binary_form=True) if isinstance(connection, HTTPSConnection) else None
        connection.request("GET", "/health")
        said = json.loads(connection.getresponse().read(LIMIT))["data"]["services"]
        services = {str(name): works is True for name, works in said.items()}
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("what is there is no registry") from error
    finally:
        connection.close()
    ends = x509.load_der_x509_certificate(der).not_valid_after_utc if der else None
    return services, ends


def _connection(url: str) -> HTTPConnection:
    """To the server on this machine: whoever it is shows by what he answers, and he is told nothing."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 0
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # that is, at every address
    if parts.scheme == "http":
        return HTTPConnection(host, port, timeout=PATIENCE_S)
    looking = ssl.create_default_context()
    looking.check_hostname, looking.verify_mode = False, ssl.CERT_NONE  # an ended one is to be seen, too
    return HTTPSConnection(host, port, timeout=PATIENCE_S, context=looking)
