"""The page of jobs: what long work waits, runs and has ended; and of one job its progress and log, kept up to date."""

from __future__ import annotations

from typing import Final

from quay.model.job import ENDED, KINDS, lane_of
from quay.web.console.page import Context, PageTable, View
from quay.web.console.superuser import HOME, JOBS, navigation, only_superusers, tabs

pages = PageTable()

MEANT: Final = {
    "gc": "Removes what nobody can reach or restore, all at once. It also happens by itself, little by little.",
    "fsck": "Looks whether what the database says and what the storage holds belong together. Changes nothing.",
    "repair": "The same, and mends what can be mended: rows without bytes, bytes without rows, links that are missing.",
    "scrub": "Reads every blob and hashes it, at 50 MB a second at most. What has rotted is set aside, so that the "
    "next push heals it.",
    "backup": "Copies database, secrets and all blobs into the directory of backups, as they are at one moment. "
    "What an earlier backup has is not copied again.",
    "verify": "Reads all of the last backup, and compares it with its digests and with what its database names.",
}


@pages.page("/superuser/jobs", "console/superuser_jobs.html")
async def show(view: View) -> Context:
    """All jobs, and the forms that ask for one."""
    only_superusers(view)
    found = await view.ask("listJobs")
    active = [one for one in found["jobs"] if one["state"] not in ENDED]
    return {
        "active": active,
        "ended": [one for one in found["jobs"] if one["state"] in ENDED],
        "kinds": [(kind, title, MEANT[kind]) for kind, title in KINDS.items() if _is_offered(view, kind)],
        "under_way": {one["kind"]: one["uuid"] for one in active},
        **_frame(view),
    }


@pages.page("/superuser/jobs/<uuid>", "console/superuser_job.html")
async def one(view: View, uuid: str) -> Context:
    """A job."""
    only_superusers(view)
    found = await view.ask("getJob", uuid=uuid)
    return {"job": found, "ended": found["state"] in ENDED, "jobs": JOBS, **_frame(view)}


def _is_offered(view: View, kind: str) -> bool:
    return kind in MEANT and (lane_of(kind) != "backups" or view.config.backup_directory is not None)


def _frame(view: View) -> Context:
    return {"tab": "Jobs", "tabs": navigation(tabs.navigation(HOME, {}))}
