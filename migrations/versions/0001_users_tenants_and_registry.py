"""Users, tenants, the published registry, and the feed of their changes.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEPT_CHANGES = 10_000


def upgrade() -> None:
    op.create_table(
        "user",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("emailVerified", sa.Integer, nullable=False),
        sa.Column("image", sa.Text),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("updatedAt", sa.Text, nullable=False),
        sa.Column("role", sa.Text),
        sa.Column("banned", sa.Integer),
        sa.Column("banReason", sa.Text),
        sa.Column("banExpires", sa.Text),
        sa.Column("isAnonymous", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="user_pkey"),
        sa.UniqueConstraint("email", name="user_email_key"),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("expiresAt", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("updatedAt", sa.Text, nullable=False),
        sa.Column("ipAddress", sa.Text),
        sa.Column("userAgent", sa.Text),
        sa.Column("userId", sa.Text, nullable=False),
        sa.Column("impersonatedBy", sa.Text),
        sa.PrimaryKeyConstraint("id", name="session_pkey"),
        sa.UniqueConstraint("token", name="session_token_key"),
        sa.ForeignKeyConstraint(["userId"], ["user.id"], name="session_userId_fkey", ondelete="CASCADE"),
    )
    op.create_index("session_userId_idx", "session", ["userId"])
    op.create_table(
        "account",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("accountId", sa.Text, nullable=False),
        sa.Column("providerId", sa.Text, nullable=False),
        sa.Column("userId", sa.Text, nullable=False),
        sa.Column("accessToken", sa.Text),
        sa.Column("refreshToken", sa.Text),
        sa.Column("idToken", sa.Text),
        sa.Column("accessTokenExpiresAt", sa.Text),
        sa.Column("refreshTokenExpiresAt", sa.Text),
        sa.Column("scope", sa.Text),
        sa.Column("password", sa.Text),
        sa.Column("createdAt", sa.Text, nullable=False),
        sa.Column("updatedAt", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="account_pkey"),
        sa.ForeignKeyConstraint(["userId"], ["user.id"], name="account_userId_fkey", ondelete="CASCADE"),
    )
    op.create_index("account_userId_idx", "account", ["userId"])
    op.create_table(
        "tenant",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("database_name", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("schema_version", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at_ms", sa.Integer),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="tenant_pkey"),
        sa.UniqueConstraint("user_id", name="tenant_user_id_key"),
        sa.UniqueConstraint("database_name", name="tenant_database_name_key"),
    )
    op.create_index("tenant_due_at_ms_idx", "tenant", ["due_at_ms"])
    op.create_table(
        "published_migration",
        sa.Column("version", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("sql", sa.Text, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("version", name="published_migration_pkey"),
        sa.UniqueConstraint("chain", name="published_migration_chain_key"),
    )
    op.create_table(
        "registry_key",
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="registry_key_pkey"),
    )
    op.create_table(
        "change",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="change_pkey"),
        sqlite_autoincrement=True,
    )
    for trigger in _triggers():
        op.execute(trigger)


def _triggers() -> list[str]:
    """A change is told in the transaction that makes it, whoever makes it. New sessions need no telling."""
    found = [
        ("session", "UPDATE", "session", "old.token"),
        ("session", "DELETE", "session", "old.token"),
        ("user", "UPDATE", "user", "old.id"),
        ("user", "DELETE", "user", "old.id"),
        ("published_migration", "INSERT", "registry", "new.version"),
        ("published_migration", "UPDATE", "registry", "old.version"),
        ("published_migration", "DELETE", "registry", "old.version"),
    ]
    triggers = [
        f"""CREATE TRIGGER "{table}_{event.lower()}_is_told" AFTER {event} ON "{table}" BEGIN
            INSERT INTO "change" (topic, key) VALUES ('{topic}', CAST({key} AS TEXT));
        END"""
        for table, event, topic, key in found
    ]
    # A reader that fell further behind than this forgets all it has cached.
    triggers.append(
        f"""CREATE TRIGGER "change_is_pruned" AFTER INSERT ON "change" WHEN new.seq % 1000 = 0 BEGIN
            DELETE FROM "change" WHERE seq <= new.seq - {_KEPT_CHANGES};
        END"""
    )
    return triggers
