"""Replays migrations on a scratch database, and each that might lose rows once more on generated ones."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from freehold.errors import Unavailable
from freehold.migrate.apply import apply
from freehold.migrate.failures import MigrationFailed
from freehold.migrate.schema import EMPTY, read_schema
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.types import Migration
from freehold.registry.lint.rows.watch import RowWatch
from freehold.registry.lint.step import Step
from freehold.registry.lint.walk import Walk
from freehold.registry.lint.walked import Keys


class Replayed(Struct, frozen=True):
    """A step for each migration, up to the first that SQLite refuses, and why it does."""

    steps: tuple[Step, ...]
    refused: MigrationFailed | None


async def replay(migrations: Sequence[Migration], released: int | None = None) -> Replayed:
    """What each migration makes of the schema, and of rows. Those up to version `released` are everywhere already.

    Raises:
        Unavailable: no scratch database can be had.
    """
    batch = frozenset(one.version for one in migrations if released is not None and one.version > released)
    steps: list[Step] = []
    refused = None
    before, keys = EMPTY, Keys()
    rows = RowWatch(released or 0)
    async with sqlite_scratch() as target, _walk() as walk:
        for at, one in enumerate(migrations):
            await rows.begin(one, before, target)
            try:
                await apply(target, migrations, to=one.version, recorded=one.version - 1)
            except MigrationFailed as error:
                refused = error
                break
            except Unavailable as error:
                if "interrupted" not in str(error):
                    raise
                # The scratch database has nobody else who could be the cause.
                reason = "interrupted: on an empty database it runs for longer than there is time"
                refused = MigrationFailed(migration=one, reason=reason)
                break
            after = await read_schema(target)
            step = Step(
                one, before, after, migrations[:at], batch, is_released=one.version <= (released or 0)
            )
            walked = await asyncio.to_thread(walk.go, step.statements, after)
            steps.append(
                msgspec.structs.replace(step, observed=await rows.end(step), walked=walked, keys_before=keys)
            )
            before, keys = after, walked.keys
    return Replayed(
        tuple(msgspec.structs.replace(step, head=before, keys_at_head=keys) for step in steps), refused
    )


@asynccontextmanager
async def _walk() -> AsyncIterator[Walk]:
    walk = Walk()
    try:
        yield walk
    finally:
        walk.close()
