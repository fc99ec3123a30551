"""Creates users, and starts and ends their sessions. Implements `freehold.auth.ports.UserStore`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.auth.errors import Banned
from freehold.auth.sessions.sessions import signed_in_by
from freehold.auth.social.types import Identity
from freehold.auth.types import Credential, Session, SignedIn, User
from freehold.central.auth.arrival import is_alive
from freehold.central.auth.guests import grow_up, link_guest
from freehold.central.auth.rows import (
    LABELLED_SESSION,
    LABELLED_USER,
    SEEN,
    constraints,
    find_credential,
    identity_row,
    password_row,
    remove_user,
    session_of,
    user_of,
)
from freehold.central.engine import Central
from freehold.central.tables import account, session, tenant, user
from freehold.central.tenants.rows import new_tenant_row
from freehold.dates import from_iso, to_iso
from freehold.errors import NotFound

_FIND_SESSION: Select[Any] = select(*LABELLED_SESSION, *LABELLED_USER, SEEN).select_from(
    session.join(user, user.c.id == session.c.userId)
)


@dataclass(frozen=True, slots=True)
class CentralUsers:
    """Each method is one short transaction. `provider_name` is the provider of new users' tenants."""

    central: Central
    provider_name: str

    async def add_user(
        self,
        new: User,
        password_hash: str | None,
        new_session: Session | None,
        *,
        identity: Identity | None = None,
        replaces: Sequence[str] = (),
    ) -> None:
        tenant_row = new_tenant_row(new.user_id, self.provider_name, from_iso(new.created_at))
        async with constraints(), self.central.write() as db:
            await db.execute(user.insert(), msgspec.to_builtins(new))
            await db.execute(tenant.insert(), tenant_row)
            await _add_ways_in(db, new, password_hash, identity, new_session)
            await self.central.record(db, _added(new, has_session=new_session is not None))
            await self._end_replaced(db, replaces, new.user_id)

    async def upgrade_guest(
        self, new: User, password_hash: str | None, new_session: Session, *, identity: Identity | None = None
    ) -> bool:
        async with constraints(), self.central.write() as db:
            if not await grow_up(self.central, db, new):
                return False
            await _add_ways_in(db, new, password_hash, identity, new_session)
            await self.central.record(db, _added(new, has_session=True))
        return True

    async def add_session(
        self,
        new: Session,
        *,
        method: str = "password",
        email: str = "",
        guest_id: str = "",
        password_hash: str | None = None,
        identity: Identity | None = None,
        replaces: Sequence[str] = (),
    ) -> None:
        signed_in = Event(
            "user.signed_in",
            f"user:{new.user_id}",
            {"method": method, "session_id": new.session_id},
            actor=f"user:{new.user_id}",
        )
        async with constraints(), self.central.write() as db:
            who = await _require_still_welcome(db, new, email, password_hash)
            if identity is not None:
                await _use_identity(db, who, identity)
            await db.execute(session.insert(), msgspec.to_builtins(new))
            await self.central.record(db, signed_in)
            await self._end_replaced(db, replaces, new.user_id)
            if guest_id and await link_guest(self.central, db, guest_id, new.user_id, new.created_at):
                linked = Event("user.guest_linked", f"user:{guest_id}", actor=f"user:{new.user_id}")
                await self.central.record(db, linked)

    async def _end_replaced(self, db: AsyncConnection, tokens: Sequence[str], user_id: str) -> None:
        if not tokens:
            return
        ending = session.delete().where(session.c.token.in_(tokens)).returning(session.c.id, session.c.userId)
        for row in (await db.execute(ending)).all():
            details = {"session_id": row.id}
            replaced = Event("user.session_replaced", f"user:{row.userId}", details, actor=f"user:{user_id}")
            await self.central.record(db, replaced)

    async def find_credential(self, email: str) -> Credential | None:
        async with self.central.read() as db:
            return await find_credential(db, user.c.email == email)

    async def find_session(self, token: str) -> tuple[SignedIn | None, int]:
        row = (await self.central.fetch(_FIND_SESSION.where(session.c.token == token))).mappings().first()
        if row is None:
            return None, 0
        seen = int(row["seen"])
        return signed_in_by(user_of(row), session_of(row), seen), seen

    async def extend_session(self, token: str, expires_at: str, updated_at: str) -> bool:
        extending = session.update().where(session.c.token == token)
        return await self.central.change(extending.values(expiresAt=expires_at, updatedAt=updated_at)) > 0

    async def delete_session(self, token: str) -> None:
        await self.central.change(session.delete().where(session.c.token == token))

    async def delete_user(self, user_id: str, now: datetime, *, guest_in: str = "") -> bool:
        async with self.central.write() as db:
            if guest_in and not await _is_guest_in(db, user_id, guest_in, to_iso(now)):
                return False
            return await remove_user(self.central, db, user_id, now)

    async def sign_out(self, token: str) -> None:
        ending = (
            session.delete()
            .where(session.c.token == token)
            .returning(session.c.id, session.c.userId, session.c.impersonatedBy)
        )
        async with self.central.write() as db:
            for row in (await db.execute(ending)).all():
                actor = f"user:{row.impersonatedBy or row.userId}"  # only this user can know the token
                event = Event("user.signed_out", f"user:{row.userId}", {"session_id": row.id}, actor=actor)
                await self.central.record(db, event)

    async def lift_ban(self, user_id: str, updated_at: str) -> None:
        async with self.central.write() as db:
            await db.execute(
                user.update()
                .where(user.c.id == user_id)
                .values(banned=0, banReason=None, banExpires=None, updatedAt=updated_at)
            )
            await self.central.record(db, Event("user.unbanned", f"user:{user_id}"))

    async def set_role(self, user_id: str, role: str, updated_at: str) -> None:
        async with self.central.write() as db:
            await db.execute(user.update().where(user.c.id == user_id).values(role=role, updatedAt=updated_at))
            await self.central.record(db, Event("user.role_changed", f"user:{user_id}", {"role": role}))


async def _is_guest_in(db: AsyncConnection, user_id: str, session_id: str, now: str) -> bool:
    is_guest = select(user.c.id).where(user.c.id == user_id, user.c.isAnonymous == 1)
    is_there = (await db.execute(is_guest)).first() is not None
    return is_there and await is_alive(db, session_id, user_id, now)


async def _require_still_welcome(db: AsyncConnection, new: Session, email: str, password_hash: str | None) -> User:
    """The user, unless they were banned or changed address or password while the sign-in was being verified."""
    found = await find_credential(db, user.c.id == new.user_id)
    if found is None or (password_hash is not None and found.password_hash != password_hash):
        raise NotFound("the user is gone, or has another password by now")
    who = found.user
    if email and who.email != email:
        raise NotFound("the user has another address by now")
    if who.is_banned_at(from_iso(new.created_at)):
        raise Banned
    return who


async def _use_identity(db: AsyncConnection, who: User, identity: Identity) -> None:
    """Check that the identity is still the user's, and store which address its issuer vouches for; resets use that."""
    is_it = (
        (account.c.providerId == identity.provider_id)
        & (account.c.accountId == identity.subject)
        & (account.c.userId == who.user_id)
    )
    row = (await db.execute(select(account.c.vouchedFor).where(is_it))).first()
    if row is None:
        raise NotFound("the identity is no longer the user's")
    # If the issuer does not vouch now, or for another address, it still once vouched for the user's.
    is_news = identity.email_verified and (identity.email == who.email or not row.vouchedFor)
    vouched_for = identity.email if is_news else row.vouchedFor or ""
    if row.vouchedFor != vouched_for:
        await db.execute(account.update().where(is_it).values(vouchedFor=vouched_for))


def _added(new: User, *, has_session: bool) -> Event:
    if has_session:
        return Event("user.signed_up", f"user:{new.user_id}", actor=f"user:{new.user_id}")
    return Event("user.created", f"user:{new.user_id}", {"role": new.role})


async def _add_ways_in(
    db: AsyncConnection, new: User, password_hash: str | None, identity: Identity | None, new_session: Session | None
) -> None:
    if password_hash is not None:
        await db.execute(account.insert(), password_row(new.user_id, password_hash, new.created_at))
    if identity is not None:
        await db.execute(account.insert(), identity_row(new.user_id, identity, new.created_at))
    if new_session is not None:
        await db.execute(session.insert(), msgspec.to_builtins(new_session))
