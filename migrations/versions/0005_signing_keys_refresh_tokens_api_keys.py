"""Signing keys of JWTs, refresh tokens, API keys.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jwks",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("publicKey", sa.Text, nullable=False),
        sa.Column("privateKey", sa.Text, nullable=False),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("expiresAt", sa.Text),
        sa.Column("alg", sa.Text),
        sa.Column("crv", sa.Text),
        sa.PrimaryKeyConstraint("id", name="jwks_pkey"),
    )
    op.create_table(
        "refresh_token",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Text, nullable=False),
        sa.Column("used_at", sa.Text),
        sa.PrimaryKeyConstraint("token_hash", name="refresh_token_pkey"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["session.id"], name="refresh_token_session_id_fkey", ondelete="CASCADE"
        ),
    )
    op.create_index("refresh_token_session_id_idx", "refresh_token", ["session_id"])
    op.create_table(
        "apikey",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("configId", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("start", sa.Text),
        sa.Column("referenceId", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("refillInterval", sa.Integer),
        sa.Column("refillAmount", sa.Integer),
        sa.Column("lastRefillAt", sa.Text),
        sa.Column("enabled", sa.Integer),
        sa.Column("rateLimitEnabled", sa.Integer),
        sa.Column("rateLimitTimeWindow", sa.Integer),
        sa.Column("rateLimitMax", sa.Integer),
        sa.Column("requestCount", sa.Integer),
        sa.Column("remaining", sa.Integer),
        sa.Column("lastRequest", sa.Text),
        sa.Column("expiresAt", sa.Text),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("updatedAt", sa.Text, nullable=False),
        sa.Column("permissions", sa.Text),
        sa.Column("metadata", sa.Text),
        sa.PrimaryKeyConstraint("id", name="apikey_pkey"),
        sa.ForeignKeyConstraint(["referenceId"], ["user.id"], name="apikey_referenceId_fkey", ondelete="CASCADE"),
    )
    op.create_index("apikey_configId_idx", "apikey", ["configId"])
    op.create_index("apikey_referenceId_idx", "apikey", ["referenceId"])
    op.create_index("apikey_key_idx", "apikey", ["key"])
    for event, row in (("INSERT", "new"), ("UPDATE", "old"), ("DELETE", "old")):
        # Processes keep the signing keys in memory; a rotation reaches them by the feed.
        op.execute(
            f"""CREATE TRIGGER "jwks_{event.lower()}_is_told" AFTER {event} ON "jwks" BEGIN
                INSERT INTO "change" (topic, key) VALUES ('jwks', {row}.id);
            END"""
        )
