"""Writes imported users. Implements `freehold.auth.importing.service.UserImportStore`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event
from freehold.auth.importing.records import Ending, Newcomer, Outcome, WayIn
from freehold.central.auth.rows import account_row
from freehold.central.engine import Central
from freehold.central.tables import account, session, tenant, user
from freehold.central.tenants.rows import new_tenant_row


@dataclass(slots=True)
class _Taken:
    """What is already in use, of everything in the batch; grows with each user who is added."""

    emails: dict[str, str]
    user_ids: set[str]
    former_ids: set[str]
    identities: set[tuple[str, str]]
    tokens: set[str]
    session_ids: set[str]


@dataclass(frozen=True, slots=True)
class CentralUserImport:
    """`provider_name` is the provider of the new users' tenants."""

    central: Central
    provider_name: str

    async def add(self, users_to_import: Sequence[Newcomer], now: datetime, *, dry_run: bool) -> Sequence[Outcome]:
        async with self.central.write() as db:
            taken = await _taken(db, users_to_import)
            rows = _Rows([], [], [], [])
            outcomes = [self._let_in(newcomer, taken, rows, now) for newcomer in users_to_import]
            await rows.write(db)
            events = [_moved_in(outcome) for outcome in outcomes if outcome.ending is Ending.ADDED]
            if events:
                await self.central.record(db, *events)
            if dry_run:
                await db.rollback()
        return outcomes

    def _let_in(self, newcomer: Newcomer, taken: _Taken, rows: "_Rows", now: datetime) -> Outcome:
        who, reasons = newcomer.user, list(newcomer.notes)
        outcome = Outcome(user_id=who.user_id, email=who.email, ending=Ending.KNOWN)
        if who.user_id in taken.user_ids:
            if taken.emails.get(who.email) == who.user_id:
                return outcome
            return _conflict(outcome, "the user is here with another address")
        if who.email in taken.emails:
            return _conflict(outcome, "another user has this address") if newcomer.has_own_id else outcome
        if who.user_id in taken.former_ids:
            return _conflict(outcome, "the user was here, and was removed")
        taken.emails[who.email] = who.user_id
        taken.user_ids.add(who.user_id)
        accounts = [
            _account_row(who.user_id, way, who.created_at)
            for way in newcomer.ways_in
            if _is_free(taken.identities, (way.provider_id, way.subject))
        ]
        sessions = [
            each
            for each in newcomer.sessions
            if _is_free(taken.tokens, each.token) and _is_free(taken.session_ids, each.session_id)
        ]
        if len(accounts) < len(newcomer.ways_in):
            reasons.append("someone else signs in with one of their identities")
        if len(sessions) < len(newcomer.sessions):
            reasons.append("a session's token or id is in use")
        rows.users.append(msgspec.to_builtins(who))
        rows.tenants.append(new_tenant_row(who.user_id, self.provider_name, now))
        rows.accounts += accounts
        rows.sessions += [msgspec.to_builtins(each) for each in sessions]
        return msgspec.structs.replace(
            outcome, ending=Ending.ADDED, reasons=reasons, accounts=len(accounts), sessions=len(sessions)
        )


@dataclass(slots=True)
class _Rows:
    users: list[dict[str, Any]]
    tenants: list[dict[str, Any]]
    accounts: list[dict[str, Any]]
    sessions: list[dict[str, Any]]

    async def write(self, db: AsyncConnection) -> None:
        for table, rows in (
            (user, self.users),
            (tenant, self.tenants),
            (account, self.accounts),
            (session, self.sessions),
        ):
            if rows:
                await db.execute(table.insert(), rows)


async def _taken(db: AsyncConnection, users_to_import: Sequence[Newcomer]) -> _Taken:
    ids = [each.user.user_id for each in users_to_import]
    here = or_(user.c.id.in_(ids), user.c.email.in_([each.user.email for each in users_to_import]))
    users = (await db.execute(select(user.c.id, user.c.email).where(here))).all()
    former = (await db.execute(select(tenant.c.user_id).where(tenant.c.user_id.in_(ids)))).scalars().all()
    ways = [(way.provider_id, way.subject) for each in users_to_import for way in each.ways_in]
    identities: set[tuple[str, str]] = set()
    if ways:
        same = tuple_(account.c.providerId, account.c.accountId).in_(ways)
        found = await db.execute(select(account.c.providerId, account.c.accountId).where(same))
        identities = {(row.providerId, row.accountId) for row in found}
    sessions = [each for newcomer in users_to_import for each in newcomer.sessions]
    in_use = or_(
        session.c.token.in_([each.token for each in sessions]), session.c.id.in_([each.session_id for each in sessions])
    )
    tokens = (await db.execute(select(session.c.token, session.c.id).where(in_use))).all() if sessions else []
    return _Taken(
        emails={row.email: row.id for row in users},
        user_ids={row.id for row in users},
        former_ids=set(former),
        identities=identities,
        tokens={row.token for row in tokens},
        session_ids={row.id for row in tokens},
    )


def _is_free(taken: set[Any], wanted: Any) -> bool:
    """Whether nobody has `wanted`, which is then marked as taken."""
    if wanted in taken:
        return False
    taken.add(wanted)
    return True


def _account_row(user_id: str, way: WayIn, now: str) -> dict[str, Any]:
    return account_row(user_id, way.provider_id, way.subject, now, password_hash=way.password_hash, scope=way.scope)


def _conflict(outcome: Outcome, reason: str) -> Outcome:
    return msgspec.structs.replace(outcome, ending=Ending.CONFLICT, reasons=[reason])


def _moved_in(outcome: Outcome) -> Event:
    counts = {"accounts": outcome.accounts, "sessions": outcome.sessions}
    return Event("user.moved_in", f"user:{outcome.user_id}", counts)
