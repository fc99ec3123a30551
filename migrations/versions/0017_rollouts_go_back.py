"""What a tenant had before it was taken back from a rollout, and who is at work on one.

So that a rollout that runs without a worker can be told from one that has some.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rollout_step", sa.Column("set_aside", sa.Text))
    op.create_table(
        "rollout_worker",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("rollout_id", sa.Text, nullable=False),
        sa.Column("until_ms", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="rollout_worker_pkey"),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.id"], name="rollout_worker_rollout_id_fkey", ondelete="CASCADE"
        ),
    )
