"""Deletes a user in one transaction, and leaves word that their database has to go."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.central.tables import guest_link, tenant, user
from freehold.dates import to_iso

_GONE = ("deleting", "deleted")


async def delete_user_rows(db: AsyncConnection, user_id: str, now: datetime) -> bool:
    """Delete the user with accounts, sessions and guests, and mark their tenants `deleting`, due at once.

    In the caller's transaction: a crash leaves both or neither. False if there is no such user.
    """
    # What they left behind as a guest would have no owner any more.
    guests = select(guest_link.c.guest_id).where(guest_link.c.user_id == user_id)
    for guest_id in (await db.execute(guests)).scalars().all():
        await delete_user_rows(db, guest_id, now)
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
