"""Users for administrators. Implements `freehold.auth.users.admin.AdminStore`."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.auth.errors import NoSuchField
from freehold.auth.types import ADMIN_ROLE, USER_ROLE, Session, User
from freehold.auth.users.admin_types import UserEdit, UserFilter, UserPage, UserQuery
from freehold.central.auth.arrival import end_api_keys, end_sessions
from freehold.central.auth.rows import (
    CREDENTIAL,
    LABELLED_SESSION,
    LABELLED_USER,
    constraints,
    password_row,
    remove_user,
    session_of,
    user_of,
)
from freehold.central.auth.users import CentralUsers
from freehold.central.engine import Central
from freehold.central.tables import account, session, user
from freehold.dates import to_iso
from freehold.errors import NotFound

_REASON_CHARS = 200
_USERS: Select[Any] = select(*LABELLED_USER)


@dataclass(frozen=True, slots=True)
class CentralUserAdmin:
    """Each method is one transaction; `users` writes the rows of new users."""

    central: Central
    users: CentralUsers

    async def find_user(self, user_id: str) -> User | None:
        async with self.central.read() as db:
            return await _find(db, user_id)

    async def list_users(self, query: UserQuery) -> UserPage:
        conditions = matching(query)
        page = _USERS.where(*conditions).order_by(*ordered(query)).limit(query.limit).offset(query.offset)
        counting = select(func.count()).select_from(user).where(*conditions)
        async with self.central.read() as db:
            total = (await db.execute(counting)).scalar_one()
            rows = (await db.execute(page)).mappings().all()
        return UserPage([user_of(row) for row in rows], total)

    async def create_user(self, new: User, password_hash: str | None) -> None:
        await self.users.add_user(new, password_hash, None)

    async def edit_user(self, user_id: str, edit: UserEdit, now: datetime) -> User | None:
        async with constraints(), self.central.write() as db:
            found = await _find(db, user_id)
            if found is None:
                return None
            edit = _unproved(edit, found)
            values = {**msgspec.to_builtins(edit), "updatedAt": to_iso(now)}
            await db.execute(user.update().where(user.c.id == user_id).values(values))
            await _end_what_is_no_longer_allowed(db, user_id, edit)
            await self.central.record(db, *_edited(user_id, edit))
            return await _find(db, user_id)

    async def replace_password(self, user_id: str, password_hash: str, now: datetime) -> bool:
        is_theirs = (account.c.userId == user_id) & (account.c.providerId == CREDENTIAL)
        new = {"password": password_hash, "updatedAt": to_iso(now)}
        async with self.central.write() as db:
            if await _find(db, user_id) is None:
                return False
            changed = await db.execute(account.update().where(is_theirs).values(new))
            if not changed.rowcount:
                await db.execute(account.insert(), password_row(user_id, password_hash, to_iso(now)))
            await end_sessions(db, user_id)
            await end_api_keys(self.central, db, user_id, "password_changed")
            await self.central.record(db, Event("user.password_changed", f"user:{user_id}"))
        return True

    async def list_sessions(self, user_id: str, now: datetime) -> Sequence[Session]:
        live = (
            select(*LABELLED_SESSION)
            .where(session.c.userId == user_id, session.c.expiresAt > to_iso(now))
            .order_by(session.c.createdAt)
        )
        return [session_of(row) for row in (await self.central.fetch(live)).mappings()]

    async def end_session(self, token: str) -> None:
        ending = session.delete().where(session.c.token == token).returning(session.c.id, session.c.userId)
        async with self.central.write() as db:
            for row in (await db.execute(ending)).all():
                event = Event("user.session_revoked", f"user:{row.userId}", {"session_id": row.id})
                await self.central.record(db, event)

    async def end_sessions(self, user_id: str, *, keeps_keys: bool) -> None:
        async with self.central.write() as db:
            count = await end_sessions(db, user_id)
            if not keeps_keys:
                await end_api_keys(self.central, db, user_id, "sessions_revoked")
            if count:
                await self.central.record(db, Event("user.sessions_revoked", f"user:{user_id}", {"count": count}))

    async def begin_impersonation(self, new: Session) -> None:
        event = Event("user.impersonated", f"user:{new.user_id}", {"session_id": new.session_id})
        async with constraints(), self.central.write() as db:
            # The administrator's own rights may have been revoked since they were checked.
            admin = await _find(db, new.impersonated_by or "")
            if admin is None or admin.banned or not admin.is_admin:
                raise NotFound("the administrator no longer exists")
            await db.execute(session.insert(), msgspec.to_builtins(new))
            await self.central.record(db, event)

    async def remove_user(self, user_id: str, now: datetime) -> bool:
        async with self.central.write() as db:
            if not await remove_user(self.central, db, user_id, now):
                return False
            await db.execute(session.delete().where(session.c.impersonatedBy == user_id))
        return True


async def _find(db: AsyncConnection, user_id: str) -> User | None:
    row = (await db.execute(_USERS.where(user.c.id == user_id))).mappings().first()
    return user_of(row) if row else None


def _unproved(edit: UserEdit, found: User) -> UserEdit:
    """A new address counts as unproved unless the administrator says otherwise."""
    is_another = isinstance(edit.email, str) and edit.email != found.email
    if is_another and edit.email_verified is msgspec.UNSET:
        return msgspec.structs.replace(edit, email_verified=False)
    return edit


async def _end_what_is_no_longer_allowed(db: AsyncConnection, user_id: str, edit: UserEdit) -> None:
    if edit.banned is True:
        await end_sessions(db, user_id)
    elif isinstance(edit.role, str) and ADMIN_ROLE not in edit.role.split(","):
        await db.execute(session.delete().where(session.c.impersonatedBy == user_id))


def _edited(user_id: str, edit: UserEdit) -> list[Event]:
    """The audit events: roles and bans with their values, other changes as names of fields."""
    target = f"user:{user_id}"
    fields = set(msgspec.to_builtins(edit))
    events = []
    if isinstance(edit.role, str):
        events.append(Event("user.role_changed", target, {"role": edit.role[:_REASON_CHARS]}))
    if edit.banned is True:
        reason = edit.ban_reason if isinstance(edit.ban_reason, str) else ""
        until = edit.ban_expires if isinstance(edit.ban_expires, str) else None
        events.append(Event("user.banned", target, {"reason": reason[:_REASON_CHARS], "until": until}))
    elif edit.banned is False:
        events.append(Event("user.unbanned", target))
    if others := fields - {"role", "banned", "banReason", "banExpires"}:
        events.append(Event("user.updated", target, {"fields": ",".join(sorted(others))}))
    return events or [Event("user.updated", target, {"fields": ",".join(sorted(fields))})]


# Searching, filtering and sorting users. Field names come from clients: they are looked up, never put into SQL.

_BOOLEANS = {"emailVerified", "banned", "isAnonymous"}
_TRUE = {"true", "1"}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def matching(query: UserQuery) -> list[ColumnElement[bool]]:
    """The conditions of a query. Raises `NoSuchField`."""
    found = []
    if query.search is not None:
        search = query.search
        found.append(_text_condition(user.c[search.field], search.operator, search.value))
    if query.filter is not None:
        found.append(_filtered(query.filter))
    return found


def ordered(query: UserQuery) -> list[ColumnElement[Any]]:
    """The order of a query, with the id as tiebreaker so that pages do not overlap. Raises `NoSuchField`."""
    column = _column(query.sort_by)
    return [each.desc() if query.is_descending else each.asc() for each in (column, user.c.id)]


def _filtered(wanted: UserFilter) -> ColumnElement[bool]:
    column = _column(wanted.field)
    values: Sequence[Any] = wanted.values
    if wanted.field in _BOOLEANS:
        values = [int(value.lower() in _TRUE) for value in values]
    if wanted.operator in _COMPARE:
        compared: ColumnElement[bool] = _COMPARE[wanted.operator](column, values[0])
        return compared
    if wanted.operator in {"in", "not_in"}:
        return column.in_(values) if wanted.operator == "in" else column.not_in(values)
    return _text_condition(column, wanted.operator, str(values[0]))


def _text_condition(column: ColumnElement[Any], how: str, text: str) -> ColumnElement[bool]:
    tests = {"starts_with": column.startswith, "ends_with": column.endswith}
    return tests.get(how, column.contains)(text, autoescape=True)


def _column(name: str) -> ColumnElement[Any]:
    if name not in user.c:
        raise NoSuchField(f"users have no field `{name[:40]}`")
    column: ColumnElement[Any] = user.c[name]
    # better-auth or another tool may have left a column NULL instead of writing its default.
    if name == "role":
        return func.coalesce(column, USER_ROLE)
    return func.coalesce(column, 0) if name in _BOOLEANS else column
