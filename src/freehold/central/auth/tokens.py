"""Stores for tokens: signing keys, refresh tokens, and sessions and API keys by id."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import RowMapping, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import ANONYMOUS, Event
from freehold.auth.sessions.sessions import MAX_AGE
from freehold.auth.tokens.subjects import TokenSubject
from freehold.auth.types import RefreshUse, StoredKey, StoredRefreshToken, UsedRefreshToken
from freehold.central.auth.rows import LABELLED_USER, SEEN, constraints, user_of
from freehold.central.engine import Central
from freehold.central.tables import apikey, jwks, refresh_token, session, user
from freehold.dates import from_iso, utc_now

_WITH_SESSION = select(
    refresh_token.c.used_at,
    refresh_token.c.expires_at,
    session.c.userId.label("user_id"),
    session.c.id.label("session_id"),
    session.c.token.label("session_token"),
).select_from(refresh_token.join(session, session.c.id == refresh_token.c.session_id))


@dataclass(frozen=True, slots=True)
class CentralRefreshTokens:
    """Implements `auth.tokens.refresh.RefreshTokenStore`. Each method is one short transaction."""

    central: Central

    async def add_refresh_token(self, new: StoredRefreshToken, session_id: str) -> None:
        async with constraints("the session no longer exists"), self.central.write() as db:
            await _add(db, new, session_id)

    async def use_refresh_token(
        self, token_hash: str, successor: StoredRefreshToken, *, repeatable_since: str, now: str
    ) -> UsedRefreshToken | None:
        # The write lock is taken first, so that one of several requests with the same token is the first.
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
        found = select(session.c.token).where(session.c.id == session_id)
        return (await self.central.fetch(found)).scalar_one_or_none()


async def _found(db: AsyncConnection, token_hash: str) -> RowMapping | None:
    return (await db.execute(_WITH_SESSION.where(refresh_token.c.token_hash == token_hash))).mappings().first()


async def _add(db: AsyncConnection, new: StoredRefreshToken, session_id: str) -> None:
    await db.execute(refresh_token.insert(), {**msgspec.to_builtins(new), "session_id": session_id})


@dataclass(frozen=True, slots=True)
class CentralSigningKeys:
    """Implements `auth.tokens.signing_keys.SigningKeyStore`. Each method is one short transaction."""

    central: Central

    async def load_keys(self) -> tuple[Sequence[StoredKey], int]:
        async with self.central.read() as db:
            rows = (await db.execute(select(jwks).order_by(jwks.c.createdAt.desc(), jwks.c.id))).mappings()
            seen = (await db.execute(select(SEEN))).scalar_one()
        return [_stored(row) for row in rows], int(seen)

    async def replace_keys(
        self, new: StoredKey, *, seen: Sequence[StoredKey], retired: Sequence[StoredKey], removed: Sequence[StoredKey]
    ) -> bool:
        async with self.central.write() as db:
            # The write lock is held from here on, so that only one of several processes replaces the same keys.
            found = (await db.execute(select(jwks.c.id, jwks.c.expiresAt))).all()
            if {tuple(row) for row in found} != {(row.key_id, row.expires_at) for row in seen}:
                return False
            await db.execute(
                jwks.update().where(jwks.c.id.in_(row.key_id for row in retired)).values(expiresAt=new.created_at)
            )
            await db.execute(jwks.delete().where(jwks.c.id.in_(row.key_id for row in removed)))
            await db.execute(jwks.insert(), msgspec.to_builtins(new))
            facts = {"retired": len(retired), "removed": len(removed)}
            await self.central.record(db, Event("jwt.key_added", f"key:{new.key_id}", facts))
        return True


def _stored(row: RowMapping) -> StoredKey:
    return StoredKey(
        key_id=row["id"],
        public_key=row["publicKey"],
        private_key=row["privateKey"],
        created_at=row["createdAt"],
        expires_at=row["expiresAt"],
        alg=row["alg"],
        crv=row["crv"],
    )


_FIND = select(session.c.token, session.c.userId, session.c.expiresAt, session.c.createdAt, SEEN)
_FIND_KEY = select(apikey.c.enabled, apikey.c.expiresAt, *LABELLED_USER, SEEN).select_from(
    apikey.join(user, user.c.id == apikey.c.referenceId)
)


@dataclass(frozen=True, slots=True)
class CentralTokenSubjects:
    """Implements `auth.tokens.subjects.TokenSubjectStore`. No session lives longer than `session_max_age`."""

    central: Central
    session_max_age: timedelta = MAX_AGE

    async def find_session_subject(self, session_id: str) -> tuple[TokenSubject | None, int]:
        row = (await self.central.fetch(_FIND.where(session.c.id == session_id))).first()
        if row is None:
            return None, 0
        token, user_id, expires_at, created_at, seen = row
        ends = min(from_iso(expires_at), from_iso(created_at) + self.session_max_age)
        return TokenSubject(token, user_id, ends), int(seen)

    async def find_key_subject(self, key_id: str) -> tuple[TokenSubject | None, int]:
        row = (await self.central.fetch(_FIND_KEY.where(apikey.c.id == key_id))).mappings().first()
        if row is None or not row["enabled"] or user_of(row).is_banned_at(utc_now()):
            return None, 0
        expires_at = datetime.max.replace(tzinfo=UTC) if row["expiresAt"] is None else from_iso(row["expiresAt"])
        return TokenSubject(key_id, row["user_id"], expires_at), int(row["seen"])
