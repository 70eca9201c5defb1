"""
What there was: repositories, who may do what with them, their manifests, and what their tags were when.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import attrs
import sqlalchemy as sa

from quay.database.predecessor import Predecessor

State = Literal["normal", "read_only", "mirror"]

_STATES: Final[dict[int, State]] = {0: "normal", 1: "read_only", 2: "mirror"}
"""By Quay's numbers; a repository in any other state is being deleted."""


@attrs.frozen
class Held:
    """A repository."""

    id: int
    name: str
    public: bool
    description: str
    kind: str
    state: State
    trust_enabled: bool


@attrs.frozen
class Grant:
    """A role of a user, robot or team, by name."""

    grantee: str | None
    team: str | None
    role: str


@attrs.frozen
class Lifetime:
    """What a tag was from `start_ms` until `end_ms`, which may lie ahead; None is for ever."""

    tag: str
    digest: str
    start_ms: int
    end_ms: int | None
    reversion: bool
    immutable: bool


@attrs.frozen
class Stored:
    """A manifest as it was pushed."""

    media_type: str
    content: bytes = attrs.field(repr=False)


@attrs.frozen
class Added:
    """A label that somebody added to a manifest."""

    digest: str
    key: str
    value: str
    media_type: str


@attrs.frozen
class Notification:
    """Whom to tell of what."""

    event: str
    method: str
    title: str | None
    config: str = attrs.field(repr=False)
    event_config: str


@attrs.frozen
class Token:
    """A token for one repository: its name, and the rest of it, encrypted."""

    title: str
    name: str = attrs.field(repr=False)
    code: str = attrs.field(repr=False)
    role: str


def repositories(quay: Predecessor, namespace_id: int) -> Iterator[Held]:
    """The repositories of a namespace, but for those that are being deleted."""
    table, visibility = quay.table("repository"), quay.table("visibility")
    joined: Any = table.join(visibility, visibility.c.id == table.c.visibility_id)
    kind: Any = sa.literal("image").label("kind")
    if quay.has("repositorykind"):
        kinds = quay.table("repositorykind")
        joined = joined.outerjoin(kinds, kinds.c.id == table.c.kind_id)
        kind = kinds.c.name.label("kind")
    wanted = (
        sa.select(
            table.c.id,
            table.c.name,
            visibility.c.name.label("visibility"),
            table.c.description,
            kind,
            quay.column("repository", "state"),
            quay.column("repository", "trust_enabled"),
        )
        .select_from(joined)
        .where(table.c.namespace_user_id == namespace_id)
    )
    for page in quay.pages(wanted, table.c.id):
        for row in page:
            if (row.state or 0) in _STATES:
                yield _held(row)


def _held(row: sa.Row[Any]) -> Held:
    return Held(
        row.id,
        row.name,
        row.visibility == "public",
        row.description or "",
        row.kind or "image",
        _STATES[row.state or 0],
        bool(row.trust_enabled),
    )


def grants(quay: Predecessor, repository_id: int) -> list[Grant]:
    """Who may do what with a repository, by having been given it."""
    table, role = quay.table("repositorypermission"), quay.table("role")
    user, team = quay.table("user"), quay.table("team")
    wanted = (
        sa.select(user.c.username.label("grantee"), team.c.name.label("team"), role.c.name.label("role"))
        .join_from(table, role, role.c.id == table.c.role_id)
        .outerjoin(user, user.c.id == table.c.user_id)
        .outerjoin(team, team.c.id == table.c.team_id)
        .where(table.c.repository_id == repository_id)
        .order_by(table.c.id)
    )
    return [Grant(**row._mapping) for row in quay.rows(wanted)]


def stargazers(quay: Predecessor, repository_id: int) -> list[str]:
    """Who has given a repository a star."""
    star, user = quay.table("star"), quay.table("user")
    wanted = sa.select(user.c.username).join_from(star, user, user.c.id == star.c.user_id)
    return [row.username for row in quay.rows(wanted.where(star.c.repository_id == repository_id))]


def mirror(quay: Predecessor, repository_id: int) -> tuple[str, str] | None:
    """From where a mirror is filled, and by which robot."""
    if not quay.has("repomirrorconfig"):
        return None
    table, user = quay.table("repomirrorconfig"), quay.table("user")
    wanted = sa.select(table.c.external_reference, user.c.username).join_from(
        table, user, user.c.id == table.c.internal_robot_id
    )
    found = quay.rows(wanted.where(table.c.repository_id == repository_id))
    return (found[0].external_reference, found[0].username) if found else None


def notifications(quay: Predecessor, repository_id: int) -> list[Notification]:
    """Whom a repository tells of what."""
    table = quay.table("repositorynotification")
    event, method = quay.table("externalnotificationevent"), quay.table("externalnotificationmethod")
    wanted = (
        sa.select(
            event.c.name.label("event"),
            method.c.name.label("method"),
            table.c.title,
            table.c.config_json.label("config"),
            table.c.event_config_json.label("event_config"),
        )
        .join_from(table, event, event.c.id == table.c.event_id)
        .join(method, method.c.id == table.c.method_id)
        .where(table.c.repository_id == repository_id)
        .order_by(table.c.id)
    )
    return [Notification(**row._mapping) for row in quay.rows(wanted)]


def access_tokens(quay: Predecessor, repository_id: int) -> list[Token]:
    """The tokens of a repository that were made to stay."""
    if not quay.has("accesstoken"):
        return []
    table, role = quay.table("accesstoken"), quay.table("role")
    wanted = (
        sa.select(
            table.c.friendly_name,
            quay.column("accesstoken", "token_name").label("token_name"),
            quay.column("accesstoken", "token_code").label("token_code"),
            role.c.name.label("role"),
        )
        .join_from(table, role, role.c.id == table.c.role_id)
        .where(table.c.repository_id == repository_id, table.c.temporary == sa.false())
        .order_by(table.c.id)
    )
    return [
        Token(row.friendly_name or "", row.token_name, row.token_code, row.role)
        for row in quay.rows(wanted)
        if row.token_name and row.token_code
    ]


# --- manifests and tags -------------------------------------------------------------------------------------------


def lifetimes(quay: Predecessor, repository_id: int, since_ms: int) -> list[Lifetime]:
    """What the tags of a repository were, as far as it ended after `since_ms` or has not ended, the oldest first."""
    tag, manifest = quay.table("tag"), quay.table("manifest")
    wanted = (
        sa.select(
            tag.c.id,
            tag.c.name,
            manifest.c.digest,
            tag.c.lifetime_start_ms,
            tag.c.lifetime_end_ms,
            tag.c.reversion,
            quay.column("tag", "immutable"),
        )
        .join_from(tag, manifest, manifest.c.id == tag.c.manifest_id)
        .where(
            tag.c.repository_id == repository_id,
            tag.c.hidden == sa.false(),
            sa.or_(tag.c.lifetime_end_ms.is_(None), tag.c.lifetime_end_ms > since_ms),
        )
    )
    found = [
        Lifetime(
            row.name, row.digest, row.lifetime_start_ms, row.lifetime_end_ms, bool(row.reversion), bool(row.immutable)
        )
        for page in quay.pages(wanted, tag.c.id)
        for row in page
    ]
    return sorted(found, key=lambda one: one.start_ms)


def manifest(quay: Predecessor, repository_id: int, digest: str) -> Stored | None:
    """A manifest of a repository."""
    table, media_type = quay.table("manifest"), quay.table("mediatype")
    wanted = (
        sa.select(media_type.c.name, table.c.manifest_bytes)
        .join_from(table, media_type, media_type.c.id == table.c.media_type_id)
        .where(table.c.repository_id == repository_id, table.c.digest == digest)
    )
    found = quay.rows(wanted)
    return Stored(found[0].name, _bytes(found[0].manifest_bytes)) if found else None


def _bytes(content: object) -> bytes:
    return content if isinstance(content, bytes) else str(content).encode()


def referrers(quay: Predecessor, repository_id: int, digest: str) -> list[str]:
    """The manifests whose subject is this one, where this version knows of subjects."""
    table = quay.table("manifest")
    if "subject" not in table.c:
        return []
    wanted = sa.select(table.c.digest).where(table.c.repository_id == repository_id, table.c.subject == digest)
    return [row.digest for row in quay.rows(wanted.order_by(table.c.id))]


def added_labels(quay: Predecessor, repository_id: int) -> Sequence[Added]:
    """The labels of a repository that did not come with its images."""
    link, label = quay.table("manifestlabel"), quay.table("label")
    manifests, source, media_type = quay.table("manifest"), quay.table("labelsourcetype"), quay.table("mediatype")
    wanted = (
        sa.select(manifests.c.digest, label.c.key, label.c.value, media_type.c.name.label("media_type"))
        .join_from(link, label, label.c.id == link.c.label_id)
        .join(manifests, manifests.c.id == link.c.manifest_id)
        .join(source, source.c.id == label.c.source_type_id)
        .join(media_type, media_type.c.id == label.c.media_type_id)
        .where(link.c.repository_id == repository_id, source.c.name == "api")
        .order_by(label.c.id)
    )
    return [Added(**row._mapping) for row in quay.rows(wanted)]


def places(quay: Predecessor, digest: str) -> tuple[int | None, list[str]]:
    """The size of a blob, as far as it is known, and where it may lie below a storage path."""
    table = quay.table("imagestorage")
    wanted = sa.select(table.c.uuid, table.c.image_size, table.c.cas_path).where(table.c.content_checksum == digest)
    found = quay.rows(wanted)
    algorithm, _, hexdigits = digest.partition(":")
    paths = [f"{algorithm}/{hexdigits[:2]}/{hexdigits}"]
    paths += [f"sharedimages/{row.uuid}/layer" for row in found if not row.cas_path]
    return next((row.image_size for row in found if row.image_size), None), paths
