"""What each migration does to the rows of fixtures. One run on SQLite is enough: the engines have to agree anyway."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from freehold.errors import FreeholdError, Unavailable
from freehold.libsql.protocol import Batch, BatchStep, CondOk, Stmt
from freehold.migrate.apply import apply
from freehold.migrate.fingerprint import ask
from freehold.migrate.names import quoted
from freehold.migrate.schema import EMPTY, Schema, read_schema
from freehold.migrate.snapshot import sqlite_scratch
from freehold.migrate.target import Target
from freehold.migrate.types import Migration
from freehold.migrate.virtual import Keeps
from freehold.registry.lint.findings import Waivers
from freehold.registry.lint.rows.watch import RowWatch
from freehold.registry.lint.step import Observed, Step
from freehold.registry.release import release_of
from freehold.registry.types import BadRegistry

FIXTURES = "fixtures"


class Seen(Struct, frozen=True):
    """Faults and intended changes of each migration, by version. `empty` lists the tables that never had a row."""

    faults: Mapping[int, tuple[str, ...]] = {}
    changes: Mapping[int, tuple[str, ...]] = {}
    empty: tuple[str, ...] = ()


async def look_at_rows(
    migrations: Sequence[Migration], fixtures: Mapping[int, Sequence[str]], waivers: Waivers
) -> Seen:
    """Migrate one SQLite database version by version, with fixtures, until a statement fails. Raises `Unavailable`."""
    faults: dict[int, tuple[str, ...]] = {}
    changes: dict[int, tuple[str, ...]] = {}
    before, filled = EMPTY, set[str]()
    watch = RowWatch(looks_at_stored=True)
    try:
        async with sqlite_scratch() as target:
            for at, one in enumerate(migrations):
                await write_fixtures(target, at, fixtures.get(at, ()))
                filled |= await _filled(target, before)
                await watch.begin(one, before, target)
                await apply(target, migrations, to=one.version, recorded=one.version - 1)
                after = await read_schema(target)
                seen = await watch.end(Step(one, before, after, migrations[:at]))
                faults[one.version] = tuple(_faults(one, seen, waivers))
                changes[one.version] = tuple(f"version {one.version}: {loss.reason}" for loss in seen.changes)
                before = after
            await write_fixtures(target, len(migrations), fixtures.get(len(migrations), ()))
            filled |= await _filled(target, before)
    except Unavailable:
        raise
    except FreeholdError:  # a refused fixture or migration is reported where the engines run it
        return Seen(faults, changes)
    return Seen(
        faults, changes, tuple(sorted(table.name for name, table in before.tables.items() if name not in filled))
    )


def _faults(one: Migration, seen: Observed, waivers: Waivers) -> Iterator[str]:
    if not waivers.is_waived(one.version, "FH116"):
        for loss in seen.losses:
            # A contract migration that drops a parent has announced the loss of its dependent rows.
            if loss.is_replaced or not release_of(one).is_contract:
                yield f"version {one.version}: {loss.reason}"
    for rule, found in (("FH117", seen.renumbered), ("FH118", seen.stale)):
        if not waivers.is_waived(one.version, rule):
            yield from (f"version {one.version}: {loss.reason}" for loss in found)


async def write_fixtures(target: Target, version: int, statements: Sequence[str]) -> None:
    """Run the fixtures as an app does: with foreign keys on, all or nothing. Raises `BadRegistry`."""
    if not statements:
        return
    steps = [BatchStep(Stmt(sql="PRAGMA foreign_keys = ON"))]
    for sql in ("BEGIN IMMEDIATE", *statements, "COMMIT"):
        steps.append(BatchStep(Stmt(sql=sql, want_rows=False), CondOk(len(steps) - 1)))
    [answer] = await target.run([Batch(tuple(steps))])
    for error in filter(None, answer.step_errors):
        raise BadRegistry([f"{FIXTURES}/{version:04}.sql: {error.message}"])


async def _filled(target: Target, schema: Schema) -> set[str]:
    """Return the lower-case names of tables with rows; tables that only show other tables' rows count as filled."""
    found = set()
    for name, table in schema.tables.items():
        if table.keeps not in {Keeps.OWN, Keeps.NOTHING}:
            found.add(name)
            continue
        try:
            [rows] = await ask(target, f"SELECT 1 FROM {quoted(table.name)} LIMIT 1")
        except Unavailable:
            raise
        except FreeholdError:  # a virtual table module without rows of its own
            rows = [[1]]
        if rows:
            found.add(name)
    return found
