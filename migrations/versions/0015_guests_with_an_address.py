"""Guests who have shown that an address is theirs are none any more.

They could change to it before the first proof of an address made them users. A guest who does not come back is
removed one day; nobody else is.

Revision ID: 0015
Revises: 0014
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those who have signed in to an account are that user's: their databases are offered there.
    op.execute(
        """UPDATE "user" SET "isAnonymous" = 0
            WHERE "isAnonymous" = 1 AND "emailVerified" = 1 AND id NOT IN (SELECT guest_id FROM guest_link)"""
    )
