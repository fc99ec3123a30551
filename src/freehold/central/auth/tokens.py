"""Refresh tokens in the central database. Implements `freehold.auth.ports.RefreshTokenStore`."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import RowMapping, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import ANONYMOUS, Event
from freehold.auth.types import RefreshUse, StoredRefreshToken, UsedRefreshToken
from freehold.central.engine import Central
from freehold.central.tables import refresh_token, session
from freehold.errors import NotFound

_WITH_SESSION = select(
    refresh_token.c.used_at,
    refresh_token.c.expires_at,
    session.c.userId.label("user_id"),
    session.c.id.label("session_id"),
    session.c.token.label("session_token"),
).select_from(refresh_token.join(session, session.c.id == refresh_token.c.session_id))


@dataclass(frozen=True, slots=True)
class CentralRefreshTokens:
    """Each method is one short transaction."""

    central: Central

    async def add_refresh_token(self, new: StoredRefreshToken, session_id: str) -> None:
        try:
            async with self.central.write() as db:
                await _add(db, new, session_id)
        except IntegrityError as error:
            if "FOREIGN KEY" not in str(error.orig):
                raise
            raise NotFound("there is no such session any more") from error

    async def use_refresh_token(
        self, token_hash: str, successor: StoredRefreshToken, *, repeatable_since: str, now: str
    ) -> UsedRefreshToken | None:
        # The write lock is taken first: of requests with the same token one is the first.
        async with self.central.write() as db:
            row = await _found(db, token_hash)
            if row is None or row["expires_at"] <= now:
                return None
            session_id = row["session_id"]
            if row["used_at"] is None:
                outcome = RefreshUse.FIRST
                await db.execute(
                    refresh_token.update().where(refresh_token.c.token_hash == token_hash).values(used_at=now)
                )
                await _add(db, successor, session_id)
                await db.execute(
                    refresh_token.delete().where(
                        refresh_token.c.session_id == session_id, refresh_token.c.expires_at <= now
                    )
                )
            elif row["used_at"] > repeatable_since:
                outcome = RefreshUse.REPEATED
            else:
                outcome = RefreshUse.REUSED
                reused = Event("user.refresh_token_reused", f"user:{row['user_id']}", actor=ANONYMOUS)
                await self.central.record(db, reused)
                await db.execute(session.delete().where(session.c.id == session_id))
        return UsedRefreshToken(outcome=outcome, session_id=session_id, session_token=row["session_token"])

    async def session_token_of_refresh(self, token_hash: str) -> str | None:
        async with self.central.read() as db:
            row = await _found(db, token_hash)
        return None if row is None else str(row["session_token"])

    async def session_token_of_id(self, session_id: str) -> str | None:
        async with self.central.read() as db:
            return (
                await db.execute(select(session.c.token).where(session.c.id == session_id))
            ).scalar_one_or_none()


async def _found(db: AsyncConnection, token_hash: str) -> RowMapping | None:
    return (
        (await db.execute(_WITH_SESSION.where(refresh_token.c.token_hash == token_hash))).mappings().first()
    )


async def _add(db: AsyncConnection, new: StoredRefreshToken, session_id: str) -> None:
    await db.execute(refresh_token.insert(), {**msgspec.to_builtins(new), "session_id": session_id})
