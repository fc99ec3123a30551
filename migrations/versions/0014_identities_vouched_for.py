"""Note for which address an issuer vouched when somebody last signed in with it.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # NULL in the rows that are there: nobody noted it.
    op.add_column("account", sa.Column("vouchedFor", sa.Text))
