"""Replays migrations on a scratch database, and each that might lose rows once more on generated ones."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from freehold.errors import Conflict
from freehold.migrate.apply import apply
from freehold.migrate.dump import dump
from freehold.migrate.failures import MigrationFailed
from freehold.migrate.schema import EMPTY, Schema, read_schema
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.registry.lint.rows.losses import may_lose_rows, observe
from freehold.registry.lint.rows.observed import Observed
from freehold.registry.lint.rows.sample import Start
from freehold.registry.lint.rows.tried import Part
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
    before = EMPTY
    rows = _Rows(released or 0)
    async with sqlite_scratch() as target, _walk() as walk:
        for at, one in enumerate(migrations):
            await rows.begin(one, before, target)
            try:
                await apply(target, migrations, to=one.version, recorded=one.version - 1)
            except MigrationFailed as error:
                refused = error
                break
            after = await read_schema(target)
            step = Step(
                one, before, after, migrations[:at], batch, is_released=one.version <= (released or 0)
            )
            walked = await asyncio.to_thread(walk.go, step.statements, after)
            keys = steps[-1].walked.keys if steps else Keys()
            steps.append(
                msgspec.structs.replace(step, observed=await rows.end(step), walked=walked, keys_before=keys)
            )
            before = after
    keys = steps[-1].walked.keys if steps else Keys()
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


class _Gone(Struct, frozen=True):
    """A table that a version took away, and how to make the database that had it."""

    start: Start
    before: Schema
    place: int


class _Rows:
    """Watches tables from version to version: one that is taken away and comes back has lost its rows."""

    def __init__(self, released: int) -> None:
        self._released = released
        self._parts: list[Part] = []
        self._start: Start | None = None
        self._gone: dict[str, _Gone] = {}

    async def begin(self, migration: Migration, before: Schema, target: Target) -> None:
        """Keep what the database holds before this version, if it is needed."""
        is_new = migration.version > self._released
        self._start = await _start(target) if is_new and may_lose_rows(migration, before) else None

    async def end(self, step: Step) -> Observed:
        """What is lost in this version, or came back in it without its rows."""
        self._parts.append(Part(step.statements, step.migration.foreign_keys_off))
        seen = Observed()
        if self._start is not None:
            seen = await asyncio.to_thread(observe, self._start, self._parts[-1:], step.before, step.after)
        for name, gone in self._back(step).items():
            found = await asyncio.to_thread(
                observe, gone.start, self._parts[gone.place :], gone.before, step.after
            )
            losses = tuple(loss for loss in found.losses if loss.table == name)
            seen = msgspec.structs.replace(seen, losses=(*seen.losses, *losses))
        for name in step.before.tables.keys() - step.after.tables.keys():
            if self._start is not None:
                self._gone[name] = _Gone(self._start, step.before, len(self._parts) - 1)
        return seen

    def _back(self, step: Step) -> Mapping[str, _Gone]:
        new = step.after.tables.keys() - step.before.tables.keys()
        return {name: self._gone.pop(name) for name in sorted(new & self._gone.keys())}


async def _start(target: Target) -> Start | None:
    """What the migrations so far have made; None if it cannot be written down."""
    try:
        made = await dump(target)
    except Conflict:
        return None
    return Start(made.tables, made.rows, made.rest)
