"""What accounts and the REST API need: profiles, sessions, second factors, applications, notifications, seals."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Ordered = sa.String(255).with_variant(sa.VARCHAR(255, collation="C"), "postgresql")


def _text(name: str, kind: sa.String | None = None, default: str = "") -> sa.Column[str]:
    """A column as it was: SQLite would reflect its default in parentheses."""
    return sa.Column(name, kind or sa.String(255), server_default=default, nullable=False)


def upgrade() -> None:
    # SQLite would put an added column after the constraints.
    rebuilt: Literal["always", "never"] = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    op.create_table(
        "audit_seal",
        sa.Column("id", Id, nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("seal", sa.String(64), nullable=False, comment="HMAC-SHA-256 over the seal before and these entries"),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_seal"),
        comment="a chain over the audit log: what was changed or removed afterwards no longer fits",
    )
    op.create_table(
        "log_export",
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("namespace_id", Id, nullable=True),
        sa.Column("repository_id", Id, nullable=True),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("requester", sa.String(255), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_log_export"),
        comment="a part of the audit log that somebody may fetch until it expires; it is read when it is fetched",
    )
    op.create_index("ix_log_export_expires_ms", "log_export", ["expires_ms"])

    op.create_table(
        "job",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("requester", sa.String(255), nullable=False, comment="by name: who asked for it may be gone"),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stop", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "total", sa.BigInteger(), nullable=True, comment="what done will be at the end; nothing where nobody knows"
        ),
        sa.Column("log", sa.Text(), server_default="", nullable=False),
        sa.Column("cursor", sa.JSON(), nullable=False, comment="from where it can go on; empty for the beginning"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=True),
        sa.Column("begun_ms", sa.BigInteger(), nullable=True),
        sa.Column("begun_at", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("finished_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_job_state")),
        sa.PrimaryKeyConstraint("id", name="pk_job"),
        sa.UniqueConstraint("uuid", name="uq_job_uuid"),
        comment="long work that somebody asked for; begun is when, and at which done, it was last taken up",
    )
    op.create_index("ix_job_state_id", "job", ["state", "id"])

    op.create_table(
        "message",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("content", sa.Text(), server_default="", nullable=False),
        sa.Column("media_type", sa.String(64), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("severity IN ('info', 'warning', 'error')", name=op.f("ck_message_severity")),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
        sa.UniqueConstraint("uuid", name="uq_message_uuid"),
        comment="what everybody who uses the registry should read",
    )
    op.create_table(
        "oauth_application",
        sa.Column("id", Id, nullable=False),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("organization_id", Id, nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("application_uri", sa.Text(), server_default="", nullable=False),
        sa.Column("redirect_uri", sa.Text(), server_default="", nullable=False),
        sa.Column("avatar_email", sa.String(255), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["namespace.id"],
            name="fk_oauth_application_organization_id_namespace",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_oauth_application"),
        sa.UniqueConstraint("client_id", name="uq_oauth_application_client_id"),
    )
    op.create_index("ix_oauth_application_organization_id", "oauth_application", ["organization_id"])

    op.create_table(
        "profile",
        sa.Column("namespace_id", Id, nullable=False),
        sa.Column("given_name", sa.String(255), nullable=True),
        sa.Column("family_name", sa.String(255), nullable=True),
        sa.Column("company", sa.String(255), nullable=True),
        sa.Column("location", sa.String(255), nullable=True),
        sa.Column("invoice_email", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("invoice_email_address", sa.String(255), nullable=True),
        sa.Column(
            "metadata", sa.JSON(), server_default="{}", nullable=False, comment="of a robot: whatever its owner keeps"
        ),
        sa.ForeignKeyConstraint(
            ["namespace_id"], ["namespace.id"], name="fk_profile_namespace_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("namespace_id", name="pk_profile"),
        comment="what a user, organization or robot says of itself, and nothing else depends on; not everybody has one",
    )
    op.create_table(
        "recovery_code",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["namespace.id"], name="fk_recovery_code_user_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "code_hash", name="pk_recovery_code"),
        comment="what opens an account whose second factor is lost; a code is gone when it was used",
    )
    op.create_table(
        "second_factor",
        sa.Column("user_id", Id, nullable=False),
        sa.Column("secret", sa.Text(), nullable=False, comment="of TOTP, sealed with the DATABASE_SECRET_KEY"),
        sa.Column("confirmed_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), server_default="0", nullable=False, comment="a code is good once"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["namespace.id"], name="fk_second_factor_user_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name="pk_second_factor"),
    )
    op.create_table(
        "session",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("ip", sa.String(64), server_default="", nullable=False),
        sa.Column("user_agent", sa.String(255), server_default="", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("fresh_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["namespace.id"], name="fk_session_user_id_namespace", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_session"),
        sa.UniqueConstraint("secret_hash", name="uq_session_secret_hash"),
        sa.UniqueConstraint("uuid", name="uq_session_uuid"),
        comment="a browser that is logged in; fresh_ms is when its user last showed the password",
    )
    op.create_index("ix_session_expires_ms", "session", ["expires_ms"])
    op.create_index("ix_session_user_id", "session", ["user_id"])

    op.create_table(
        "activity",
        sa.Column("repository_id", Id, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False, comment="days since the epoch, UTC"),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_activity_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repository_id", "day", name="pk_activity"),
        comment="how many entries the audit log got for it on a day: its popularity",
    )
    op.create_index("ix_activity_day", "activity", ["day"])

    op.create_table(
        "bell",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("target_id", Id, nullable=True),
        sa.Column("team_id", Id, nullable=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column(
            "lookup_path", sa.String(255), nullable=True, comment="by which those are found that have become needless"
        ),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(target_id IS NULL) <> (team_id IS NULL)", name=op.f("ck_bell_one_target")),
        sa.ForeignKeyConstraint(
            ["target_id"], ["namespace.id"], name="fk_bell_target_id_namespace", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["team_id"], ["team.id"], name="fk_bell_team_id_team", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_bell"),
        sa.UniqueConstraint("uuid", name="uq_bell_uuid"),
        comment="what the bell in the console rings for: a user, all administrators of an organization, or a team",
    )
    op.create_index("ix_bell_created_ms", "bell", ["created_ms"])
    op.create_index("ix_bell_lookup_path", "bell", ["lookup_path"])
    op.create_index("ix_bell_target_id_id", "bell", ["target_id", "id"])
    op.create_index("ix_bell_team_id", "bell", ["team_id"])

    op.create_table(
        "notification",
        sa.Column("id", Id, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("method", sa.String(64), nullable=False),
        sa.Column("title", sa.String(255), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("event_config", sa.JSON(), server_default="{}", nullable=False),
        sa.Column(
            "secret", sa.Text(), nullable=False, comment="what signs a webhook, sealed with the DATABASE_SECRET_KEY"
        ),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_notification_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_notification"),
        sa.UniqueConstraint("uuid", name="uq_notification_uuid"),
        comment="whom to tell of what happens in a repository; three failures in a row end it until it is reset",
    )
    op.create_index("ix_notification_repository_id_event_id", "notification", ["repository_id", "event", "id"])

    op.create_table(
        "oauth_code",
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("application_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("scope", sa.String(255), nullable=False),
        sa.Column("redirect_uri", sa.Text(), server_default="", nullable=False),
        sa.Column("challenge", sa.String(128), nullable=True, comment="of PKCE, RFC 7636: base64url of a SHA-256"),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"],
            ["oauth_application.id"],
            name="fk_oauth_code_application_id_oauth_application",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["namespace.id"], name="fk_oauth_code_user_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("code_hash", name="pk_oauth_code"),
        comment="an authorization that its application has not yet fetched the token for",
    )
    op.create_index("ix_oauth_code_application_id", "oauth_code", ["application_id"])
    op.create_index("ix_oauth_code_expires_ms", "oauth_code", ["expires_ms"])
    op.create_index("ix_oauth_code_user_id", "oauth_code", ["user_id"])

    op.create_table(
        "repository_word",
        sa.Column("weight", sa.SmallInteger(), nullable=False, comment="of a word of the name 2, of others 1"),
        sa.Column("word", Ordered, nullable=False),
        sa.Column("repository_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_repository_word_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("weight", "word", "repository_id", name="pk_repository_word"),
        comment="what a search finds a repository by: the words of its name, namespace and description, in lower case",
    )
    op.create_index("ix_repository_word_repository_id", "repository_word", ["repository_id"])

    op.create_table(
        "bell_dismissed",
        sa.Column("bell_id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["bell_id"], ["bell.id"], name="fk_bell_dismissed_bell_id_bell", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["namespace.id"], name="fk_bell_dismissed_user_id_namespace", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("bell_id", "user_id", name="pk_bell_dismissed"),
        comment="who does not want to hear it again",
    )
    op.create_index("ix_bell_dismissed_user_id", "bell_dismissed", ["user_id"])

    op.create_table(
        "delivery",
        sa.Column("id", Id, nullable=False),
        sa.Column("notification_id", Id, nullable=False),
        sa.Column("event_uuid", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("delivered", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("outcome", sa.String(255), nullable=False, comment="the status, or why there is none; never a body"),
        sa.Column("took_ms", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["notification.id"],
            name="fk_delivery_notification_id_notification",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        comment="each attempt to tell somebody, for those who wonder why they heard nothing",
    )
    op.create_index("ix_delivery_at_ms", "delivery", ["at_ms"])
    op.create_index("ix_delivery_notification_id_id", "delivery", ["notification_id", "id"])

    with op.batch_alter_table("audit", recreate=rebuilt, reflect_args=(_text("performer"),)) as batch:
        batch.add_column(
            sa.Column("seal_id", Id, nullable=True, comment="the seal that covers it; none yet for the latest")
        )
        batch.drop_index("ix_audit_namespace_id_id")
        batch.drop_index("ix_audit_performed_ms")
        batch.drop_index("ix_audit_performer_id_id")
        batch.drop_index("ix_audit_repository_id_id")
        batch.create_index("ix_audit_namespace_id_performed_ms_id", ["namespace_id", "performed_ms", "id"])
        batch.create_index("ix_audit_performed_ms_id", ["performed_ms", "id"])
        batch.create_index("ix_audit_performer_id_performed_ms_id", ["performer_id", "performed_ms", "id"])
        batch.create_index("ix_audit_repository_id_performed_ms_id", ["repository_id", "performed_ms", "id"])
        batch.create_index("ix_audit_seal_id_id", ["seal_id", "id"])

    with op.batch_alter_table("credential", recreate=rebuilt, reflect_args=(_text("title"),)) as batch:
        batch.add_column(sa.Column("application_id", Id, nullable=True))
        batch.add_column(sa.Column("creator_id", Id, nullable=True))
        batch.create_index("ix_credential_application_id", ["application_id"])
        batch.create_index("ix_credential_creator_id", ["creator_id"])
        batch.create_foreign_key(
            "fk_credential_application_id_oauth_application",
            "oauth_application",
            ["application_id"],
            ["id"],
            ondelete="CASCADE",
        )
        batch.create_foreign_key(
            "fk_credential_creator_id_namespace", "namespace", ["creator_id"], ["id"], ondelete="SET NULL"
        )

    never_again = {"sqlite_autoincrement": True}
    with op.batch_alter_table(
        "namespace", recreate=rebuilt, reflect_args=(_text("description", sa.Text()),), table_kwargs=never_again
    ) as batch:
        batch.drop_constraint(op.f("ck_namespace_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_namespace_kind"), "kind IN ('user', 'organization', 'robot', 'deleted')")

    with op.batch_alter_table(
        "repository",
        recreate=rebuilt,
        reflect_args=(
            _text("kind", sa.String(16), "image"),
            _text("state", sa.String(16), "normal"),
            _text("description", sa.Text()),
        ),
        table_kwargs=never_again,
    ):
        pass

    with op.batch_alter_table("service_key", recreate=rebuilt, reflect_args=(_text("name"),)) as batch:
        batch.add_column(sa.Column("metadata", sa.JSON(), server_default="{}", nullable=False))
        batch.add_column(sa.Column("rotation_s", sa.Integer(), nullable=True))
        batch.add_column(
            sa.Column("approval", sa.String(64), nullable=True, comment="why it was approved: Quay's approval_type")
        )
        batch.add_column(
            sa.Column("approver", sa.String(255), nullable=True, comment="the name of the superuser who approved it")
        )
        batch.add_column(sa.Column("approval_notes", sa.Text(), server_default="", nullable=False))

    with op.batch_alter_table("tag", recreate=rebuilt) as batch:
        batch.add_column(sa.Column("immutable", sa.Boolean(), server_default=sa.false(), nullable=False))
