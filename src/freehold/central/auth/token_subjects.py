"""Sessions and API keys by their ids, for the gateway. Implements `auth.tokens.subjects.TokenSubjectStore`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from freehold.auth.sessions.sessions import MAX_AGE
from freehold.auth.tokens.subjects import TokenSubject
from freehold.central.auth.users import LABELLED_USER, user_of
from freehold.central.engine import Central
from freehold.central.tables import apikey, change, session, user
from freehold.dates import from_iso, utc_now

# The newest change is read in the same statement, hence in the same view.
_FIND = select(
    session.c.token,
    session.c.userId,
    session.c.expiresAt,
    session.c.createdAt,
    select(func.coalesce(func.max(change.c.seq), 0)).scalar_subquery(),
)

_FIND_KEY = (
    select(
        apikey.c.enabled,
        apikey.c.expiresAt,
        *LABELLED_USER,
        select(func.coalesce(func.max(change.c.seq), 0)).scalar_subquery().label("seen"),
    )
).select_from(apikey.join(user, user.c.id == apikey.c.referenceId))


@dataclass(frozen=True, slots=True)
class CentralTokenSubjects:
    """`session_max_age`: no session is older."""

    central: Central
    session_max_age: timedelta = MAX_AGE

    async def find_session_subject(self, session_id: str) -> tuple[TokenSubject | None, int]:
        async with self.central.read() as db:
            row = (await db.execute(_FIND.where(session.c.id == session_id))).first()
        if row is None:
            return None, 0
        token, user_id, expires_at, created_at, seen = row
        ends = min(from_iso(expires_at), from_iso(created_at) + self.session_max_age)
        return TokenSubject(token, user_id, ends), int(seen)

    async def find_key_subject(self, key_id: str) -> tuple[TokenSubject | None, int]:
        async with self.central.read() as db:
            row = (await db.execute(_FIND_KEY.where(apikey.c.id == key_id))).mappings().first()
        if row is None or not row["enabled"] or user_of(row).is_banned_at(utc_now()):
            return None, 0
        expires_at = (
            datetime.max.replace(tzinfo=UTC) if row["expiresAt"] is None else from_iso(row["expiresAt"])
        )
        return TokenSubject(key_id, row["user_id"], expires_at), int(row["seen"])
