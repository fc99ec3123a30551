"""API keys in the central database. Implements `freehold.auth.api_keys.service.ApiKeyStore`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import RowMapping, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from freehold.audit.types import Event, Facts
from freehold.auth.api_keys.errors import ApiKeyNotFound, TooManyApiKeys
from freehold.auth.api_keys.types import ApiKey, ApiKeyPage, KeyHolder, Permissions
from freehold.central.auth.arrival import is_alive
from freehold.central.auth.rows import LABELLED_USER, constraints, user_of
from freehold.central.engine import Central
from freehold.central.tables import apikey, user
from freehold.errors import NotFound


@dataclass(frozen=True, slots=True)
class CentralApiKeys:
    """Each method is one short transaction."""

    central: Central

    async def user_id_of(self, email: str) -> str | None:
        return (await self.central.fetch(select(user.c.id).where(user.c.email == email))).scalar_one_or_none()

    async def add_api_key(self, key: ApiKey, key_hash: str, *, most: int, asked_by: str | None = None) -> None:
        owner = key.reference_id
        async with constraints(), self.central.write() as db:
            if asked_by is not None and not await is_alive(db, asked_by, owner, key.created_at):
                raise NotFound("the session that asked for the key has ended")
            count = select(func.count()).where(apikey.c.referenceId == owner)
            if (await db.execute(count)).scalar_one() >= most:
                raise TooManyApiKeys(f"a user has at most {most} API keys; delete one first")
            await db.execute(apikey.insert(), {**_row(key), "key": key_hash})
            await self.central.record(db, Event("api_key.created", *_about(key)))

    async def api_keys_of(self, user_id: str, page: ApiKeyPage) -> tuple[Sequence[ApiKey], int]:
        column = apikey.c[page.sort_by or "createdAt"]
        order = column.desc() if page.descending else column.asc()
        mine = apikey.c.referenceId == user_id
        found = select(apikey).where(mine).order_by(order, apikey.c.id)
        async with self.central.read() as db:
            rows = (await db.execute(found.limit(page.limit).offset(page.offset))).mappings().all()
            total = (await db.execute(select(func.count()).where(mine))).scalar_one()
        return [_key(row) for row in rows], int(total)

    async def change_api_key(self, user_id: str, key_id: str, change: Callable[[ApiKey], ApiKey] | None) -> ApiKey:
        is_it = (apikey.c.referenceId == user_id) & (apikey.c.id == key_id)
        async with self.central.read() if change is None else self.central.write() as db:
            found = await _find(db, is_it)
            if found is None:
                raise ApiKeyNotFound
            if change is not None:
                found = change(found)
                await db.execute(apikey.update().where(is_it).values(_row(found)))
        return found

    async def delete_api_key(self, user_id: str, key_id: str) -> None:
        is_it = (apikey.c.referenceId == user_id) & (apikey.c.id == key_id)
        async with self.central.write() as db:
            found = await _find(db, is_it)
            if found is None:
                raise ApiKeyNotFound
            await db.execute(apikey.delete().where(is_it))
            await self.central.record(db, Event("api_key.deleted", *_about(found)))

    async def find_api_key(self, key_hash: str) -> KeyHolder | None:
        found = (
            select(apikey, *LABELLED_USER)
            .select_from(apikey.join(user, user.c.id == apikey.c.referenceId))
            .where(apikey.c.key == key_hash)
        )
        row = (await self.central.fetch(found)).mappings().first()
        return KeyHolder(user=user_of(row), api_key=_key(row)) if row else None

    async def use_api_key(self, key_hash: str, use: Callable[[ApiKey], ApiKey]) -> ApiKey | None:
        is_it = apikey.c.key == key_hash
        # The write lock is taken first, so that each of several concurrent uses sees the result of the previous one.
        async with self.central.write() as db:
            found = await _find(db, is_it)
            if found is None:
                return None
            used = use(found)
            await db.execute(apikey.update().where(is_it).values(_row(used)))
        return used

    async def forget_api_key(self, key_hash: str) -> None:
        await self.central.change(apikey.delete().where(apikey.c.key == key_hash))


async def _find(db: AsyncConnection, is_it: Any) -> ApiKey | None:
    row = (await db.execute(select(apikey).where(is_it))).mappings().first()
    return None if row is None else _key(row)


def _about(key: ApiKey) -> tuple[str, Facts]:
    """The target and details of an audit event."""
    details = {"user": f"user:{key.reference_id}", "start": key.start, "expires_at": key.expires_at}
    return f"key:{key.key_id}", details


def _row(key: ApiKey) -> dict[str, Any]:
    """Booleans are stored as 0 and 1, structures as JSON text, as in better-auth."""
    row: dict[str, Any] = msgspec.to_builtins(key)
    for name in ("permissions", "metadata"):
        row[name] = None if row[name] is None else msgspec.json.encode(row[name]).decode()
    return row


def _key(row: RowMapping) -> ApiKey:
    found = {str(name): value for name, value in row.items() if value is not None}
    for name in ("enabled", "rateLimitEnabled"):
        found[name] = bool(found.get(name, False))
    found["metadata"] = _decoded(row["metadata"])
    found["permissions"] = _permissions(row["permissions"])
    return msgspec.convert(found, ApiKey)


def _permissions(text: str | None) -> Permissions | None:
    """The permissions; None if the key has none of its own. Unreadable ones permit nothing."""
    if text is None or text == "null":
        return None
    try:
        return msgspec.convert(_decoded(text), Permissions)
    except msgspec.ValidationError:
        return {}


def _decoded(text: str | None) -> Any:
    """The decoded value; better-auth writes the text `null` for none, and once wrote JSON inside JSON."""
    found = text
    for _ in range(2):
        if isinstance(found, str):
            try:
                found = msgspec.json.decode(found)
            except msgspec.DecodeError:
                return None
    return found if isinstance(found, dict | list) else None
