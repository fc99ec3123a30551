"""Follow the tables of a folder from version to version, and try each version that may lose rows."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from freehold.errors import Conflict
from freehold.migrate.dump import dump
from freehold.migrate.schema import Schema
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.registry.lint.rows.concern import may_lose_rows
from freehold.registry.lint.rows.losses import observe, observe_stored
from freehold.registry.lint.rows.sample import Start
from freehold.registry.lint.rows.tried import Part
from freehold.registry.lint.step import Observed, Step

_MOST_CHARS = 500_000  # of seed rows, as SQL


class _Gone(Struct, frozen=True):
    """A table that a version dropped, and how to recreate the database that had it."""

    start: Start
    before: Schema
    place: int


class RowWatch:
    """Watches tables from version to version: one that is dropped and comes back has lost its rows."""

    def __init__(self, released: int = 0, *, looks_at_stored: bool = False) -> None:
        """Skip versions up to `released`. `looks_at_stored` uses only existing rows and generates none."""
        self._released = released
        self._looks_at_stored = looks_at_stored
        self._parts: list[Part] = []
        self._start: Start | None = None
        self._gone: dict[str, _Gone] = {}

    async def begin(self, migration: Migration, before: Schema, target: Target) -> None:
        """Keep what the database holds before this version, if it will be needed."""
        is_new = migration.version > self._released
        is_worth = bool(before.tables) if self._looks_at_stored else may_lose_rows(migration, before)
        start = await _start(target) if is_new and is_worth else None
        if start is not None and sum(map(len, start.rows)) > _MOST_CHARS:
            # Each trial writes them again: generated rows do without them, and stored ones are skipped.
            start = None if self._looks_at_stored else Start(start.tables, (), start.rest)
        self._start = start

    async def end(self, step: Step) -> Observed:
        """Return what is lost in this version, or came back in it without its rows."""
        self._parts.append(Part(step.statements, step.migration.foreign_keys_off))
        seen = Observed()
        if self._start is not None:
            seen = await self._look(self._start, self._parts[-1:], step.before, step.after)
        for name, gone in self._back(step).items():
            found = await self._look(gone.start, self._parts[gone.place :], gone.before, step.after)
            losses = tuple(loss for loss in found.losses if loss.table == name)
            seen = msgspec.structs.replace(seen, losses=(*seen.losses, *losses))
        for name in step.before.tables.keys() - step.after.tables.keys():
            if self._start is not None:
                self._gone[name] = _Gone(self._start, step.before, len(self._parts) - 1)
        return seen

    async def _look(self, start: Start, parts: Sequence[Part], before: Schema, after: Schema) -> Observed:
        look = observe_stored if self._looks_at_stored else observe
        return await asyncio.to_thread(look, start, parts, before, after)

    def _back(self, step: Step) -> Mapping[str, _Gone]:
        new = step.after.tables.keys() - step.before.tables.keys()
        return {name: self._gone.pop(name) for name in sorted(new & self._gone.keys())}


async def _start(target: Target) -> Start | None:
    """Return what the migrations have created so far; None if it cannot be dumped."""
    try:
        made = await dump(target)
    except Conflict:
        return None
    return Start(made.tables, made.rows, made.rest)
