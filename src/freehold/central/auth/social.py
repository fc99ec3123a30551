"""Identities at providers, and pending sign-ins with them."""

from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.auth.errors import AccountNotFound, IdentityTaken, LastAccount
from freehold.auth.proofs import Kept, Proof, in_hand
from freehold.auth.social.errors import SocialRefusal
from freehold.auth.social.types import Attempt, Identity
from freehold.auth.types import Credential, SignedIn, User
from freehold.central.auth.arrival import arrive, is_alive
from freehold.central.auth.rows import LABELLED_USER, find_credential, identity_row, user_of
from freehold.central.auth.verifications import verification_row
from freehold.central.engine import Central
from freehold.central.tables import account, user, verification
from freehold.dates import to_iso

_SWEPT = 20  # expired rows deleted for each new one, so that they do not accumulate


@dataclass(frozen=True, slots=True)
class CentralSocial:
    """Implements `auth.social.service.SocialStore`; attempts are stored in better-auth's `verification` table."""

    central: Central

    async def save_attempt(self, key: str, attempt: Attempt, now: datetime, expires_at: datetime) -> None:
        row = verification_row(_identifier(key), msgspec.json.encode(attempt).decode(), expires_at, now)
        long_over = (
            select(verification.c.id)
            .where(verification.c.expiresAt < to_iso(now))
            .order_by(verification.c.expiresAt)
            .limit(_SWEPT)
        )
        async with self.central.write() as db:
            await db.execute(verification.delete().where(verification.c.id.in_(long_over)))
            await db.execute(verification.insert(), row)

    async def find_attempt(self, key: str, now: datetime) -> Attempt | None:
        waiting = select(verification.c.value).where(
            verification.c.identifier == _identifier(key), verification.c.expiresAt > to_iso(now)
        )
        value = (await self.central.fetch(waiting)).scalar()
        return None if value is None else msgspec.json.decode(value, type=Attempt)

    async def take_attempt(self, key: str, now: datetime) -> bool:
        taking = verification.delete().where(
            verification.c.identifier == _identifier(key), verification.c.expiresAt > to_iso(now)
        )
        return await self.central.change(taking) > 0

    async def find_user(self, provider_id: str, subject: str) -> User | None:
        owner = (
            select(*LABELLED_USER)
            .join(account, account.c.userId == user.c.id)
            .where(account.c.providerId == provider_id, account.c.accountId == subject)
        )
        row = (await self.central.fetch(owner)).mappings().first()
        return None if row is None else user_of(row)

    async def link_vouched(self, identity: Identity, user_id: str, now: datetime) -> User | None:
        moment = to_iso(now)
        async with self.central.write() as db:
            found = await _credential(db, user_id, identity.email)
            if found is None:
                return None
            if await _owner(db, identity) is not None:
                raise IdentityTaken("someone else has this identity by now")
            await db.execute(account.insert(), identity_row(user_id, identity, moment))
            await self.central.record(db, _linked(user_id, identity))
            if not found.user.email_verified:
                proof = Proof(way="issuer", kept=Kept(identity=_key(identity)))
                await arrive(self.central, db, found.user, proof, moment)
        return replace(found.user, email_verified=True)

    async def link(self, identity: Identity, asking: SignedIn, now: datetime) -> None:
        moment = to_iso(now)
        async with self.central.write() as db:
            found = await _credential(db, asking.user_id, identity.email)
            if found is None or not await is_alive(db, asking.session_id, asking.user_id, moment):
                raise SocialRefusal("state_mismatch", "the session has ended, or its user has another address by now")
            owner = await _owner(db, identity)
            if owner not in {None, asking.user_id}:
                raise SocialRefusal("account_already_linked_to_different_user", "someone else has this identity")
            if owner is None:
                await db.execute(account.insert(), identity_row(asking.user_id, identity, moment))
                await self.central.record(db, _linked(asking.user_id, identity))
            if not found.user.email_verified:
                own = in_hand(asking, found)
                kept = Kept(session_ids=own.session_ids, password_hash=own.password_hash, identity=_key(identity))
                await arrive(self.central, db, found.user, Proof(way="issuer", kept=kept), moment)

    async def prove(self, identity: Identity, owner: User, now: datetime) -> bool:
        async with self.central.write() as db:
            found = await _credential(db, owner.user_id, identity.email)
            if found is None or await _owner(db, identity) != owner.user_id:
                return False
            if not found.user.email_verified:
                proof = Proof(way="issuer", kept=Kept(identity=_key(identity)))
                await arrive(self.central, db, found.user, proof, to_iso(now))
        return True

    async def owns(self, account_row_id: str, user_id: str) -> bool:
        one = select(account.c.id).where(account.c.id == account_row_id, account.c.userId == user_id)
        return (await self.central.fetch(one)).first() is not None

    async def unlink(self, account_row_id: str, user_id: str) -> None:
        async with self.central.write() as db:
            rows = await db.execute(select(account.c.id, account.c.providerId).where(account.c.userId == user_id))
            found = {row.id: row.providerId for row in rows}
            if len(found) == 1:
                raise LastAccount
            if account_row_id not in found:
                raise AccountNotFound
            await db.execute(account.delete().where(account.c.id == account_row_id))
            details = {"provider": found[account_row_id]}
            await self.central.record(db, Event("user.account_unlinked", f"user:{user_id}", details))


async def _credential(db: AsyncConnection, user_id: str, email: str) -> Credential | None:
    """The user, if they have this address."""
    return await find_credential(db, (user.c.id == user_id) & (user.c.email == email))


def _key(identity: Identity) -> tuple[str, str]:
    return identity.provider_id, identity.subject


async def _owner(db: AsyncConnection, identity: Identity) -> str | None:
    owner = select(account.c.userId).where(
        account.c.providerId == identity.provider_id, account.c.accountId == identity.subject
    )
    return (await db.execute(owner)).scalar()


def _linked(user_id: str, identity: Identity) -> Event:
    # At an implicit link nobody is signed in yet: the user is the actor.
    return Event("user.account_linked", f"user:{user_id}", {"provider": identity.provider_id}, actor=f"user:{user_id}")


def _identifier(key: str) -> str:
    return f"auth-state:{key}"
