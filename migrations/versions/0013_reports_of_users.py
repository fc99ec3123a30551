"""What apps say of themselves counts by signed-in user; what nobody signed is kept apart, and by its place.

Reports from before name no user, so they stay where they are: shown, and waited for by nothing.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "user_report",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("app_version", sa.Text, nullable=False),
        sa.Column("app_order", sa.Text, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("seen_at_ms", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device", name="user_report_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="user_report_user_id_fkey", ondelete="CASCADE"),
    )
    op.create_index("user_report_seen_at_ms_idx", "user_report", ["seen_at_ms"])
    # A service of the version before may still run beside this one, and knows nothing of places.
    op.add_column("client_report", sa.Column("place", sa.Text, nullable=False, server_default=""))
    op.create_index("client_report_place_idx", "client_report", ["place", "seen_at_ms"])
