"""Rollouts, and each tenant's part in one.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rollout",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("to_version", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("waves", sa.Integer, nullable=False),
        sa.Column("tenants", sa.Integer, nullable=False),
        sa.Column("budget", sa.Integer, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="rollout_pkey"),
    )
    op.create_table(
        "rollout_step",
        sa.Column("rollout_id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("from_version", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("cause", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("due_at_ms", sa.Integer),
        sa.Column("restore_point", sa.Text),
        sa.PrimaryKeyConstraint("rollout_id", "tenant_id", name="rollout_step_pkey"),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.id"], name="rollout_step_rollout_id_fkey", ondelete="CASCADE"
        ),
    )
    op.create_index("rollout_step_due_idx", "rollout_step", ["rollout_id", "wave", "due_at_ms"])
    op.create_index("rollout_step_state_idx", "rollout_step", ["rollout_id", "wave", "state"])
