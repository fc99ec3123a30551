"""Codes, links and states that wait to be used once; better-auth's table.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "verification",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("identifier", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("expiresAt", sa.Text, nullable=False),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("updatedAt", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="verification_pkey"),
    )
    op.create_index("verification_identifier_idx", "verification", ["identifier"])
    op.create_index("verification_expiresAt_idx", "verification", ["expiresAt"])
