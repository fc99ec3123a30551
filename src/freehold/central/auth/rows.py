"""Rows of users, their accounts and sessions, for all stores of users."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, Table, and_, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event, Facts
from freehold.auth.errors import EmailTaken, IdentityTaken
from freehold.auth.random_ids import random_id
from freehold.auth.social.types import Identity
from freehold.auth.types import USER_ROLE, Credential, Session, User
from freehold.central.engine import Central
from freehold.central.tables import account, change, guest_link, session, tenant, user
from freehold.dates import from_iso, to_iso
from freehold.errors import NotFound

CREDENTIAL = "credential"


def _labelled(table: Table) -> list[Any]:
    """Columns as `user_name`, `session_token`, because some names occur in both tables."""
    return [column.label(f"{table.name}_{column.name}") for column in table.c]


LABELLED_USER, LABELLED_SESSION = _labelled(user), _labelled(session)

# The position of the change feed; read in the same statement, and therefore the same snapshot, as the other columns.
SEEN = select(func.coalesce(func.max(change.c.seq), 0)).scalar_subquery().label("seen")

IS_PASSWORD = and_(account.c.providerId == CREDENTIAL, account.c.accountId == account.c.userId)
_CREDENTIALS: Select[Any] = select(*LABELLED_USER, account.c.password).select_from(
    user.outerjoin(account, and_(account.c.userId == user.c.id, IS_PASSWORD))
)


async def find_credential(db: AsyncConnection, which: ColumnElement[bool]) -> Credential | None:
    """The user that matches this condition, with their password hash."""
    row = (await db.execute(_CREDENTIALS.where(which))).mappings().first()
    return Credential(user=user_of(row), password_hash=row["password"]) if row else None


def user_of(row: RowMapping) -> User:
    """The user in a row with the columns `LABELLED_USER`."""
    return User(
        user_id=row["user_id"],
        name=row["user_name"],
        email=row["user_email"],
        email_verified=bool(row["user_emailVerified"]),
        image=row["user_image"],
        created_at=_date(row["user_createdAt"]),
        updated_at=_date(row["user_updatedAt"]),
        role=row["user_role"] or USER_ROLE,
        banned=bool(row["user_banned"]),
        ban_reason=row["user_banReason"],
        ban_expires=_date(row["user_banExpires"]) if row["user_banExpires"] else None,
        is_anonymous=bool(row["user_isAnonymous"]),
    )


def session_of(row: RowMapping) -> Session:
    """The session in a row of `LABELLED_SESSION`."""
    return Session(
        session_id=row["session_id"],
        token=row["session_token"],
        user_id=row["session_userId"],
        expires_at=_date(row["session_expiresAt"]),
        created_at=_date(row["session_createdAt"]),
        updated_at=_date(row["session_updatedAt"]),
        ip_address=row["session_ipAddress"] or "",
        user_agent=row["session_userAgent"] or "",
        impersonated_by=row["session_impersonatedBy"],
    )


def _date(text: str) -> str:
    """In the clients' format, also if another program wrote the row with more digits or another time zone."""
    return to_iso(from_iso(text))


def account_row(
    user_id: str,
    provider_id: str,
    account_id: str,
    now: str,
    *,
    password_hash: str | None = None,
    scope: str | None = None,
    vouched_for: str | None = None,
) -> dict[str, Any]:
    """A row for a way to sign in. It has no tokens of a provider: see docs/decisions/0019-social-sign-in.md."""
    return {
        "id": random_id(),
        "accountId": account_id,
        "providerId": provider_id,
        "userId": user_id,
        "password": password_hash,
        "scope": scope,
        "vouchedFor": vouched_for,
        "createdAt": now,
        "updatedAt": now,
    }


def password_row(user_id: str, password_hash: str, now: str) -> dict[str, Any]:
    return account_row(user_id, CREDENTIAL, user_id, now, password_hash=password_hash)


def identity_row(user_id: str, identity: Identity, now: str) -> dict[str, Any]:
    return account_row(
        user_id,
        identity.provider_id,
        identity.subject,
        now,
        scope=",".join(identity.scopes),
        vouched_for=identity.email if identity.email_verified else "",
    )


async def remove_user(
    central: Central, db: AsyncConnection, user_id: str, now: datetime, facts: Facts | None = None
) -> bool:
    """Delete the user with accounts, sessions and guests, and mark their tenants `deleting`, due at once.

    Runs in the caller's transaction and records the audit event there. False if there is no such user.
    """
    is_deleted = await _delete_user(db, user_id, now)
    if is_deleted:
        await central.record(db, Event("user.removed", f"user:{user_id}", facts or {}))
    return is_deleted


async def _delete_user(db: AsyncConnection, user_id: str, now: datetime) -> bool:
    # Databases from when the user was a guest would have no owner any more.
    guests = select(guest_link.c.guest_id).where(guest_link.c.user_id == user_id)
    for guest_id in (await db.execute(guests)).scalars().all():
        await _delete_user(db, guest_id, now)
    # Accounts and sessions are deleted by cascade.
    deleted = await db.execute(user.delete().where(user.c.id == user_id))
    await db.execute(
        tenant.update()
        .where(tenant.c.user_id == user_id, tenant.c.state.not_in(("deleting", "deleted")))
        .values(state="deleting", due_at_ms=int(now.timestamp() * 1000), attempts=0, error=None, updated_at=to_iso(now))
    )
    return deleted.rowcount > 0


@asynccontextmanager
async def constraints(gone: str = "the user no longer exists") -> AsyncIterator[None]:
    """Wrap a transaction and translate violated constraints.

    Raises:
        EmailTaken, IdentityTaken: someone else has it.
        NotFound: the referenced row is `gone`.
    """
    try:
        yield
    except IntegrityError as error:
        broken = str(error.orig)
        if "user.email" in broken:
            raise EmailTaken from error
        if "account.providerId" in broken:
            raise IdentityTaken("someone else signs in with this identity") from error
        if "FOREIGN KEY" in broken:
            raise NotFound(gone) from error
        raise
