"""Guests of whom nothing was heard for long. Implements `auth.users.departed_guests.DepartedStore`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, and_, exists, or_, select

from freehold.audit.types import Event
from freehold.central.auth.user_deletion import delete_user_rows
from freehold.central.engine import Central
from freehold.central.tables import apikey, guest_link, session, user
from freehold.dates import to_iso


@dataclass(frozen=True, slots=True)
class CentralDepartedGuests:
    """Each batch is one short transaction."""

    central: Central

    async def remove_departed(self, before: datetime, now: datetime, limit: int) -> int:
        departed = _departed(to_iso(before), to_iso(now)).limit(limit)
        async with self.central.read() as db:  # mostly there is nobody, and no lock to be taken
            if (await db.execute(departed.limit(1))).first() is None:
                return 0
        async with self.central.write() as db:
            found = [str(row.id) for row in await db.execute(departed)]
            for guest_id in found:
                await self.central.record(
                    db, Event("user.removed", f"user:{guest_id}", {"reason": "departed"})
                )
                await delete_user_rows(db, guest_id, now)
            return len(found)


def _departed(before: str, now: str) -> Select[tuple[str]]:
    """Those who can still come are none, nor those whose database waits for the user they became."""
    has_session = exists().where(
        session.c.userId == user.c.id, or_(session.c.expiresAt > now, session.c.updatedAt > before)
    )
    has_key = exists().where(
        apikey.c.referenceId == user.c.id,
        or_(
            apikey.c.createdAt > before,
            apikey.c.updatedAt > before,
            and_(apikey.c.lastRequest.is_not(None), apikey.c.lastRequest > before),
        ),
    )
    return select(user.c.id).where(
        user.c.isAnonymous == 1,
        user.c.createdAt < before,
        user.c.updatedAt < before,
        ~has_session,
        ~has_key,
        ~exists().where(guest_link.c.guest_id == user.c.id),
    )
