"""A user's own sessions. Implements `freehold.auth.account_ports.OwnSessionStore`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.auth.types import Session
from freehold.central.auth.arrival import end_api_keys, end_sessions
from freehold.central.auth.users import session_of
from freehold.central.engine import Central
from freehold.central.tables import session
from freehold.dates import to_iso


@dataclass(frozen=True, slots=True)
class CentralOwnSessions:
    """Each method is one short transaction. The change feed tells every process of what is deleted."""

    central: Central

    async def list_sessions(self, user_id: str, now: datetime) -> list[Session]:
        wanted = (
            select(*(column.label(f"session_{column.name}") for column in session.c))
            # Those that an administrator began in the user's name are not for the user to see.
            .where(
                session.c.userId == user_id,
                session.c.expiresAt > to_iso(now),
                session.c.impersonatedBy.is_(None),
            )
            .order_by(session.c.createdAt)
        )
        async with self.central.read() as db:
            return [session_of(row) for row in (await db.execute(wanted)).mappings()]

    async def delete_own_session(self, user_id: str, token: str) -> None:
        ending = session.delete().where(session.c.userId == user_id, session.c.token == token)
        async with self.central.write() as db:
            await self._record(db, user_id, (await db.execute(ending)).rowcount)

    async def delete_own_sessions(
        self, user_id: str, but_token: str | None = None, *, keeps_keys: bool
    ) -> None:
        kept = None if but_token is None else session.c.token == but_token
        async with self.central.write() as db:
            await self._record(db, user_id, await end_sessions(db, user_id, but=kept))
            if not keeps_keys:
                await end_api_keys(self.central, db, user_id, "sessions_ended")

    async def _record(self, db: AsyncConnection, user_id: str, ended: int) -> None:
        if ended:
            await self.central.record(db, Event("user.sessions_ended", f"user:{user_id}", {"count": ended}))
