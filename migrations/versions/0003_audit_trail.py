"""The audit trail: rows that are only ever added, each bound to the one before.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("ip_address", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="audit_entry_pkey"),
    )
    for column in ("action", "actor", "target"):
        op.create_index(f"audit_entry_{column}_idx", "audit_entry", [column])
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("seal", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="audit_head_pkey"),
    )
    op.execute("INSERT INTO audit_head (id, seq, hash, seal) VALUES (1, 0, '', '')")
    for statement in (*_APPENDING, *_REFUSING):
        op.execute(statement)


# One statement adds an entry and moves the head, and only where the writer has seen the newest entry.
_APPENDING = (
    """CREATE VIEW audit_append AS
        SELECT seq, at, action, actor, target, ip_address, request_id, details, hash, '' AS previous, '' AS seal
        FROM audit_entry""",
    """CREATE TRIGGER audit_append_adds INSTEAD OF INSERT ON audit_append BEGIN
        SELECT RAISE(ABORT, 'the audit trail has moved on')
            WHERE NOT EXISTS (SELECT 1 FROM audit_head WHERE seq = new.seq - 1 AND hash = new.previous);
        INSERT INTO audit_entry (seq, at, action, actor, target, ip_address, request_id, details, hash)
            VALUES (new.seq, new.at, new.action, new.actor, new.target, new.ip_address, new.request_id,
                    new.details, new.hash);
        UPDATE audit_head SET seq = new.seq, hash = new.hash, seal = new.seal;
    END""",
)

_REFUSING = (
    """CREATE TRIGGER audit_entry_is_never_changed BEFORE UPDATE ON audit_entry BEGIN
        SELECT RAISE(ABORT, 'the audit trail is only ever added to');
    END""",
    """CREATE TRIGGER audit_entry_is_never_removed BEFORE DELETE ON audit_entry BEGIN
        SELECT RAISE(ABORT, 'the audit trail is only ever added to');
    END""",
    """CREATE TRIGGER audit_entry_is_only_appended BEFORE INSERT ON audit_entry
    WHEN NOT EXISTS (SELECT 1 FROM audit_head WHERE seq = new.seq - 1) BEGIN
        SELECT RAISE(ABORT, 'the audit trail is only ever added to');
    END""",
    """CREATE TRIGGER audit_head_is_never_removed BEFORE DELETE ON audit_head BEGIN
        SELECT RAISE(ABORT, 'the audit trail has one head');
    END""",
    """CREATE TRIGGER audit_head_is_never_doubled BEFORE INSERT ON audit_head BEGIN
        SELECT RAISE(ABORT, 'the audit trail has one head');
    END""",
    """CREATE TRIGGER audit_head_only_moves_on BEFORE UPDATE ON audit_head
    WHEN new.id <> old.id OR new.seq <> old.seq + 1
        OR NOT EXISTS (SELECT 1 FROM audit_entry WHERE seq = new.seq AND hash = new.hash) BEGIN
        SELECT RAISE(ABORT, 'the head of the audit trail only moves on');
    END""",
)
