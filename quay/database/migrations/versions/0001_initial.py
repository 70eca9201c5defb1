"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Ordered = sa.String(255).with_variant(sa.VARCHAR(255, collation="C"), "postgresql")
DigestText = sa.String(135).with_variant(sa.VARCHAR(135, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", Id, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("performed_ms", sa.BigInteger(), nullable=False),
        sa.Column("namespace_id", Id, nullable=True),
        sa.Column("repository_id", Id, nullable=True),
        sa.Column("performer_id", Id, nullable=True),
        sa.Column("performer", sa.String(255), server_default="", nullable=False),
        sa.Column("ip", sa.String(64), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        comment="no foreign keys: what was done stays on record when the thing it was done to is gone",
    )
    op.create_index("ix_audit_namespace_id_id", "audit", ["namespace_id", "id"])
    op.create_index("ix_audit_performed_ms", "audit", ["performed_ms"])
    op.create_index("ix_audit_performer_id_id", "audit", ["performer_id", "id"])
    op.create_index("ix_audit_repository_id_id", "audit", ["repository_id", "id"])
    op.create_table(
        "blob",
        sa.Column("id", Id, nullable=False),
        sa.Column("digest", DigestText, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_blob"),
        sa.UniqueConstraint("digest", name="uq_blob_digest"),
        comment="bytes that some location holds; who may read them is said by repository_blob",
    )
    op.create_table(
        "namespace",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("name", Ordered, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("email", sa.String(255), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("verified", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("superuser", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("owner_id", Id, nullable=True),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("time_machine_s", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_accessed_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(kind = 'robot') = (owner_id IS NOT NULL)", name=op.f("ck_namespace_robot_has_owner")),
        sa.CheckConstraint("kind IN ('user', 'organization', 'robot')", name=op.f("ck_namespace_kind")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["namespace.id"], name="fk_namespace_owner_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_namespace"),
        sa.UniqueConstraint("email", name="uq_namespace_email"),
        sa.UniqueConstraint("name", name="uq_namespace_name"),
        sa.UniqueConstraint("uuid", name="uq_namespace_uuid"),
        comment="users, organizations and robots share one space of names, as in Quay; a robot is named owner+short",
    )
    op.create_index("ix_namespace_owner_id_name", "namespace", ["owner_id", "name"])
    op.create_table(
        "service_key",
        sa.Column("id", Id, nullable=False),
        sa.Column("kid", sa.String(128), nullable=False),
        sa.Column("service", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), server_default="", nullable=False),
        sa.Column("jwk", sa.JSON(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("approved_ms", sa.BigInteger(), nullable=True),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_service_key"),
        sa.UniqueConstraint("kid", name="uq_service_key_kid"),
        comment="public keys only: a private key never leaves the process that made it",
    )
    op.create_index("ix_service_key_service_expires_ms", "service_key", ["service", "expires_ms"])
    op.create_table(
        "setting",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_setting"),
        comment="schema, schema_compat, instance id: what belongs to the whole installation",
    )
    op.create_table(
        "work",
        sa.Column("id", Id, nullable=False),
        sa.Column("queue", Ordered, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("claim", sa.String(36), nullable=True, comment="who has it: a new random value for every claim"),
        sa.Column("available_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempts_left", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_work"),
        comment="the durable queue: a claimed item becomes available again when its claim runs out",
    )
    op.create_index(
        "ix_work_claimable",
        "work",
        ["queue", "available_ms", "id"],
        sqlite_where=sa.text("attempts_left > 0"),
        postgresql_where=sa.text("attempts_left > 0"),
    )
    op.create_table(
        "placement",
        sa.Column("blob_id", Id, nullable=False),
        sa.Column("location", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name="fk_placement_blob_id_blob", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("blob_id", "location", name="pk_placement"),
    )
    op.create_index("ix_placement_location_blob_id", "placement", ["location", "blob_id"])
    op.create_table(
        "repository",
        sa.Column("id", Id, nullable=False),
        sa.Column("namespace_id", Id, nullable=False),
        sa.Column("path", Ordered, nullable=False),
        sa.Column("name", Ordered, nullable=False, comment="namespace/path: what the catalog pages by"),
        sa.Column("kind", sa.String(16), server_default="image", nullable=False),
        sa.Column("state", sa.String(16), server_default="normal", nullable=False),
        sa.Column("public", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("trust_enabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("mirror_robot_id", Id, nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('image', 'application')", name=op.f("ck_repository_kind")),
        sa.CheckConstraint("state IN ('normal', 'read_only', 'mirror')", name=op.f("ck_repository_state")),
        sa.ForeignKeyConstraint(
            ["mirror_robot_id"], ["namespace.id"], name="fk_repository_mirror_robot_id_namespace", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["namespace_id"], ["namespace.id"], name="fk_repository_namespace_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_repository"),
        sa.UniqueConstraint("name", name="uq_repository_name"),
        sa.UniqueConstraint("namespace_id", "path", name="uq_repository_namespace_id_path"),
    )
    op.create_index(
        "ix_repository_public_name",
        "repository",
        ["name"],
        sqlite_where=sa.text("public = 1"),
        postgresql_where=sa.text("public"),
    )
    op.create_table(
        "team",
        sa.Column("id", Id, nullable=False),
        sa.Column("organization_id", Id, nullable=False),
        sa.Column("name", Ordered, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("role IN ('admin', 'creator', 'member')", name=op.f("ck_team_role")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["namespace.id"], name="fk_team_organization_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_team"),
        sa.UniqueConstraint("organization_id", "name", name="uq_team_organization_id_name"),
    )
    op.create_table(
        "credential",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("namespace_id", Id, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("title", sa.String(255), server_default="", nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("repository_id", Id, nullable=True),
        sa.Column("role", sa.String(16), nullable=True),
        sa.Column("scope", sa.String(255), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('robot', 'app', 'oauth', 'access')", name=op.f("ck_credential_kind")),
        sa.ForeignKeyConstraint(
            ["namespace_id"], ["namespace.id"], name="fk_credential_namespace_id_namespace", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_credential_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_credential"),
        sa.UniqueConstraint("secret_hash", name="uq_credential_secret_hash"),
        sa.UniqueConstraint("uuid", name="uq_credential_uuid"),
        comment="machine secrets: long and random, kept as their SHA-256, shown once",
    )
    op.create_index("ix_credential_namespace_id_kind_id", "credential", ["namespace_id", "kind", "id"])
    op.create_index("ix_credential_repository_id", "credential", ["repository_id"])
    op.create_table(
        "manifest",
        sa.Column("id", Id, nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.Column("digest", DigestText, nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("artifact_type", sa.Text(), nullable=True),
        sa.Column("config_media_type", sa.Text(), nullable=True),
        sa.Column("subject_digest", DigestText, nullable=True),
        sa.Column("annotations", sa.JSON(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False, comment="of the content, in bytes"),
        sa.Column("layers_size", sa.BigInteger(), nullable=False, comment="of everything it names, in bytes"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("unreachable_ms", sa.BigInteger(), nullable=True),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "deleted_ms IS NULL OR unreachable_ms IS NOT NULL", name=op.f("ck_manifest_deleted_is_unreachable")
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_manifest_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_manifest"),
        sa.UniqueConstraint("repository_id", "digest", name="uq_manifest_repository_id_digest"),
        comment="stored verbatim, per repository; unreachable since no tag, parent or subject keeps it: "
        "only restorable. A deleted one was deleted by its digest: a parent or subject that lives on does not keep it",
    )
    op.create_index(
        "ix_manifest_subject",
        "manifest",
        ["repository_id", "subject_digest", "id"],
        sqlite_where=sa.text("subject_digest IS NOT NULL"),
        postgresql_where=sa.text("subject_digest IS NOT NULL"),
    )
    op.create_index(
        "ix_manifest_unreachable",
        "manifest",
        ["unreachable_ms"],
        sqlite_where=sa.text("unreachable_ms IS NOT NULL"),
        postgresql_where=sa.text("unreachable_ms IS NOT NULL"),
    )
    op.create_table(
        "permission",
        sa.Column("id", Id, nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.Column(
            "repository_name", Ordered, nullable=False, comment="again, so that a catalog is a range of an index"
        ),
        sa.Column("grantee_id", Id, nullable=True),
        sa.Column("team_id", Id, nullable=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.CheckConstraint("role IN ('read', 'write', 'admin')", name=op.f("ck_permission_role")),
        sa.CheckConstraint("(grantee_id IS NULL) <> (team_id IS NULL)", name=op.f("ck_permission_one_grantee")),
        sa.ForeignKeyConstraint(
            ["grantee_id"], ["namespace.id"], name="fk_permission_grantee_id_namespace", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_permission_repository_id_repository", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["team_id"], ["team.id"], name="fk_permission_team_id_team", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_permission"),
        sa.UniqueConstraint("repository_id", "grantee_id", name="uq_permission_repository_id_grantee_id"),
        sa.UniqueConstraint("repository_id", "team_id", name="uq_permission_repository_id_team_id"),
    )
    op.create_index("ix_permission_grantee_id_repository_name", "permission", ["grantee_id", "repository_name"])
    op.create_index("ix_permission_team_id_repository_name", "permission", ["team_id", "repository_name"])
    op.create_table(
        "prototype",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("organization_id", Id, nullable=False),
        sa.Column("activating_id", Id, nullable=True),
        sa.Column("delegate_id", Id, nullable=True),
        sa.Column("delegate_team_id", Id, nullable=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.CheckConstraint(
            "(delegate_id IS NULL) <> (delegate_team_id IS NULL)", name=op.f("ck_prototype_one_delegate")
        ),
        sa.ForeignKeyConstraint(
            ["activating_id"], ["namespace.id"], name="fk_prototype_activating_id_namespace", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["delegate_id"], ["namespace.id"], name="fk_prototype_delegate_id_namespace", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["delegate_team_id"], ["team.id"], name="fk_prototype_delegate_team_id_team", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["namespace.id"], name="fk_prototype_organization_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_prototype"),
        sa.UniqueConstraint("uuid", name="uq_prototype_uuid"),
        comment="default permissions: what a new repository of the organization grants, if the activating user made it",
    )
    op.create_index("ix_prototype_organization_id", "prototype", ["organization_id"])
    op.create_table(
        "repository_blob",
        sa.Column("repository_id", Id, nullable=False),
        sa.Column("blob_id", Id, nullable=False),
        sa.Column("leased_until_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name="fk_repository_blob_blob_id_blob", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_repository_blob_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repository_id", "blob_id", name="pk_repository_blob"),
        comment="the link through which a repository reaches a blob; the lease covers the time before a "
        "manifest names it",
    )
    op.create_index("ix_repository_blob_blob_id", "repository_blob", ["blob_id"])
    op.create_table(
        "star",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_star_repository_id_repository", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["namespace.id"], name="fk_star_user_id_namespace", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "repository_id", name="pk_star"),
    )
    op.create_index("ix_star_repository_id", "star", ["repository_id"])
    op.create_table(
        "team_member",
        sa.Column("team_id", Id, nullable=False),
        sa.Column("member_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["namespace.id"], name="fk_team_member_member_id_namespace", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["team_id"], ["team.id"], name="fk_team_member_team_id_team", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("team_id", "member_id", name="pk_team_member"),
        comment="a member is a user or a robot of the organization",
    )
    op.create_index("ix_team_member_member_id", "team_member", ["member_id"])
    op.create_table(
        "upload",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.Column(
            "owner", sa.String(255), nullable=False, comment="the principal who began it, and the only one to go on"
        ),
        sa.Column("location", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_upload_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("uuid", name="pk_upload"),
    )
    op.create_index("ix_upload_created_ms", "upload", ["created_ms"])
    op.create_index("ix_upload_repository_id", "upload", ["repository_id"])
    op.create_table(
        "label",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.Column("manifest_id", Id, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), server_default="", nullable=False),
        sa.Column("media_type", sa.String(64), server_default="text/plain", nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.CheckConstraint("source IN ('manifest', 'api', 'internal')", name=op.f("ck_label_source")),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifest.id"], name="fk_label_manifest_id_manifest", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_label_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_label"),
        sa.UniqueConstraint("uuid", name="uq_label_uuid"),
    )
    op.create_index("ix_label_manifest_id_id", "label", ["manifest_id", "id"])
    op.create_index("ix_label_repository_id_key", "label", ["repository_id", "key"])
    op.create_table(
        "manifest_blob",
        sa.Column("manifest_id", Id, nullable=False),
        sa.Column("blob_id", Id, nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["blob_id"], ["blob.id"], name="fk_manifest_blob_blob_id_blob", ondelete="RESTRICT"),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifest.id"], name="fk_manifest_blob_manifest_id_manifest", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_manifest_blob_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("manifest_id", "blob_id", name="pk_manifest_blob"),
    )
    op.create_index("ix_manifest_blob_blob_id", "manifest_blob", ["blob_id"])
    op.create_index("ix_manifest_blob_repository_id_blob_id", "manifest_blob", ["repository_id", "blob_id"])
    op.create_table(
        "manifest_child",
        sa.Column("manifest_id", Id, nullable=False),
        sa.Column("child_digest", DigestText, nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifest.id"], name="fk_manifest_child_manifest_id_manifest", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_manifest_child_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("manifest_id", "child_digest", name="pk_manifest_child"),
        comment="by digest, not by row: a sparse index may name a child that comes later, or never",
    )
    op.create_index("ix_manifest_child_repository_id_child_digest", "manifest_child", ["repository_id", "child_digest"])
    op.create_table(
        "tag",
        sa.Column("id", Id, nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.Column("name", Ordered, nullable=False),
        sa.Column("manifest_id", Id, nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=True),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("hidden", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("reversion", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(
            ["manifest_id"], ["manifest.id"], name="fk_tag_manifest_id_manifest", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_tag_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_tag"),
        comment="one row a lifetime: the time machine. The current row of a name has no end; a hidden tag "
        "only keeps alive",
    )
    op.create_index(
        "ix_tag_ended",
        "tag",
        ["end_ms"],
        sqlite_where=sa.text("end_ms IS NOT NULL"),
        postgresql_where=sa.text("end_ms IS NOT NULL"),
    )
    op.create_index(
        "ix_tag_expires",
        "tag",
        ["expires_ms"],
        sqlite_where=sa.text("expires_ms IS NOT NULL AND end_ms IS NULL"),
        postgresql_where=sa.text("expires_ms IS NOT NULL AND end_ms IS NULL"),
    )
    op.create_index(
        "ix_tag_history",
        "tag",
        ["repository_id", "id"],
        sqlite_where=sa.text("hidden = 0"),
        postgresql_where=sa.text("NOT hidden"),
    )
    op.create_index("ix_tag_manifest_id_end_ms", "tag", ["manifest_id", "end_ms"])
    op.create_index("ix_tag_repository_id_name_id", "tag", ["repository_id", "name", "id"])
    op.create_index(
        "uq_tag_current",
        "tag",
        ["repository_id", "name"],
        unique=True,
        sqlite_where=sa.text("end_ms IS NULL"),
        postgresql_where=sa.text("end_ms IS NULL"),
    )
