"""Counts of wrong passwords. Implements `freehold.auth.lockout.WrongPasswordStore`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.dialects.sqlite import insert

from freehold.auth.lockout import Delays, Tried
from freehold.central.engine import Central
from freehold.central.tables import wrong_password as table


@dataclass(frozen=True, slots=True)
class CentralWrongPasswords:
    central: Central

    async def find(self, keys: Sequence[str]) -> Mapping[str, Tried]:
        rows = (await self.central.fetch(select(table).where(table.c.key.in_(keys)))).all()
        return {key: Tried(*counts) for key, *counts in rows}

    async def add_failure(self, delays: Mapping[str, Delays], now_ms: int, forget_before_ms: int) -> None:
        async with self.central.write() as db:
            for key, delay in delays.items():
                counted = (
                    insert(table)
                    .values(key=key, failures=1, failed_at_ms=now_ms, locked_until_ms=0, succeeded_at_ms=0)
                    .on_conflict_do_update(
                        index_elements=[table.c.key],
                        set_={
                            "failures": case((table.c.failed_at_ms > forget_before_ms, table.c.failures + 1), else_=1),
                            "failed_at_ms": now_ms,
                        },
                    )
                    .returning(table.c.failures)
                )
                failures = (await db.execute(counted)).scalar_one()
                if wait_ms := delay.after(failures):
                    until = func.max(table.c.locked_until_ms, now_ms + wait_ms)
                    await db.execute(table.update().where(table.c.key == key).values(locked_until_ms=until))

    async def set_succeeded(self, key: str, now_ms: int) -> None:
        fresh = {"failures": 0, "failed_at_ms": 0, "locked_until_ms": 0, "succeeded_at_ms": now_ms}
        done = insert(table).values(key=key, **fresh)
        await self.central.change(done.on_conflict_do_update(index_elements=[table.c.key], set_=fresh))

    async def tidy(self, failed_before_ms: int, succeeded_before_ms: int) -> None:
        old = (table.c.failed_at_ms < failed_before_ms) & (table.c.succeeded_at_ms < succeeded_before_ms)
        await self.central.change(table.delete().where(old))
