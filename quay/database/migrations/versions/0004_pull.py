"""When each tag, manifest and repository was pulled last, and how often."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DigestText = sa.String(135).with_variant(sa.VARCHAR(135, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "pull",
        sa.Column("repository_id", Id, nullable=False),
        sa.Column("subject", DigestText, nullable=False, comment="a tag, the digest of a manifest, or '' for all"),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["repository_id"], ["repository.id"], name="fk_pull_repository_id_repository", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repository_id", "subject", name="pk_pull"),
        comment="how often something was pulled, and when the last time: sums, see quay.model.pull",
    )
