"""Users' own accounts and sessions. Implements `freehold.auth.ports.AccountStore`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.auth.proofs import Proof, Proved
from freehold.auth.types import Account, Credential, Session, User, UserChanges
from freehold.auth.verifications import OneTimeUse
from freehold.central.auth.arrival import arrive, end_api_keys, end_sessions, is_alive
from freehold.central.auth.rows import (
    IS_PASSWORD,
    LABELLED_SESSION,
    constraints,
    find_credential,
    remove_user,
    session_of,
)
from freehold.central.auth.verifications import use_once
from freehold.central.engine import Central
from freehold.central.tables import account, session, user
from freehold.dates import from_iso, to_iso


@dataclass(frozen=True, slots=True)
class CentralAccounts:
    """Each method is one short transaction. The change feed reports deletions to every process."""

    central: Central

    async def find_credential(self, email: str) -> Credential | None:
        return await self._find(user.c.email == email)

    async def find_credential_of(self, user_id: str) -> Credential | None:
        return await self._find(user.c.id == user_id)

    async def list_accounts(self, user_id: str) -> list[Account]:
        wanted = select(account).where(account.c.userId == user_id).order_by(account.c.createdAt)
        rows = (await self.central.fetch(wanted)).mappings().all()
        return [
            Account(
                row_id=row["id"],
                account_id=row["accountId"],
                provider_id=row["providerId"],
                user_id=row["userId"],
                created_at=to_iso(from_iso(row["createdAt"])),
                updated_at=to_iso(from_iso(row["updatedAt"])),
                scopes=[scope for scope in (row["scope"] or "").split(",") if scope],
            )
            for row in rows
        ]

    async def update_user(self, user_id: str, changes: UserChanges, now: datetime) -> bool:
        values: dict[str, Any] = msgspec.to_builtins(changes)
        changing = user.update().where(user.c.id == user_id).values(**values, updatedAt=to_iso(now))
        return await self.central.change(changing) > 0

    async def prove(self, owner: User, proof: Proof, now: datetime) -> Proved | None:
        moment = to_iso(now)
        async with constraints(), self.central.write() as db:
            # The user must still have the address that was looked up.
            found = await find_credential(db, (user.c.id == owner.user_id) & (user.c.email == owner.email))
            if found is None:
                return None
            if proof.asked_by and not await is_alive(db, proof.asked_by, owner.user_id, moment):
                return None
            if proof.one_time_use is not None and not await use_once(db, proof.one_time_use):
                return None
            is_first = await arrive(self.central, db, found.user, proof, moment)
            found = await find_credential(db, user.c.id == owner.user_id)
        return Proved(user=found.user, is_first=is_first) if found else None

    async def replace_password(
        self,
        user_id: str,
        old_hash: str,
        new_hash: str,
        now: datetime,
        new_session: Session | None,
        *,
        keeps_keys: bool,
    ) -> bool:
        async with self.central.write() as db:
            values = {"password": new_hash, "updatedAt": to_iso(now)}
            is_theirs = (account.c.userId == user_id) & IS_PASSWORD & (account.c.password == old_hash)
            done = await db.execute(account.update().where(is_theirs).values(values))
            if done.rowcount:
                await self.central.record(db, Event("user.password_changed", f"user:{user_id}"))
            if done.rowcount and new_session is not None:
                await end_sessions(db, user_id)
                if not keeps_keys:
                    await end_api_keys(self.central, db, user_id, "sessions_ended")
                await db.execute(session.insert(), msgspec.to_builtins(new_session))
        return done.rowcount > 0

    async def delete_user(
        self, user_id: str, now: datetime, asked_by: str, one_time_use: OneTimeUse | None = None
    ) -> bool:
        async with self.central.write() as db:
            if not await is_alive(db, asked_by, user_id, to_iso(now)):
                return False
            if one_time_use is not None and not await use_once(db, one_time_use):
                return False
            return await remove_user(self.central, db, user_id, now)

    async def _find(self, which: ColumnElement[bool]) -> Credential | None:
        async with self.central.read() as db:
            return await find_credential(db, which)

    async def list_sessions(self, user_id: str, now: datetime) -> list[Session]:
        wanted = (
            select(*LABELLED_SESSION)
            # Users do not see the sessions of administrators who impersonate them.
            .where(session.c.userId == user_id, session.c.expiresAt > to_iso(now), session.c.impersonatedBy.is_(None))
            .order_by(session.c.createdAt)
        )
        return [session_of(row) for row in (await self.central.fetch(wanted)).mappings()]

    async def delete_own_session(self, user_id: str, token: str) -> None:
        ending = session.delete().where(session.c.userId == user_id, session.c.token == token)
        async with self.central.write() as db:
            await self._record_ended(db, user_id, (await db.execute(ending)).rowcount)

    async def delete_own_sessions(self, user_id: str, but_token: str | None = None, *, keeps_keys: bool) -> None:
        kept = None if but_token is None else session.c.token == but_token
        async with self.central.write() as db:
            await self._record_ended(db, user_id, await end_sessions(db, user_id, but=kept))
            if not keeps_keys:
                await end_api_keys(self.central, db, user_id, "sessions_ended")

    async def _record_ended(self, db: AsyncConnection, user_id: str, ended: int) -> None:
        if ended:
            await self.central.record(db, Event("user.sessions_ended", f"user:{user_id}", {"count": ended}))
