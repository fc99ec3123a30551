"""Turns guests into users, links them to users, and removes departed ones. See `freehold.auth.users.guests`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Select, and_, exists, literal, or_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.auth.types import User
from freehold.central.auth.arrival import end_api_keys, end_sessions
from freehold.central.auth.rows import remove_user
from freehold.central.engine import Central
from freehold.central.tables import apikey, guest_link, session, user
from freehold.dates import to_iso
from freehold.tenants.guests import GuestLink


async def grow_up(central: Central, db: AsyncConnection, new: User) -> bool:
    """Overwrite the guest with this id, and end their sessions and keys. False if the guest no longer exists."""
    grown = await db.execute(
        user.update()
        .where(user.c.id == new.user_id, user.c.isAnonymous == 1, ~exists().where(guest_link.c.guest_id == new.user_id))
        .values(msgspec.to_builtins(new))
    )
    if not grown.rowcount:
        return False
    await end_sessions(db, new.user_id)
    await end_api_keys(central, db, new.user_id, "guest_signed_up")
    return True


async def link_guest(central: Central, db: AsyncConnection, guest_id: str, user_id: str, now: str) -> bool:
    """Let the user open the guest's database, and end the guest's sessions and keys. False if it is not a guest."""
    row = select(user.c.id, literal(user_id), literal(now)).where(user.c.id == guest_id, user.c.isAnonymous == 1)
    linked = await db.execute(
        insert(guest_link).from_select(["guest_id", "user_id", "created_at"], row).on_conflict_do_nothing()
    )
    if linked.rowcount:
        await end_sessions(db, guest_id)
        await end_api_keys(central, db, guest_id, "guest_signed_in")
    return linked.rowcount > 0


@dataclass(frozen=True, slots=True)
class CentralGuestLinks:
    """Implements `tenants.guests.GuestLinks`."""

    central: Central

    async def of_user(self, user_id: str) -> Sequence[GuestLink]:
        links = (
            select(guest_link.c.guest_id, guest_link.c.created_at)
            .where(guest_link.c.user_id == user_id)
            .order_by(guest_link.c.created_at, guest_link.c.guest_id)
        )
        return [GuestLink(guest_id=row.guest_id, linked_at=row.created_at) for row in await self.central.fetch(links)]

    async def has(self, user_id: str, guest_id: str) -> bool:
        return (await self.central.fetch(_link(user_id, guest_id))).first() is not None

    async def delete(self, user_id: str, guest_id: str, now: datetime) -> bool:
        async with self.central.write() as db:
            if (await db.execute(_link(user_id, guest_id))).first() is None:
                return False
            return await remove_user(self.central, db, guest_id, now)


def _link(user_id: str, guest_id: str) -> Select[tuple[str]]:
    return select(guest_link.c.guest_id).where(guest_link.c.user_id == user_id, guest_link.c.guest_id == guest_id)


async def remove_departed(central: Central, before: datetime, now: datetime, limit: int) -> int:
    """Remove guests who have been inactive since `before`; returns how many. See `auth.users.departed_guests`."""
    departed = _departed(to_iso(before), to_iso(now)).limit(limit)
    async with central.read() as db:  # usually there are none: avoid the write lock
        if (await db.execute(departed.limit(1))).first() is None:
            return 0
    async with central.write() as db:
        found = [str(row.id) for row in await db.execute(departed)]
        for guest_id in found:
            await remove_user(central, db, guest_id, now, {"reason": "departed"})
        return len(found)


def _departed(before: str, now: str) -> Select[tuple[str]]:
    """Guests without a live session or activity since `before`. Guests linked to a user are kept for that user."""
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
