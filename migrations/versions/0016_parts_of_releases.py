"""A release has a text of its own, signed whole, with the hash of each further part; the parts' bytes lie beside it.

States that were signed before have none, and are signed again when the service starts.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A service of the version before may still run beside this one, and knows nothing of the text.
    op.add_column("registry_manifest", sa.Column("text", sa.Text, nullable=False, server_default=""))
    op.add_column("registry_manifest", sa.Column("text_signature", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "registry_part",
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="registry_part_pkey"),
    )
