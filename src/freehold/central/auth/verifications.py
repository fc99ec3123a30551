"""The table `verification`. Implements `freehold.auth.verifications.VerificationStore`."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.auth.email.code_rows import holds_code
from freehold.auth.random_ids import random_id
from freehold.auth.verifications import OneTimeUse, Rows, Verification
from freehold.central.engine import Central
from freehold.central.tables import verification
from freehold.dates import from_iso, to_iso

T = TypeVar("T")

# Rows are kept for a while so that a late use is reported as expired.
_KEPT_EXPIRED = timedelta(days=1)
_SWEPT_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class CentralVerifications:
    """Each method is one short transaction."""

    central: Central

    async def find(self, identifier: str) -> Verification | None:
        async with self.central.read() as db:
            return (await _read(db, [identifier])).get(identifier)

    async def update(self, identifiers: list[str], decide: Callable[[Rows], T]) -> T:
        now = self.central.now()
        async with self.central.write() as db:
            before = await _read(db, identifiers)
            after = dict(before)
            answer = decide(after)
            await _write(db, before, after, now)
            await _sweep(db, now)
        return answer


async def use_once(db: AsyncConnection, one_time_use: OneTimeUse) -> bool:
    """Use it up in the caller's transaction; False if it has already been used up."""
    row = verification.c.identifier == one_time_use.identifier
    if one_time_use.is_one_of:
        found = (await db.execute(select(verification.c.value).where(row))).scalars().all()
        if not any(holds_code(value, one_time_use.value) for value in found):
            return False
    else:
        row &= verification.c.value == one_time_use.value
    if (await db.execute(verification.delete().where(row))).rowcount == 0:
        return False
    if one_time_use.clears:
        await db.execute(verification.delete().where(verification.c.identifier.in_(one_time_use.clears)))
    return True


def verification_row(identifier: str, value: str, expires_at: datetime, now: datetime) -> dict[str, str]:
    """A new row."""
    times = {"expiresAt": to_iso(expires_at), "createdAt": to_iso(now), "updatedAt": to_iso(now)}
    return {"id": random_id(), "identifier": identifier, "value": value, **times}


async def _write(db: AsyncConnection, before: Rows, after: Rows, now: datetime) -> None:
    """Write the changed rows, in the caller's transaction."""
    changed = [name for name in before if after.get(name) != before[name]]
    if changed:
        await db.execute(verification.delete().where(verification.c.identifier.in_(changed)))
    added = [name for name in after if before.get(name) != after[name]]
    if added:
        rows = [verification_row(name, after[name].value, after[name].expires_at, now) for name in added]
        await db.execute(verification.insert(), rows)


async def _read(db: AsyncConnection, identifiers: list[str]) -> Rows:
    rows = await db.execute(
        select(verification).where(verification.c.identifier.in_(identifiers)).order_by(verification.c.createdAt)
    )
    return {
        row["identifier"]: Verification(value=row["value"], expires_at=from_iso(row["expiresAt"]))
        for row in rows.mappings()
    }


async def _sweep(db: AsyncConnection, now: datetime) -> None:
    """Delete a few old rows, so that the table does not grow without limit."""
    long_over = (
        select(verification.c.id).where(verification.c.expiresAt < to_iso(now - _KEPT_EXPIRED)).limit(_SWEPT_AT_ONCE)
    )
    await db.execute(verification.delete().where(verification.c.id.in_(long_over)))
