"""A rollout's failed steps are counted after each hundred tenants: by an index, however many tenants it has.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("rollout_step_state_idx", "rollout_step")
    op.create_index("rollout_step_state_idx", "rollout_step", ["rollout_id", "state", "wave"])
