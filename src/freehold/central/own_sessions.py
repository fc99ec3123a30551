"""A user's own sessions. Implements `freehold.auth.account_ports.OwnSessionStore`."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, true

from freehold.audit.types import Event
from freehold.auth.dates import to_iso
from freehold.auth.types import Session
from freehold.central.engine import Central
from freehold.central.tables import session
from freehold.central.users import session_of


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
        await self._end(user_id, session.c.token == token)

    async def delete_own_sessions(self, user_id: str, but_token: str | None = None) -> None:
        await self._end(user_id, true() if but_token is None else session.c.token != but_token)

    async def _end(self, user_id: str, which: ColumnElement[bool]) -> None:
        ending = session.delete().where(session.c.userId == user_id, which)
        async with self.central.write() as db:
            ended = (await db.execute(ending)).rowcount
            if ended:
                await self.central.record(
                    db, Event("user.sessions_ended", f"user:{user_id}", {"count": ended})
                )
