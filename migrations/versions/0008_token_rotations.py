"""How often a database's tokens were made worthless: one row for each database where that ever happened.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "token_rotation",
        sa.Column("database_name", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("rotated_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("database_name", name="token_rotation_pkey"),
    )
    for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
        op.execute(
            f"""CREATE TRIGGER "token_rotation_{event.lower()}_is_told" AFTER {event} ON "token_rotation" BEGIN
                INSERT INTO "change" (topic, key) VALUES ('token_rotation', {row}.database_name);
            END"""
        )
