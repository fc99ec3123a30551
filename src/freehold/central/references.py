"""Sessions by their ids, for the gateway. Implements `freehold.auth.references.ReferenceStore`."""

from dataclasses import dataclass

from sqlalchemy import func, select

from freehold.auth.dates import from_iso
from freehold.auth.references import Referred
from freehold.central.engine import Central
from freehold.central.tables import change, session

# The newest change is read in the same statement, hence in the same view.
_FIND = select(
    session.c.token,
    session.c.userId,
    session.c.expiresAt,
    select(func.coalesce(func.max(change.c.seq), 0)).scalar_subquery(),
)


@dataclass(frozen=True, slots=True)
class CentralReferences:
    central: Central

    async def find_referred(self, session_id: str) -> tuple[Referred | None, int]:
        async with self.central.read() as db:
            row = (await db.execute(_FIND.where(session.c.id == session_id))).first()
        if row is None:
            return None, 0
        token, user_id, expires_at, seen = row
        return Referred(token, user_id, from_iso(expires_at)), int(seen)
