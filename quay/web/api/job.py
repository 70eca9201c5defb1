"""
Jobs: long work on the whole installation, asked for by superusers, done by whichever node holds the lease.

A job goes on when its page is closed, and when the server is started anew: from where it was, if its kind can.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypedDict

from quay.database import Transaction
from quay.model import job as jobs
from quay.model.job import Job
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import Conflict, NotFound
from quay.web.api.route import Routes
from quay.web.api.shapes import Schema
from quay.web.api.views import http_date, optional_date

routes = Routes("jobs", "Long work on this installation, for superusers.")

Offered = Literal["gc", "fsck", "repair", "scrub", "backup", "verify"]
Kind = Literal[Offered, "bundle_make", "bundle_verify", "bundle_load", "import"]
"""Jobs on bundles are asked for where the bundles are, and imports with what they need to know."""
_POWER: Final[dict[str, Any]] = {"when": lambda config: config.super_users_allowed, "always": True}


class JobView(TypedDict):
    """
    A job. `done` and `total` are blobs for fsck and repair, bytes for all others; `total` is null where nobody knows
    it. `remaining_s` is how many seconds it may still take, null where that cannot be told.
    """

    uuid: str
    kind: Kind
    title: str
    requester: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    stopping: bool
    done: int
    total: int | None
    unit: Literal["bytes", "blobs"]
    remaining_s: float | None
    created: str
    started: str | None
    finished: str | None


class JobDetails(JobView):
    """A job, with the latest lines of its log."""

    log: str


class JobViews(TypedDict):
    jobs: list[JobView]


class CreateJob(TypedDict):
    """What is to be done."""

    kind: Annotated[
        Offered,
        Schema(
            description="gc: collect garbage; fsck: compare the database with the storage; repair: and mend; "
            "scrub: read every blob again; backup: make a backup in BACKUP_DIRECTORY; verify: read the last one again"
        ),
    ]


@routes.get("/superuser/jobs/", "listJobs", needs.superuser, **_POWER)
async def list_jobs(call: Call) -> JobViews:
    """List the jobs that wait or run, and the latest that have ended: the newest first."""
    found = await call.read(jobs.jobs)
    return {"jobs": [_view(call, one) for one in found]}


@routes.post("/superuser/jobs/", "createJob", needs.superuser, status=201, fresh=True, **_POWER)
async def create(call: Call, body: CreateJob) -> JobDetails:
    """
    Ask for a job. It begins when those before it have ended, of which backups are not the same as others; the same is
    not done twice at once. There are backups where the server has a BACKUP_DIRECTORY.
    """
    if jobs.lane_of(body["kind"]) == "backups" and call.means.config.backup_directory is None:
        raise Conflict("No BACKUP_DIRECTORY is configured: name one, or use 'quay backup DIRECTORY' on the server.")

    def make(txn: Transaction) -> Job:
        made = jobs.create(txn, body["kind"], call.principal.name)
        call.record(txn, "job_create", job=made.uuid, job_kind=made.kind)
        return made

    try:
        made = await call.write(make)
    except jobs.JobUnderWay as error:
        raise Conflict(str(error)) from error
    call.means.work_now(jobs.lane_of(made.kind))
    return _details(call, made)


@routes.get("/superuser/jobs/<uuid>", "getJob", needs.superuser, **_POWER)
async def get(call: Call, uuid: str) -> JobDetails:
    """Show one job, with its log."""
    found = await call.read(jobs.find, uuid)
    if found is None:
        raise _unknown(uuid)
    return _details(call, found)


@routes.delete("/superuser/jobs/<uuid>", "cancelJob", needs.superuser, fresh=True, **_POWER)
async def cancel(call: Call, uuid: str) -> None:
    """Cancel a job; what it has done stays done. It is no error if it has ended."""

    def stop(txn: Transaction) -> None:
        found = jobs.find(txn, uuid)
        if found is None:
            raise _unknown(uuid)
        if jobs.cancel(txn, uuid):
            call.record(txn, "job_cancel", job=found.uuid, job_kind=found.kind)

    await call.write(stop)


def _unknown(uuid: str) -> NotFound:
    return NotFound(f"There is no job {uuid[:80]!r}: of those that have ended, {jobs.KEPT} are remembered.")


def _view(call: Call, one: Job) -> JobView:
    return {
        "uuid": one.uuid,
        "kind": one.kind,  # type: ignore[typeddict-item]  # the model takes no other
        "title": jobs.KINDS[one.kind],
        "requester": one.requester,
        "state": one.state,
        "stopping": one.stop and one.state == "running",
        "done": one.done,
        "total": one.total,
        "unit": "blobs" if one.kind in ("fsck", "repair") else "bytes",
        "remaining_s": one.remaining_s(int(call.means.clock.seconds() * 1000)),
        "created": http_date(one.created_ms),
        "started": optional_date(one.started_ms),
        "finished": optional_date(one.finished_ms),
    }


def _details(call: Call, one: Job) -> JobDetails:
    return {**_view(call, one), "log": one.log}
