"""Guests who signed in to an account they had, and one owner for each identity at a provider.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "guest_link",
        sa.Column("guest_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("guest_id", name="guest_link_pkey"),
        sa.ForeignKeyConstraint(["guest_id"], ["user.id"], name="guest_link_guest_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="guest_link_user_id_fkey", ondelete="CASCADE"),
    )
    op.create_index("guest_link_user_id_idx", "guest_link", ["user_id"])
    op.create_index("account_providerId_accountId_idx", "account", ["providerId", "accountId"], unique=True)
