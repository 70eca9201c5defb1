"""Pull statistics: how often tags and manifests were pulled, and when the last time."""

from __future__ import annotations

from typing import Final, TypedDict

from quay.database import Transaction
from quay.model import pull
from quay.model import tag as tags
from quay.model.permission import Role
from quay.web.api import needs
from quay.web.api.call import Call
from quay.web.api.errors import NotFound
from quay.web.api.route import Routes
from quay.web.api.tag import digest_of
from quay.web.api.views import optional_date

routes = Routes("pull", "See how often images are pulled.")

_REPOSITORY: Final = "/repository/<repository:repository>"
_READS: Final = needs.repository(Role.READ, images=True)


class TagPulls(TypedDict):
    """The pulls by a tag, and those of the manifest that it names now, by whatever name."""

    tag_name: str
    tag_pull_count: int
    last_tag_pull_date: str | None
    current_manifest_digest: str
    manifest_pull_count: int
    last_manifest_pull_date: str | None


class ManifestPulls(TypedDict):
    """The pulls of a manifest, by its digest and by tags."""

    manifest_digest: str
    manifest_pull_count: int
    last_manifest_pull_date: str | None


@routes.get(
    f"{_REPOSITORY}/tag/<tag>/pull_statistics",
    "getTagPullStatistics",
    _READS,
    when=lambda config: config.image_pull_stats,
)
async def of_tag(call: Call, tag: str) -> TagPulls:
    """Get how often a tag was pulled, and when the last time."""
    repository = call.repository

    def read(txn: Transaction) -> TagPulls:
        row = tags.resolve_tag(txn, repository.id, tag)
        if row is None:
            raise NotFound(f"{repository.name} has no tag {tag[:128]}.")
        found = pull.pulls(txn, repository.id, [row.name, row.digest])
        return {
            "tag_name": row.name,
            "tag_pull_count": found[row.name].count,
            "last_tag_pull_date": optional_date(found[row.name].last_ms),
            "current_manifest_digest": row.digest,
            "manifest_pull_count": found[row.digest].count,
            "last_manifest_pull_date": optional_date(found[row.digest].last_ms),
        }

    return await call.read(read)


@routes.get(
    f"{_REPOSITORY}/manifest/<manifestref>/pull_statistics",
    "getManifestPullStatistics",
    _READS,
    when=lambda config: config.image_pull_stats,
)
async def of_manifest(call: Call, manifestref: str) -> ManifestPulls:
    """Get how often a manifest was pulled, and when the last time."""
    stored = await call.means.registry.manifests.find(call.repository, digest_of(manifestref))
    found = (await call.read(pull.pulls, stored.repository_id, [stored.digest]))[stored.digest]
    return {
        "manifest_digest": stored.digest,
        "manifest_pull_count": found.count,
        "last_manifest_pull_date": optional_date(found.last_ms),
    }
