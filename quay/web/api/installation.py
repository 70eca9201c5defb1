"""How this installation does, for superusers: whether its parts work, and what it holds."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, TypedDict

from quay.condition import Finding
from quay.condition.certificate import expiry
from quay.condition.whole import condition
from quay.model import backup, garbage, holdings
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import optional_date
from quay.worker import Worker

routes = Routes("installation", "How this installation does, for superusers.")

MONTH: Final = timedelta(days=30)

_POWER: Final[dict[str, Any]] = {"when": lambda config: config.super_users_allowed}


class WorkerView(TypedDict):
    """Work that is done again and again on this node; an empty `last_error` if the last run succeeded."""

    name: str
    busy: bool
    last_start: str | None
    last_success: str | None
    last_failure: str | None
    last_error: str


class FindingView(TypedDict):
    """
    How something is: `state` is fine, remarkable, wrong or unseen. `fix` is a command for the machine, and `link` leads
    to the documentation; both may be empty.
    """

    state: str
    sentence: str
    fix: str
    link: str


class HealthView(TypedDict):
    """
    Which services work, as `/health` says it, the work in the background of the node that answers, and the condition of
    its disks, certificate and clock.
    """

    services: dict[str, bool]
    workers: list[WorkerView]
    condition: list[FindingView]


class CertificateView(TypedDict):
    """
    When the certificate ends that clients are shown, and in how many whole days; both are null where this server has
    none. `close` says that somebody should know: it should have been renewed, or nobody renews it by himself.
    """

    ends: str | None
    days: int | None
    close: bool


class LocationView(TypedDict):
    """What one storage location holds, in bytes."""

    location: str
    blobs: int
    bytes: int


class DiskView(TypedDict):
    """The file system of the data directory, in bytes."""

    path: str
    total: int
    free: int


class GarbageView(TypedDict):
    """What a garbage collection would remove now; `bytes` are those of the blobs."""

    tags: int
    manifests: int
    links: int
    blobs: int
    bytes: int


class StorageView(TypedDict):
    """What the installation holds. `garbage` only if it was asked for."""

    locations: list[LocationView]
    disk: DiskView | None
    repositories: int
    manifests: int
    tags: int
    users: int
    organizations: int
    garbage: GarbageView | None


class StorageQuery(TypedDict):
    garbage: Annotated[
        bool,
        Schema(
            default=False,
            description="Whether to find out what a garbage collection would free. It looks at some thousand rows "
            "of each kind, and nobody else writes meanwhile.",
        ),
    ]


@routes.get("/superuser/health", "getInstallationHealth", needs.superuser, **_POWER)
async def health(call: Call) -> HealthView:
    """Returns whether the parts of this installation work, really tried, and the condition of its machine."""
    services = await call.means.checkup.services()
    now = datetime.fromtimestamp(call.means.clock.seconds(), UTC)
    daily = await _daily(call, now) if services["database"] else 0.0
    remembered = await call.read(backup.remembered) if services["database"] else {}
    found = await call.means.cpu.run(condition, call.means.config, now, daily, remembered)
    return {
        "services": dict(services),
        "workers": [_worker(worker) for worker in call.means.workers],
        "condition": [_finding(finding) for finding in found],
    }


@routes.get("/superuser/certificate", "getCertificate", needs.superuser, **_POWER)
async def certificate(call: Call) -> CertificateView:
    """Returns when the certificate of this installation ends."""
    now = datetime.fromtimestamp(call.means.clock.seconds(), UTC)
    found = await call.means.cpu.run(expiry, call.means.config)
    if found is None:
        return {"ends": None, "days": None, "close": False}
    ends = optional_date(int(found.ends.timestamp() * 1000))
    return {"ends": ends, "days": (found.ends - now).days, "close": found.is_close(now)}


async def _daily(call: Call, now: datetime) -> float:
    """How many bytes came in a day in the last month."""
    grown = await call.read(holdings.grown, int((now - MONTH).timestamp() * 1000))
    return grown / MONTH.days


def _finding(finding: Finding) -> FindingView:
    return {
        "state": finding.state.value,
        "sentence": finding.sentence,
        "fix": finding.fix,
        "link": finding.link,
    }


@routes.get("/superuser/storage", "getStorageUse", needs.superuser, **_POWER)
async def storage(call: Call, query: StorageQuery) -> StorageView:
    """Returns what this installation holds, and on request what a garbage collection would free."""
    found = await call.read(holdings.holdings)
    would_go = await _rehearsed(call) if query["garbage"] else None
    return {
        "locations": [{"location": one.location, "blobs": one.blobs, "bytes": one.bytes} for one in found.locations],
        "disk": await call.means.cpu.run(_disk, str(call.means.config.data)),
        "repositories": found.repositories,
        "manifests": found.manifests,
        "tags": found.tags,
        "users": found.users,
        "organizations": found.organizations,
        "garbage": None if would_go is None else _garbage(would_go),
    }


async def _rehearsed(call: Call) -> dict[str, int]:
    due = await call.read(garbage.candidates)
    return await call.write(garbage.rehearse, due, call.means.registry.policy.grace_s)


def _garbage(found: dict[str, int]) -> GarbageView:
    return {
        "tags": found["tags"],
        "manifests": found["manifests"],
        "links": found["links"],
        "blobs": found["blobs"],
        "bytes": found["bytes"],
    }


def _disk(path: str) -> DiskView | None:
    try:
        found = shutil.disk_usage(path)
    except OSError:  # it may be gone, and /health tells of that
        return None
    return {"path": path, "total": found.total, "free": found.free}


def _worker(worker: Worker) -> WorkerView:
    return {
        "name": str(worker.name),
        "busy": worker.busy,
        "last_start": _date(worker.last_start),
        "last_success": _date(worker.last_success),
        "last_failure": _date(worker.last_failure),
        "last_error": worker.last_error,
    }


def _date(seconds: float | None) -> str | None:
    return optional_date(None if seconds is None else int(seconds * 1000))
