"""
The tables. What each row means stands here; what may be done with it stands in `quay.model`.

Times are integers, milliseconds since the epoch, UTC. Names that are compared and paged by byte order are in the
"C" collation on PostgreSQL, which is SQLite's own. Deletes of a parent take their children along.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

SCHEMA: Final = 4
"""What this code writes. A migration that older code may overlook leaves `SCHEMA_COMPAT` as it is."""

SCHEMA_COMPAT: Final = 2
"""The oldest code (its SCHEMA) that can still work on a database which this code has migrated."""

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by itself only for INTEGER
Ordered = sa.String(255).with_variant(postgresql.VARCHAR(255, collation="C"), "postgresql")
DigestText = sa.String(135).with_variant(postgresql.VARCHAR(135, collation="C"), "postgresql")
Json = sa.JSON()  # not JSONB: what clients annotate may hold \u0000, which only json keeps

_NEVER_AGAIN: Final[dict[str, Any]] = {"sqlite_autoincrement": True}
"""
Of what caches and the audit log know by its number: SQLite would give the number of a row that was the last, and was
deleted, to the next one, who would then be taken for the first. PostgreSQL counts on by itself.
"""


def _id() -> sa.Column[int]:
    return sa.Column("id", Id, primary_key=True)


def _ref(name: str, target: str, *, null: bool = False, delete: str = "CASCADE", **more: object) -> sa.Column[int]:
    return sa.Column(name, Id, sa.ForeignKey(f"{target}.id", ondelete=delete), nullable=null, **more)  # type: ignore[arg-type]


def _flag(name: str, default: bool) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.true() if default else sa.false())


def _text(name: str, default: str | None = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=default is None, server_default=default)


def _ms(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


setting = sa.Table(
    "setting",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    comment="schema, schema_compat, instance id: what belongs to the whole installation",
)

# --- who ----------------------------------------------------------------------------------------------------------

namespace = sa.Table(
    "namespace",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("name", Ordered, nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("email", sa.String(255), unique=True),
    sa.Column("password_hash", sa.Text),
    _flag("enabled", True),
    _flag("verified", True),
    _flag("superuser", False),
    _ref("owner_id", "namespace", null=True),
    _text("description"),
    sa.Column("time_machine_s", sa.Integer, nullable=False),
    _ms("created_ms"),
    _ms("last_accessed_ms", null=True),
    sa.CheckConstraint("kind IN ('user', 'organization', 'robot', 'deleted')", name="kind"),
    sa.CheckConstraint("(kind = 'robot') = (owner_id IS NOT NULL)", name="robot_has_owner"),
    sa.Index(None, "owner_id", "name"),
    sa.Index(None, "time_machine_s"),
    comment="users, organizations and robots share one space of names, as in Quay; a robot is named owner+short",
    **_NEVER_AGAIN,
)

profile = sa.Table(
    "profile",
    metadata,
    _ref("namespace_id", "namespace", primary_key=True),
    sa.Column("given_name", sa.String(255)),
    sa.Column("family_name", sa.String(255)),
    sa.Column("company", sa.String(255)),
    sa.Column("location", sa.String(255)),
    _flag("invoice_email", False),
    sa.Column("invoice_email_address", sa.String(255)),
    sa.Column("metadata", Json, nullable=False, server_default="{}", comment="of a robot: whatever its owner keeps"),
    comment="what a user, organization or robot says of itself, and nothing else depends on; not everybody has one",
)

session = sa.Table(
    "session",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    _ref("user_id", "namespace", index=True),
    sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("ip", sa.String(64), nullable=False, server_default=""),
    sa.Column("user_agent", sa.String(255), nullable=False, server_default=""),
    _ms("created_ms"),
    _ms("seen_ms"),
    _ms("fresh_ms"),
    _ms("expires_ms"),
    sa.Index(None, "expires_ms"),
    comment="a browser that is logged in; fresh_ms is when its user last showed the password",
)

second_factor = sa.Table(
    "second_factor",
    metadata,
    _ref("user_id", "namespace", primary_key=True),
    sa.Column("secret", sa.Text, nullable=False, comment="of TOTP, sealed with the DATABASE_SECRET_KEY"),
    _ms("confirmed_ms", null=True),
    sa.Column("last_step", sa.BigInteger, nullable=False, server_default="0", comment="a code is good once"),
)

recovery_code = sa.Table(
    "recovery_code",
    metadata,
    _ref("user_id", "namespace", primary_key=True),
    sa.Column("code_hash", sa.String(64), primary_key=True),
    comment="what opens an account whose second factor is lost; a code is gone when it was used",
)

oauth_application = sa.Table(
    "oauth_application",
    metadata,
    _id(),
    sa.Column("client_id", sa.String(64), nullable=False, unique=True),
    _ref("organization_id", "namespace", index=True),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    _text("description"),
    _text("application_uri"),
    _text("redirect_uri"),
    sa.Column("avatar_email", sa.String(255)),
    _ms("created_ms"),
)

oauth_code = sa.Table(
    "oauth_code",
    metadata,
    sa.Column("code_hash", sa.String(64), primary_key=True),
    _ref("application_id", "oauth_application"),
    _ref("user_id", "namespace", index=True),
    sa.Column("scope", sa.String(255), nullable=False),
    _text("redirect_uri"),
    sa.Column("challenge", sa.String(128), comment="of PKCE, RFC 7636: base64url of a SHA-256"),
    _ms("expires_ms"),
    sa.Index(None, "application_id"),
    sa.Index(None, "expires_ms"),
    comment="an authorization that its application has not yet fetched the token for",
)

team = sa.Table(
    "team",
    metadata,
    _id(),
    _ref("organization_id", "namespace"),
    sa.Column("name", Ordered, nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    _text("description"),
    sa.UniqueConstraint("organization_id", "name"),
    sa.CheckConstraint("role IN ('admin', 'creator', 'member')", name="role"),
)

team_member = sa.Table(
    "team_member",
    metadata,
    _ref("team_id", "team", primary_key=True),
    _ref("member_id", "namespace", primary_key=True),
    sa.Index(None, "member_id"),
    comment="a member is a user or a robot of the organization",
)

prototype = sa.Table(
    "prototype",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    _ref("organization_id", "namespace", index=True),
    _ref("activating_id", "namespace", null=True),
    _ref("delegate_id", "namespace", null=True),
    _ref("delegate_team_id", "team", null=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.CheckConstraint("(delegate_id IS NULL) <> (delegate_team_id IS NULL)", name="one_delegate"),
    comment="default permissions: what a new repository of the organization grants, if the activating user made it",
)

credential = sa.Table(
    "credential",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    _ref("namespace_id", "namespace"),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("title", sa.String(255), nullable=False, server_default=""),
    sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
    _ref("repository_id", "repository", null=True, index=True),
    sa.Column("role", sa.String(16)),
    sa.Column("scope", sa.String(255)),
    _ms("created_ms"),
    _ms("expires_ms", null=True),
    _ms("last_used_ms", null=True),
    _ref("application_id", "oauth_application", null=True, index=True),
    _ref("creator_id", "namespace", null=True, delete="SET NULL", index=True),
    sa.CheckConstraint("kind IN ('robot', 'app', 'oauth', 'access')", name="kind"),
    sa.Index(None, "namespace_id", "kind", "id"),
    comment="machine secrets: long and random, kept as their SHA-256, shown once",
)

service_key = sa.Table(
    "service_key",
    metadata,
    _id(),
    sa.Column("kid", sa.String(128), nullable=False, unique=True),
    sa.Column("service", sa.String(64), nullable=False),
    sa.Column("name", sa.String(255), nullable=False, server_default=""),
    sa.Column("jwk", Json, nullable=False),
    _ms("created_ms"),
    _ms("approved_ms", null=True),
    _ms("expires_ms", null=True),
    sa.Column("metadata", Json, nullable=False, server_default="{}"),
    sa.Column("rotation_s", sa.Integer),
    sa.Column("approval", sa.String(64), comment="why it was approved: Quay's approval_type"),
    sa.Column("approver", sa.String(255), comment="the name of the superuser who approved it"),
    _text("approval_notes"),
    sa.Index(None, "service", "expires_ms"),
    comment="public keys only: a private key never leaves the process that made it",
)

# --- what ---------------------------------------------------------------------------------------------------------

repository = sa.Table(
    "repository",
    metadata,
    _id(),
    _ref("namespace_id", "namespace"),
    sa.Column("path", Ordered, nullable=False),
    sa.Column("name", Ordered, nullable=False, unique=True, comment="namespace/path: what the catalog pages by"),
    sa.Column("kind", sa.String(16), nullable=False, server_default="image"),
    sa.Column("state", sa.String(16), nullable=False, server_default="normal"),
    _flag("public", False),
    _flag("trust_enabled", False),
    _text("description"),
    _ref("mirror_robot_id", "namespace", null=True, delete="SET NULL"),
    _ms("created_ms"),
    sa.UniqueConstraint("namespace_id", "path"),
    sa.CheckConstraint("kind IN ('image', 'application')", name="kind"),
    sa.CheckConstraint("state IN ('normal', 'read_only', 'mirror')", name="state"),
    sa.Index(
        "ix_repository_public_name", "name", sqlite_where=sa.text("public = 1"), postgresql_where=sa.text("public")
    ),
    **_NEVER_AGAIN,
)

permission = sa.Table(
    "permission",
    metadata,
    _id(),
    _ref("repository_id", "repository"),
    sa.Column("repository_name", Ordered, nullable=False, comment="again, so that a catalog is a range of an index"),
    _ref("grantee_id", "namespace", null=True),
    _ref("team_id", "team", null=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Index(None, "grantee_id", "repository_name"),
    sa.Index(None, "team_id", "repository_name"),
    sa.UniqueConstraint("repository_id", "grantee_id"),
    sa.UniqueConstraint("repository_id", "team_id"),
    sa.CheckConstraint("role IN ('read', 'write', 'admin')", name="role"),
    sa.CheckConstraint("(grantee_id IS NULL) <> (team_id IS NULL)", name="one_grantee"),
)

star = sa.Table(
    "star",
    metadata,
    _ref("user_id", "namespace", primary_key=True),
    _ref("repository_id", "repository", primary_key=True, index=True),
    _ms("created_ms"),
)

repository_word = sa.Table(
    "repository_word",
    metadata,
    sa.Column(
        "weight", sa.SmallInteger, primary_key=True, autoincrement=False, comment="of a word of the name 2, of others 1"
    ),
    sa.Column("word", Ordered, primary_key=True),
    _ref("repository_id", "repository", primary_key=True, index=True),
    comment="what a search finds a repository by: the words of its name, namespace and description, in lower case",
)

activity = sa.Table(
    "activity",
    metadata,
    _ref("repository_id", "repository", primary_key=True),
    sa.Column("day", sa.Integer, primary_key=True, comment="days since the epoch, UTC"),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Index(None, "day"),
    comment="how many entries the audit log got for it on a day: its popularity",
)

pull = sa.Table(
    "pull",
    metadata,
    _ref("repository_id", "repository", primary_key=True),
    sa.Column("subject", DigestText, primary_key=True, comment="a tag, the digest of a manifest, or '' for all"),
    sa.Column("count", sa.BigInteger, nullable=False),
    _ms("last_ms"),
    comment="how often something was pulled, and when the last time: sums, see quay.model.pull",
)

blob = sa.Table(
    "blob",
    metadata,
    _id(),
    sa.Column("digest", DigestText, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    _ms("created_ms"),
    comment="bytes that some location holds; who may read them is said by repository_blob",
)

placement = sa.Table(
    "placement",
    metadata,
    _ref("blob_id", "blob", primary_key=True),
    sa.Column("location", sa.String(64), primary_key=True),
    sa.Index(None, "location", "blob_id"),
)

condemned = sa.Table(
    "condemned",
    metadata,
    sa.Column("digest", DigestText, primary_key=True),
    sa.Column("location", sa.String(64), primary_key=True),
    sa.Column("claim", sa.String(36), nullable=False, comment="who is removing the bytes: new for every attempt"),
    _ms("until_ms"),
    _flag("gone", False),
    sa.Index(None, "until_ms"),
    comment="bytes that are being removed, or, for a while, were: see quay.model.condemned",
)

repository_blob = sa.Table(
    "repository_blob",
    metadata,
    _ref("repository_id", "repository", primary_key=True),
    _ref("blob_id", "blob", primary_key=True, delete="RESTRICT"),
    _ms("leased_until_ms"),
    sa.Index(None, "blob_id"),
    sa.Index(None, "leased_until_ms", "repository_id", "blob_id"),
    comment="the link through which a repository reaches a blob; the lease covers the time before a manifest names it",
)

manifest = sa.Table(
    "manifest",
    metadata,
    _id(),
    _ref("repository_id", "repository"),
    sa.Column("digest", DigestText, nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("artifact_type", sa.Text),
    sa.Column("config_media_type", sa.Text),
    sa.Column("subject_digest", DigestText),
    sa.Column("annotations", Json, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False, comment="of the content, in bytes"),
    sa.Column("layers_size", sa.BigInteger, nullable=False, comment="of everything it names, in bytes"),
    _ms("created_ms"),
    _ms("unreachable_ms", null=True),
    _ms("deleted_ms", null=True),
    sa.UniqueConstraint("repository_id", "digest"),
    sa.CheckConstraint("deleted_ms IS NULL OR unreachable_ms IS NOT NULL", name="deleted_is_unreachable"),
    sa.Index(
        "ix_manifest_subject",
        "repository_id",
        "subject_digest",
        "id",
        sqlite_where=sa.text("subject_digest IS NOT NULL"),
        postgresql_where=sa.text("subject_digest IS NOT NULL"),
    ),
    sa.Index(
        "ix_manifest_unreachable",
        "unreachable_ms",
        sqlite_where=sa.text("unreachable_ms IS NOT NULL"),
        postgresql_where=sa.text("unreachable_ms IS NOT NULL"),
    ),
    comment="stored verbatim, per repository; unreachable since no tag, parent or subject keeps it: only restorable. "
    "A deleted one was deleted by its digest: a parent or subject that lives on does not keep it",
)

manifest_blob = sa.Table(
    "manifest_blob",
    metadata,
    _ref("manifest_id", "manifest", primary_key=True),
    _ref("blob_id", "blob", primary_key=True, delete="RESTRICT"),
    _ref("repository_id", "repository"),
    sa.Index(None, "repository_id", "blob_id"),
    sa.Index(None, "blob_id"),
)

manifest_child = sa.Table(
    "manifest_child",
    metadata,
    _ref("manifest_id", "manifest", primary_key=True),
    sa.Column("child_digest", DigestText, primary_key=True),
    _ref("repository_id", "repository"),
    sa.Index(None, "repository_id", "child_digest"),
    comment="by digest, not by row: a sparse index may name a child that comes later, or never",
)

tag = sa.Table(
    "tag",
    metadata,
    _id(),
    _ref("repository_id", "repository"),
    sa.Column("name", Ordered, nullable=False),
    _ref("manifest_id", "manifest"),
    _ms("start_ms"),
    _ms("end_ms", null=True),
    _ms("expires_ms", null=True),
    _flag("hidden", False),
    _flag("reversion", False),
    _flag("immutable", False),
    sa.Index(
        "uq_tag_current",
        "repository_id",
        "name",
        unique=True,
        sqlite_where=sa.text("end_ms IS NULL"),
        postgresql_where=sa.text("end_ms IS NULL"),
    ),
    sa.Index(
        "ix_tag_history",
        "repository_id",
        "id",
        sqlite_where=sa.text("hidden = 0"),
        postgresql_where=sa.text("NOT hidden"),
    ),
    sa.Index(None, "repository_id", "name", "id"),
    sa.Index(None, "manifest_id", "end_ms"),
    sa.Index(
        "ix_tag_expires",
        "expires_ms",
        sqlite_where=sa.text("expires_ms IS NOT NULL AND end_ms IS NULL"),
        postgresql_where=sa.text("expires_ms IS NOT NULL AND end_ms IS NULL"),
    ),
    sa.Index(
        "ix_tag_ended",
        "end_ms",
        sqlite_where=sa.text("end_ms IS NOT NULL"),
        postgresql_where=sa.text("end_ms IS NOT NULL"),
    ),
    comment="one row a lifetime: the time machine. The current row of a name has no end; a hidden tag only keeps alive",
)

label = sa.Table(
    "label",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    _ref("repository_id", "repository"),
    _ref("manifest_id", "manifest"),
    sa.Column("key", sa.Text, nullable=False),
    _text("value"),
    sa.Column("media_type", sa.String(64), nullable=False, server_default="text/plain"),
    sa.Column("source", sa.String(16), nullable=False),
    sa.CheckConstraint("source IN ('manifest', 'api', 'internal')", name="source"),
    sa.Index(None, "manifest_id", "id"),
    sa.Index(None, "repository_id", "key"),
)

upload = sa.Table(
    "upload",
    metadata,
    sa.Column("uuid", sa.String(36), primary_key=True),
    _ref("repository_id", "repository", index=True),
    sa.Column("owner", sa.String(255), nullable=False, comment="the principal who began it, and the only one to go on"),
    sa.Column("location", sa.String(64), nullable=False),
    _ms("created_ms"),
    sa.Index(None, "created_ms"),
)

# --- afterwards ---------------------------------------------------------------------------------------------------

audit = sa.Table(
    "audit",
    metadata,
    _id(),
    sa.Column("kind", sa.String(64), nullable=False),
    _ms("performed_ms"),
    sa.Column("namespace_id", Id),
    sa.Column("repository_id", Id),
    sa.Column("performer_id", Id),
    sa.Column("performer", sa.String(255), nullable=False, server_default=""),
    sa.Column("ip", sa.String(64)),
    sa.Column("details", Json, nullable=False),
    sa.Column("seal_id", Id, comment="the seal that covers it; none yet for the latest"),
    sa.Index(None, "namespace_id", "performed_ms", "id"),
    sa.Index(None, "repository_id", "performed_ms", "id"),
    sa.Index(None, "performer_id", "performed_ms", "id"),
    sa.Index(None, "performed_ms", "id"),
    sa.Index(None, "seal_id", "id"),
    comment="no foreign keys: what was done stays on record when the thing it was done to is gone",
)

audit_seal = sa.Table(
    "audit_seal",
    metadata,
    _id(),
    sa.Column("entries", sa.Integer, nullable=False),
    sa.Column("seal", sa.String(64), nullable=False, comment="HMAC-SHA-256 over the seal before and these entries"),
    _ms("made_ms"),
    comment="a chain over the audit log: what was changed or removed afterwards no longer fits",
)

log_export = sa.Table(
    "log_export",
    metadata,
    sa.Column("uuid", sa.String(36), primary_key=True),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("namespace_id", Id),
    sa.Column("repository_id", Id),
    _ms("start_ms"),
    _ms("end_ms"),
    sa.Column("requester", sa.String(255), nullable=False),
    _ms("created_ms"),
    _ms("expires_ms"),
    sa.Index(None, "expires_ms"),
    comment="a part of the audit log that somebody may fetch until it expires; it is read when it is fetched",
)

notification = sa.Table(
    "notification",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    _ref("repository_id", "repository"),
    sa.Column("event", sa.String(64), nullable=False),
    sa.Column("method", sa.String(64), nullable=False),
    sa.Column("title", sa.String(255)),
    sa.Column("config", Json, nullable=False),
    sa.Column("event_config", Json, nullable=False, server_default="{}"),
    sa.Column("secret", sa.Text, nullable=False, comment="what signs a webhook, sealed with the DATABASE_SECRET_KEY"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    _ms("created_ms"),
    sa.Index(None, "repository_id", "event", "id"),
    comment="whom to tell of what happens in a repository; three failures in a row end it until it is reset",
)

delivery = sa.Table(
    "delivery",
    metadata,
    _id(),
    _ref("notification_id", "notification"),
    sa.Column("event_uuid", sa.String(36), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    _flag("delivered", False),
    sa.Column("outcome", sa.String(255), nullable=False, comment="the status, or why there is none; never a body"),
    sa.Column("took_ms", sa.Integer, nullable=False),
    _ms("at_ms"),
    sa.Index(None, "notification_id", "id"),
    sa.Index(None, "at_ms"),
    comment="each attempt to tell somebody, for those who wonder why they heard nothing",
)

bell = sa.Table(
    "bell",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    _ref("target_id", "namespace", null=True),
    _ref("team_id", "team", null=True, index=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("details", Json, nullable=False),
    sa.Column("lookup_path", sa.String(255), comment="by which those are found that have become needless"),
    _ms("created_ms"),
    sa.CheckConstraint("(target_id IS NULL) <> (team_id IS NULL)", name="one_target"),
    sa.Index(None, "target_id", "id"),
    sa.Index(None, "lookup_path"),
    sa.Index(None, "created_ms"),
    comment="what the bell in the console rings for: a user, all administrators of an organization, or a team",
)

bell_dismissed = sa.Table(
    "bell_dismissed",
    metadata,
    _ref("bell_id", "bell", primary_key=True),
    _ref("user_id", "namespace", primary_key=True, index=True),
    comment="who does not want to hear it again",
)

message = sa.Table(
    "message",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    _text("content"),
    sa.Column("media_type", sa.String(64), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    _ms("created_ms"),
    sa.CheckConstraint("severity IN ('info', 'warning', 'error')", name="severity"),
    comment="what everybody who uses the registry should read",
)

work = sa.Table(
    "work",
    metadata,
    _id(),
    sa.Column("queue", Ordered, nullable=False),
    sa.Column("body", Json, nullable=False),
    sa.Column("claim", sa.String(36), comment="who has it: a new random value for every claim"),
    _ms("available_ms"),
    sa.Column("attempts_left", sa.Integer, nullable=False),
    _ms("created_ms"),
    sa.Index(
        "ix_work_claimable",
        "queue",
        "available_ms",
        "id",
        sqlite_where=sa.text("attempts_left > 0"),
        postgresql_where=sa.text("attempts_left > 0"),
    ),
    comment="the durable queue: a claimed item becomes available again when its claim runs out",
)

job = sa.Table(
    "job",
    metadata,
    _id(),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("requester", sa.String(255), nullable=False, comment="by name: who asked for it may be gone"),
    sa.Column("state", sa.String(16), nullable=False),
    _flag("stop", False),
    sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("total", sa.BigInteger, comment="what done will be at the end; nothing where nobody knows"),
    _text("log"),
    sa.Column("cursor", Json, nullable=False, comment="from where it can go on; empty for the beginning"),
    _ms("created_ms"),
    _ms("started_ms", null=True),
    _ms("begun_ms", null=True),
    sa.Column("begun_at", sa.BigInteger, nullable=False, server_default="0"),
    _ms("finished_ms", null=True),
    sa.CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="state"),
    sa.Index(None, "state", "id"),
    comment="long work that somebody asked for; begun is when, and at which done, it was last taken up",
)
