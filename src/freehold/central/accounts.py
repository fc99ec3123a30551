"""Users as they care for their accounts. Implements `freehold.auth.account_ports.AccountStore`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.auth.dates import from_iso, to_iso
from freehold.auth.errors import EmailTaken
from freehold.auth.pending import Ticket
from freehold.auth.types import Account, Credential, Session, User, UserChanges
from freehold.central.account_rows import CREDENTIAL, password_row
from freehold.central.engine import Central
from freehold.central.pending import use_ticket
from freehold.central.tables import account, apikey, session, user
from freehold.central.user_deletion import delete_user_rows
from freehold.central.users import FIND_CREDENTIAL, user_of


@dataclass(frozen=True, slots=True)
class CentralAccounts:
    """Each method is one short transaction."""

    central: Central

    async def find_credential(self, email: str) -> Credential | None:
        return await self._find(user.c.email == email)

    async def find_credential_of(self, user_id: str) -> Credential | None:
        return await self._find(user.c.id == user_id)

    async def list_accounts(self, user_id: str) -> list[Account]:
        wanted = select(account).where(account.c.userId == user_id).order_by(account.c.createdAt)
        async with self.central.read() as db:
            rows = (await db.execute(wanted)).mappings().all()
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
        async with self.central.write() as db:
            done = await db.execute(
                user.update().where(user.c.id == user_id).values(**values, updatedAt=to_iso(now))
            )
        return done.rowcount > 0

    async def prove_email(self, owner: User, now: datetime) -> User | None:
        async with self.central.write() as db:
            found = await _find(db, _is_still(owner))
            if found is not None and not found.user.email_verified:
                await db.execute(account.delete().where(account.c.userId == owner.user_id))
                await _end_access(db, owner.user_id)
                await self._verify(db, owner, to_iso(now))
                found = await _find(db, _is_still(owner))
        return found.user if found else None

    async def verify_email(self, owner: User, now: datetime, ticket: Ticket | None = None) -> User | None:
        async with self.central.write() as db:
            if ticket is not None and not await use_ticket(db, ticket):
                return None
            await self._verify(db, owner, to_iso(now))
            found = await _find(db, _is_still(owner))
        return found.user if found else None

    async def change_email(
        self, owner: User, new_email: str, now: datetime, ticket: Ticket | None = None
    ) -> User | None:
        values = {"email": new_email, "emailVerified": 1, "updatedAt": to_iso(now)}
        try:
            async with self.central.write() as db:
                if ticket is not None and not await use_ticket(db, ticket):
                    return None
                done = await db.execute(user.update().where(_is_still(owner)).values(values))
                if done.rowcount:
                    await self.central.record(db, Event("user.email_changed", _who(owner), actor=_who(owner)))
                found = await _find(db, user.c.id == owner.user_id)
        except IntegrityError as error:
            raise _in_our_words(error) from error
        return found.user if found and done.rowcount else None

    async def replace_password(
        self, user_id: str, old_hash: str, new_hash: str, now: datetime, new_session: Session | None
    ) -> bool:
        async with self.central.write() as db:
            is_theirs = _is_password_of(user_id) & (account.c.password == old_hash)
            values = {"password": new_hash, "updatedAt": to_iso(now)}
            done = await db.execute(account.update().where(is_theirs).values(values))
            if done.rowcount:
                await self.central.record(db, Event("user.password_changed", f"user:{user_id}"))
            if done.rowcount and new_session is not None:
                await db.execute(session.delete().where(session.c.userId == user_id))
                await db.execute(session.insert(), msgspec.to_builtins(new_session))
        return done.rowcount > 0

    async def reset_password(
        self, owner: User, new_hash: str, now: datetime, ticket: Ticket, *, verifies_email: bool
    ) -> bool:
        async with self.central.write() as db:
            found = await _find(db, _is_still(owner))
            if found is None or not await use_ticket(db, ticket):
                return False
            await _set_password(db, owner.user_id, new_hash, to_iso(now))
            await self.central.record(db, Event("user.password_reset", _who(owner), actor=_who(owner)))
            if not found.user.email_verified:
                await _end_access(db, owner.user_id)
            if verifies_email:
                await self._verify(db, owner, to_iso(now))
        return True

    async def delete_user(self, user_id: str, now: datetime, ticket: Ticket | None = None) -> bool:
        async with self.central.write() as db:
            if ticket is not None and not await use_ticket(db, ticket):
                return False
            is_deleted = await delete_user_rows(db, user_id, now)
            if is_deleted:
                await self.central.record(db, Event("user.removed", f"user:{user_id}"))
        return is_deleted

    async def _verify(self, db: AsyncConnection, owner: User, now: str) -> None:
        values = {"emailVerified": 1, "updatedAt": now}
        done = await db.execute(
            user.update().where(_is_still(owner), user.c.emailVerified == 0).values(values)
        )
        if done.rowcount:
            await self.central.record(db, Event("user.email_verified", _who(owner), actor=_who(owner)))

    async def _find(self, which: ColumnElement[bool]) -> Credential | None:
        async with self.central.read() as db:
            return await _find(db, which)


async def _find(db: AsyncConnection, which: ColumnElement[bool]) -> Credential | None:
    row = (await db.execute(FIND_CREDENTIAL.where(which))).mappings().first()
    return Credential(user=user_of(row), password_hash=row["password"]) if row else None


async def _end_access(db: AsyncConnection, user_id: str) -> None:
    """Put out whoever is in: they may have signed up with an address that was not theirs."""
    await db.execute(session.delete().where(session.c.userId == user_id))
    await db.execute(apikey.delete().where(apikey.c.referenceId == user_id))


async def _set_password(db: AsyncConnection, user_id: str, new_hash: str, now: str) -> None:
    values = {"password": new_hash, "updatedAt": now}
    done = await db.execute(account.update().where(_is_password_of(user_id)).values(values))
    if done.rowcount == 0:
        await db.execute(account.insert(), password_row(user_id, new_hash, now))


def _is_password_of(user_id: str) -> ColumnElement[bool]:
    return (
        (account.c.userId == user_id)
        & (account.c.providerId == CREDENTIAL)
        & (account.c.accountId == user_id)
    )


def _is_still(owner: User) -> ColumnElement[bool]:
    """The user, if the address is theirs as it was when it was looked up."""
    return (user.c.id == owner.user_id) & (user.c.email == owner.email)


def _who(owner: User) -> str:
    """In the trail. Who has a code or link from the owner's mail acts as the owner, signed in or not."""
    return f"user:{owner.user_id}"


def _in_our_words(error: IntegrityError) -> Exception:
    if "user.email" not in str(error.orig):
        return error
    return EmailTaken("there is a user with this address")
