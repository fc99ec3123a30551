"""Deletes a user in one transaction, and leaves word that their database has to go."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.auth.dates import to_iso
from freehold.central.tables import tenant, user

_GONE = ("deleting", "deleted")


async def delete_user_rows(db: AsyncConnection, user_id: str, now: datetime) -> bool:
    """Delete the user with their accounts and sessions, and mark their tenant `deleting`, due at once.

    In the caller's transaction: a crash leaves both or neither. False if there is no such user.
    """
    # Accounts and sessions go with their user: the tables say so.
    deleted = await db.execute(user.delete().where(user.c.id == user_id))
    await db.execute(
        tenant.update()
        .where(tenant.c.user_id == user_id, tenant.c.state.not_in(_GONE))
        .values(
            state="deleting",
            due_at_ms=int(now.timestamp() * 1000),
            attempts=0,
            error=None,
            updated_at=to_iso(now),
        )
    )
    return deleted.rowcount > 0
