"""What the garbage collector needs: the bytes that it is removing, and indexes by which it finds what is due."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

DigestText = sa.String(135).with_variant(sa.VARCHAR(135, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "condemned",
        sa.Column("digest", DigestText, nullable=False),
        sa.Column("location", sa.String(64), nullable=False),
        sa.Column("claim", sa.String(36), nullable=False, comment="who is removing the bytes: new for every attempt"),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("gone", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "location", name="pk_condemned"),
        comment="bytes that are being removed, or, for a while, were: see quay.model.condemned",
    )
    op.create_index("ix_condemned_until_ms", "condemned", ["until_ms"])
    op.create_index("ix_namespace_time_machine_s", "namespace", ["time_machine_s"])
    op.create_index(
        "ix_repository_blob_leased_until_ms_repository_id_blob_id",
        "repository_blob",
        ["leased_until_ms", "repository_id", "blob_id"],
    )
