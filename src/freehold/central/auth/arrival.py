"""The only place that marks an address as proved, and that revokes all other access to its account.

Every proof of an address goes through `arrive`, in the transaction that uses up the code, the link or the identity.
`freehold.auth.proofs` has the rules, docs/security.md the decisions.
"""

from typing import Any

import msgspec
from sqlalchemy import ColumnElement, and_, delete, false, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.auth.proofs import NOTHING, RESETS, Chosen, Kept, Proof
from freehold.auth.types import User
from freehold.central.auth.rows import IS_PASSWORD, password_row
from freehold.central.engine import Central
from freehold.central.tables import account, apikey, session, user, verification

_KINDS_OF_CODES = ("sign-in", "email-verification", "forget-password")


async def arrive(central: Central, db: AsyncConnection, owner: User, proof: Proof, now: str) -> bool:
    """Record that `owner`, as read in this transaction, has proved their address; returns whether for the first time.

    Everything that the proof does not keep is revoked if this is the first proof of the account's address, or a reset,
    or if the address is new and was proved without a session of the account.
    """
    is_first = not owner.email_verified
    ends_others = is_first or proof.way in RESETS or (bool(proof.new_email) and not proof.kept.session_ids)
    email = proof.new_email or owner.email
    kept, changes = proof.kept, _changes(owner, proof, is_first=is_first)
    if proof.chosen is not None and ends_others:
        await _set_password(db, owner.user_id, proof.chosen, now)
        kept = msgspec.structs.replace(kept, password_hash=proof.chosen.password_hash)
    if changes:
        await db.execute(user.update().where(user.c.id == owner.user_id).values({**changes, "updatedAt": now}))
    if events := _proved(owner, proof, is_first=is_first):
        await central.record(db, *events)
    if ends_others:
        await end_access(central, db, owner.user_id, proof.way, email=email, kept=kept)
    if ends_others or proof.new_email:
        await _forget_pending(db, owner.email, email)
    return is_first


async def end_access(
    central: Central, db: AsyncConnection, user_id: str, reason: str, *, email: str, kept: Kept = NOTHING
) -> None:
    """Revoke all access to the account except `kept` and the identities whose issuer vouched for this address."""
    theirs = account.c.userId == user_id
    passwords = delete(account).where(theirs, IS_PASSWORD, account.c.password.is_distinct_from(kept.password_hash))
    identities = delete(account).where(
        theirs, not_(IS_PASSWORD), account.c.vouchedFor.is_distinct_from(email), not_(_is_identity(kept.identity))
    )
    ended = {
        "sessions": await end_sessions(db, user_id, but=session.c.id.in_(kept.session_ids)),
        "api_keys": await end_api_keys(central, db, user_id, reason),
        "identities": (await db.execute(identities)).rowcount,
        "password": (await db.execute(passwords)).rowcount > 0,
    }
    if any(ended.values()):
        await central.record(db, Event("user.access_ended", f"user:{user_id}", {"reason": reason, **ended}))


async def end_sessions(db: AsyncConnection, user_id: str, *, but: ColumnElement[bool] | None = None) -> int:
    """End the user's sessions and impersonations; returns how many."""
    theirs = or_(session.c.userId == user_id, session.c.impersonatedBy == user_id)
    ending = delete(session).where(theirs if but is None else and_(theirs, not_(but)))
    return (await db.execute(ending)).rowcount


async def end_api_keys(central: Central, db: AsyncConnection, user_id: str, reason: str) -> int:
    """Delete all API keys of the user, each with an audit event; returns how many."""
    ending = delete(apikey).where(apikey.c.referenceId == user_id).returning(apikey.c.id, apikey.c.start)
    rows = (await db.execute(ending)).all()
    if rows:
        events = [
            Event("api_key.deleted", f"key:{row.id}", {"user": f"user:{user_id}", "start": row.start, "reason": reason})
            for row in rows
        ]
        await central.record(db, *events)
    return len(rows)


async def is_alive(db: AsyncConnection, session_id: str, user_id: str, now: str) -> bool:
    """Whether the user's session is still live."""
    found = select(session.c.id).where(
        session.c.id == session_id, session.c.userId == user_id, session.c.expiresAt > now
    )
    return (await db.execute(found)).first() is not None


def _changes(owner: User, proof: Proof, *, is_first: bool) -> dict[str, Any]:
    """The columns that the proof changes."""
    changes: dict[str, Any] = {}
    if is_first:
        changes = {"emailVerified": 1, "isAnonymous": 0}
        if proof.chosen is not None:
            named = {"name": proof.chosen.name, "image": proof.chosen.image}
            changes |= {name: value for name, value in named.items() if value is not msgspec.UNSET}
    if proof.new_email and proof.new_email != owner.email:
        changes["email"] = proof.new_email
    return changes


async def _set_password(db: AsyncConnection, user_id: str, chosen: Chosen, now: str) -> None:
    values = {"password": chosen.password_hash, "updatedAt": now}
    replacing = account.update().where(account.c.userId == user_id, IS_PASSWORD).values(values)
    if (await db.execute(replacing)).rowcount == 0:
        await db.execute(account.insert(), password_row(user_id, chosen.password_hash, now))


async def _forget_pending(db: AsyncConnection, *emails: str) -> None:
    """Delete codes for these addresses, and codes to change them. Links become void by what they are bound to."""
    names = [f"{kind}-otp-{email}" for kind in _KINDS_OF_CODES for email in emails]
    column, starts = verification.c.identifier, [f"change-email-otp-{email}-" for email in emails]
    # Ranges, so that the index is used; all these names are ASCII.
    to_change = [and_(column >= start, column < f"{start}\x7f") for start in starts]
    await db.execute(delete(verification).where(or_(column.in_(names), *to_change)))


def _is_identity(identity: tuple[str, str] | None) -> ColumnElement[bool]:
    if identity is None:
        return false()
    provider_id, subject = identity
    return and_(account.c.providerId == provider_id, account.c.accountId == subject)


def _proved(owner: User, proof: Proof, *, is_first: bool) -> list[Event]:
    """Anyone with a code or link from the owner's mail acts as the owner, signed in or not."""
    who = f"user:{owner.user_id}"
    events = []
    if proof.way in RESETS:
        events.append(Event("user.password_reset", who, {"way": proof.way}, actor=who))
    if proof.new_email:
        events.append(Event("user.email_changed", who, {"way": proof.way}, actor=who))
    if is_first:
        events.append(Event("user.email_verified", who, {"way": proof.way}, actor=who))
    return events
