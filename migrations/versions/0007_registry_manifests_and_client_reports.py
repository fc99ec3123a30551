"""Signed states of the registry, what its keys say of each other, and what clients say of themselves.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "registry_manifest",
        sa.Column("counter", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("expires_at_s", sa.Integer, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("counter", name="registry_manifest_pkey"),
    )
    op.create_table(
        "registry_key_statement",
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("by_key_id", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "kind", name="registry_key_statement_pkey"),
    )
    op.create_table(
        "client_report",
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("app_version", sa.Text, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("seen_at_ms", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("device", name="client_report_pkey"),
    )
    op.create_index("client_report_seen_at_ms_idx", "client_report", ["seen_at_ms"])
    for table, key in (
        ("registry_manifest", "counter"),
        ("registry_key", "key_id"),
        ("registry_key_statement", "key_id"),
    ):
        for event, row in (("INSERT", "new"), ("UPDATE", "old"), ("DELETE", "old")):
            op.execute(
                f"""CREATE TRIGGER "{table}_{event.lower()}_is_told" AFTER {event} ON "{table}" BEGIN
                    INSERT INTO "change" (topic, key) VALUES ('registry', CAST({row}.{key} AS TEXT));
                END"""
            )
