"""Tell of API keys that may no longer be used: what was handed out for them ends with them.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A use changes the counters only, and is nobody's news.
    op.execute(
        """CREATE TRIGGER "apikey_update_is_told" AFTER UPDATE ON "apikey"
            WHEN old.enabled IS NOT new.enabled OR old.expiresAt IS NOT new.expiresAt
                OR old.referenceId IS NOT new.referenceId BEGIN
            INSERT INTO "change" (topic, key) VALUES ('apikey', old.id);
        END"""
    )
    op.execute(
        """CREATE TRIGGER "apikey_delete_is_told" AFTER DELETE ON "apikey" BEGIN
            INSERT INTO "change" (topic, key) VALUES ('apikey', old.id);
        END"""
    )
