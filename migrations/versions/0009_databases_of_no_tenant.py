"""Databases that no tenant has (yet, or any more), tenants found by state, and deletion that nobody can forget.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# A provisioner may be at work on the database: it has as long as its lease, and no retry is waited for.
_LEASE_MS = 15_000
_NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def upgrade() -> None:
    op.create_table(
        "unowned_database",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("chain", sa.Text),
        sa.Column("fingerprint", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at_ms", sa.Integer),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="unowned_database_pkey"),
    )
    op.create_index("unowned_database_due_at_ms_idx", "unowned_database", ["due_at_ms"])
    op.create_index("unowned_database_state_idx", "unowned_database", ["state"])
    op.create_index("tenant_state_idx", "tenant", ["state", "id"])
    op.execute(
        f"""CREATE TRIGGER "user_delete_frees_its_tenant" AFTER DELETE ON "user" BEGIN
            UPDATE "tenant" SET state = 'deleting', attempts = 0, error = NULL,
                due_at_ms = min(max(coalesce(due_at_ms, 0), {_NOW_MS}), {_NOW_MS} + {_LEASE_MS}),
                updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
            WHERE user_id = old.id AND state NOT IN ('deleting', 'deleted');
        END"""
    )
