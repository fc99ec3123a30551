"""How often wrong passwords were tried, and from when on the next may be.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "wrong_password",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failed_at_ms", sa.Integer, nullable=False),
        sa.Column("locked_until_ms", sa.Integer, nullable=False),
        sa.Column("succeeded_at_ms", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("key", name="wrong_password_pkey"),
    )
